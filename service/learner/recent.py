"""The latest labelled rows, and what they say of a suspicion: which rows since are novel, and what
it costs that sensors fell silent."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.evaluation.lines import MOST_LINES
from service.evaluation.mixture import Rates
from service.evaluation.novelty import Novelty
from service.evaluation.silence import Fallen, Silence, without
from service.evaluation.suspicion import LEAST_PAST_ROWS
from service.kernels.kernel import Kernel
from service.learner.shadows import WINDOW_ROWS, Shadow
from service.rows import UNKNOWN, Labels, Probabilities, Rows

KEPT_ROWS = 1_000
"""Of the latest rows, and of those of each line."""

PRESENT_ROWS = 200
"""Of these may belong to what is suspected already."""

RAISED_ROWS = 100
"""Of a line's latest may be of what raises a suspicion."""

LEAST_ROWS = 20
"""Of a line before from which on it is known which of its sensors speak."""

Batch = tuple[str, Rows, Labels]


class Window:
    """Whole batches, as few as hold the latest ``most`` rows."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._batches = deque[Batch]()
        self.rows = 0

    def add(self, batch: Batch) -> None:
        self._batches.append(batch)
        self.rows += len(batch[1])
        while self.rows - len(self._batches[0][1]) >= self._most:
            self.rows -= len(self._batches.popleft()[1])

    def all(self) -> list[Batch]:
        return list(self._batches)

    def past(self, present: int, requests: int = 2) -> list[Batch]:
        """Without the latest ``present`` rows, nor of large requests the present one and the one
        that raised the suspicion, where these are two."""
        latest = sum(len(rows) for _, rows, _ in self.all()[-requests:])
        left = self.rows - max(present, latest)
        found: list[Batch] = []
        for line, rows, labels in self._batches:
            if left <= 0:
                break
            found.append((line, rows[:left], labels[:left]))
            left -= len(rows)
        return found


class Found(NamedTuple):
    """What it costs each line that sensors fell silent, of a network ``version``, when so many
    ``rows`` were heard."""

    version: int
    fallen: Mapping[str, Fallen]
    rows: int
    costs: Mapping[str, float]

    def stale(self, network: Shadow, fallen: Mapping[str, Fallen], rows: int) -> bool:
        """Whether to ask again. What stands still in another place is another loss, but one that
        stands still for some rows at a time is not worth asking about each time."""
        if network.version != self.version or _columns(fallen) != _columns(self.fallen):
            return True
        # NaN is no other than itself.
        return rows >= 2 * self.rows and repr(fallen) != repr(self.fallen)


class Loss:
    """What it costs that sensors fell silent since a suspicion began.

    Parameters
    ----------
    forward
        Asks a network about rows.
    before
        Labelled rows of before.
    silences
        What each line heard; "" is that of rows which name none.
    """

    def __init__(
        self,
        forward: Callable[[Shadow, Rows], Probabilities],
        before: Sequence[Batch],
        silences: Mapping[str, Silence],
    ) -> None:
        self._forward = forward
        self._before = before
        self._silences = silences
        self._found: Found | None = None
        self._heard = Counter[str]()

    def hear(self, line: str, rows: Rows, labelled: int) -> None:
        self._heard[line] += labelled
        if line in self._silences:
            self._silences[line].hear(rows)

    def handicap(self, network: Shadow) -> float | None:
        """By how much more often ``network`` errs on rows of before if it does not see of them what
        fell silent since, in the mixture of lines since; None where that is not known."""
        if not self._silences or sum(len(rows) for _, rows, _ in self._before) < LEAST_PAST_ROWS:
            return None
        fallen = {line: silence.fallen for line, silence in self._silences.items()}
        if not any(fallen.values()):
            return 0.0
        if self._found is None or self._found.stale(network, fallen, self._heard.total()):
            costs = self._cost(network, fallen)
            self._found = Found(network.version, fallen, self._heard.total(), costs)
        lost = sum(self._found.costs.get(line, 0.0) * rows for line, rows in self._heard.items())
        return max(0.0, lost / max(1, self._heard.total()))

    def _cost(self, network: Shadow, fallen: Mapping[str, Fallen]) -> dict[str, float]:
        """Of each line, on its own rows."""
        labels = np.concatenate([labels for _, _, labels in self._before])
        rows = [rows for _, rows, _ in self._before]
        less = [without(rows, fallen.get(line, {})) for line, rows, _ in self._before]
        was, now = (
            (self._forward(network, np.concatenate(each)).argmax(1) != labels).astype(int)
            for each in (rows, less)
        )
        whose = np.array([line for line, rows, _ in self._before for _ in rows])
        return {line: float((now - was)[whose == line].mean()) for line in set(whose.tolist())}


class Recent:
    """The latest labelled rows, of all lines and of each; ``values`` are those of `Novelty`."""

    def __init__(self, kernel: Kernel, values: tuple[int, ...]) -> None:
        self._kernel = kernel
        self._values = values
        self._window = Window(KEPT_ROWS)
        self._own: dict[str, Window] = {}
        self._novelty: Novelty | None = None
        self._loss: Loss | None = None
        self._losses: dict[str, Loss] = {}

    def add(self, line: str, rows: Rows, labels: Labels) -> None:
        batch = line, rows, labels
        self._window.add(batch)
        # The line that was not heard for longest comes first.
        own = self._own.pop(line, None) or Window(KEPT_ROWS)
        if len(self._own) >= MOST_LINES:
            del self._own[next(iter(self._own))]
        self._own[line] = own
        own.add(batch)

    def forget(self, line: str) -> None:
        """It is in quarantine: what its labels said before is worth nothing."""
        self._own.pop(line, None)
        self._losses.pop(line, None)

    def novel(
        self, line: str, rows: Rows, labels: Labels, *, asked: bool
    ) -> NDArray[np.bool_] | None:
        """(B,) which of ``rows`` are none like those before it was first ``asked``; None while it
        is not."""
        if not asked:
            self._novelty = self._loss = None
            return None
        if self._novelty is None or self._loss is None:
            past = self._window.past(PRESENT_ROWS)
            known = np.concatenate([rows[:0], *[r for _, r, _ in past]])
            self._novelty = Novelty(known, self._values)
            self._loss = Loss(self._forward, _labelled(past), _silences(self._each()))
        self._loss.hear(line, rows, int((labels != UNKNOWN).sum()))
        return self._novelty.of(rows)

    def handicap(self, network: Shadow) -> float | None:
        """Of all lines, since `novel` was first asked."""
        return None if self._loss is None else self._loss.handicap(network)

    def own_handicap(self, line: str, rows: Rows, network: Shadow, *, asked: bool) -> float | None:
        """Of one line, since it was first ``asked`` of it; ``rows`` are its own."""
        if not asked:
            self._losses.pop(line, None)
            return None
        if line not in self._losses:
            own = self._own[line].past(PRESENT_ROWS) if line in self._own else []
            before = _labelled(own)
            if sum(len(rows) for _, rows, _ in before) < LEAST_PAST_ROWS:
                # What a sensor is worth other lines know too.
                before = _labelled(self._window.past(PRESENT_ROWS))
            heard = np.concatenate([rows[:0], *[r for _, r, _ in own]])
            said = [(line, rows, labels) for _, rows, labels in before]
            self._losses[line] = Loss(self._forward, said, _silences({line: heard}))
        self._losses[line].hear(line, rows, len(rows))
        return self._losses[line].handicap(network)

    def rates(self, network: Shadow, but: Collection[str]) -> dict[str, Rates]:
        """What kept rows of before say of lines ``but`` of these, where a suspicion begins with the
        present request: a champion is not asked about rows that came before it was one."""
        found = {}
        for line, window in self._own.items():
            if line in but:
                continue
            past = _labelled(window.past(RAISED_ROWS, requests=1))
            labels = np.concatenate([np.zeros(0, np.int64), *[l for _, _, l in past]])
            if len(labels) < LEAST_PAST_ROWS:
                continue
            rows = np.concatenate([rows for _, rows, _ in past])
            rate = float((self._forward(network, rows).argmax(1) != labels).mean())
            found[line] = Rates(rate, rate, float((labels[1:] != labels[:-1]).mean()))
        return found

    def errors_of(self, network: Shadow) -> tuple[list[int], dict[str, list[int]]]:
        """0 or 1 per row, oldest first: what a network gets wrong; and the same line by line."""
        batches = self._window.all()
        if not batches:
            return [], {}
        rows = np.concatenate([rows for _, rows, _ in batches])
        labels = np.concatenate([labels for _, _, labels in batches])
        whose = [line for line, rows, _ in batches for _ in rows]
        wrong = self._forward(network, rows).argmax(1) != labels
        by_line: dict[str, list[int]] = {}
        found = []
        for line, label, error in zip(whose, labels.tolist(), wrong.tolist(), strict=True):
            if label != UNKNOWN:
                found.append(int(error))
                by_line.setdefault(line, []).append(int(error))
        return found[-WINDOW_ROWS:], by_line

    def _forward(self, network: Shadow, rows: Rows) -> Probabilities:
        return self._kernel.forward(network.state, rows)

    def _each(self) -> dict[str, Rows]:
        """What was heard of each line before."""
        found = {}
        for line, window in self._own.items():
            past = [rows for _, rows, _ in window.past(PRESENT_ROWS)]
            if past:
                found[line] = np.concatenate(past)
        return found


def _columns(fallen: Mapping[str, Fallen]) -> list[list[int]]:
    return [sorted(each) for each in fallen.values()]


def _silences(before: Mapping[str, Rows]) -> dict[str, Silence]:
    return {line: Silence(rows) for line, rows in before.items() if len(rows) >= LEAST_ROWS}


def _labelled(batches: Sequence[Batch]) -> list[Batch]:
    found = []
    for line, rows, labels in batches:
        known = labels != UNKNOWN
        found.append((line, rows[known], labels[known]))
    return found
