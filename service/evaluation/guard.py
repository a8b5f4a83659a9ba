"""The guard: learning stops itself when the labels no longer teach.

Poison and drift look alike at first: a frozen champion suddenly errs. What tells them apart is the
learner. A process that changed can be learned, so within some hundred rows the learner is either as
good as before or better than the champion. Labels that are wrong at random cannot be learned: it
is neither. So the guard suspects first, and waits `guard_rows` for an acquittal.

Losses are 0 or 1 (was the most probable class wrong?). Under the log-loss an overconfident champion
on noisy labels looks worse than a learner that merely lost its confidence, which would acquit every
poison.

1. *Has the champion's loss jumped?* CUSUM for a Bernoulli series (Reynolds & Stoumbos 1999, *A
   CUSUM chart for monitoring a proportion when inspecting continuously*) from its recent past to
   `JUMP` above. The past slides along behind the present, so that only jumps count: a slow rise is
   what a frozen network does while a process wears.
2. *Is one of the two better?* Betting on the paired differences: wealth multiplies by
   ``1 + λ(d - margin)``, and grows beyond 1/α with probability α at most, whenever one looks
   (Ville 1939; Waudby-Smith & Ramdas 2024, *Estimating means of bounded random variables by
   betting*). Restarted at 1 it is a CUSUM whose mean time between false alarms is 1/α rows
   (Shin, Ramdas & Rinaldo 2024, *E-detectors*).
3. *Is the learner back at its own loss from before?* The CUSUM of 1, downwards.

All rows of a request are predicted from one state, so in the bet that stops the learner they count
as few (`independent`); to suspect it costs nothing. A class that was hardly ever seen is no poison,
and neither are readings that were not (`Seen`, `Novelty`): such a suspicion gets more time.

Pure: no I/O, no clock; the same requests give the same signals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.evaluation.limits import BELOW_ALPHA, JUMP_LIMIT, LEAST_RISE, PATIENCE
from service.evaluation.mixture import Mixture, Rates
from service.evaluation.seen import Seen
from service.evaluation.signal import Signal, changed, stopped
from service.evaluation.suspicion import BELOW_MARGIN, JUMP, LEAST_PAST_ROWS, Kind, Past, Suspicion
from service.evaluation.switches import Runs, begins
from service.evaluation.verdicts import accused, judged
from service.evaluation.wealth import Wealth, independent
from service.rows import UNKNOWN, Labels, Probabilities


class Guard:
    """Watches the learner beside the frozen champion, row by row.

    After a ``guard`` signal it is silent until `reset`. `guard_rows`: how long a suspicion waits
    for an acquittal.
    """

    def __init__(self, guard_rows: int = 300) -> None:
        if guard_rows < 20:
            raise ValueError(f"guard_rows: expected at least 20, found {guard_rows}")
        self.guard_rows = guard_rows
        self._patience = PATIENCE * guard_rows
        self._suspicion: Suspicion | None
        self._below: Wealth
        self._below_since: int | None
        self._jump_since: int | None
        self._line = ""
        self._lines: Callable[[], Mapping[str, Rates]] = dict
        self.reset()

    def reset(self) -> None:
        """Start over, nothing known: after a rollback, a rebase, a thaw."""
        self.fired = False
        self._learner = Past()
        self._runs: dict[str, Runs] = {}
        self._switches = Past()
        self._seen = Seen()
        self._begin(Past())

    def succeeded(self, errors: Iterable[int]) -> None:
        """As `promoted`, of a few ``errors`` that may be poisoned, while the old champion's are
        known: the better of the two is the new one's past. A suspicion goes on."""
        found = Past.settled(errors)
        better = not self._champion.known or found.rate < self._champion.rate
        if found.rows and better and self._suspicion is None:
            self._begin(found)

    def promoted(self, errors: Iterable[int]) -> None:
        """Another champion, whose 0 or 1 ``errors`` on the last labelled rows are known.

        What a candidate did on probation (`Gate.candidate_errors`) is the champion's past: without
        it the guard would be blind until it has one, and take for usual whatever it finds then.
        """
        self._begin(Past(errors))

    def to_dict(self) -> dict[str, Any]:
        """JSON-serialisable, so that a restart during a suspicion does not end it. A copy: it is
        written down by another thread while rows go on being observed."""
        suspicion = self._suspicion
        return {
            "fired": self.fired,
            "learner": self._learner.to_list(),
            "champion": self._champion.to_list(),
            "runs": {line: runs.to_list() for line, runs in list(self._runs.items())},
            "switches": self._switches.to_list(),
            "seen": self._seen.to_list(),
            "below": list(self._below.logs),
            "below_since": self._below_since,
            "jump": self._jump,
            "lost": self._lost,
            "recent": len(self._champion.recent),
            "least": self._champion.least,
            "jump_since": self._jump_since,
            "suspicion": None if suspicion is None else suspicion.to_dict(),
        }

    def restore(self, plain: dict[str, Any]) -> None:
        """The inverse of `to_dict`. Raises KeyError where a field is absent."""
        self.fired = plain["fired"]
        self._learner = Past(plain["learner"])
        self._runs = {line: Runs(kept) for line, kept in plain.get("runs", {}).items()}
        self._switches = Past(plain.get("switches", ()))
        self._seen = Seen(plain.get("seen"))
        recent, least = plain.get("recent"), plain.get("least", LEAST_PAST_ROWS)
        self._begin(Past.restored(plain["champion"], recent, least))
        self._below.logs = list(plain["below"])
        self._below_since = plain["below_since"]
        self._jump = plain["jump"]
        self._lost = plain.get("lost", 0.0)
        self._jump_since = plain["jump_since"]
        if (kept := plain["suspicion"]) is not None:
            self._suspicion = Suspicion.restored(kept, self._champion, self._learner)

    @property
    def suspicious(self) -> bool:
        """While so, the gate had better `hold` its verdict."""
        return self._suspicion is not None

    @property
    def accuses(self) -> bool:
        """Suspicious of the labels that it sees: not of a learner which others' labels may have
        spoilt, while the champion, which learns nothing, finds these as easy as ever."""
        suspicion = self._suspicion
        if suspicion is None or suspicion.kind == "below":
            return False
        # Too few to tell: what raised it has to do.
        return not self.told or self.rise >= LEAST_RISE

    @property
    def told(self) -> bool:
        """Whether enough was seen since the suspicion began to bear it out, or not."""
        return self._suspicion is not None and self._suspicion.told

    @property
    def rise(self) -> float:
        """`Suspicion.rise`; 0 where there is none."""
        return 0.0 if self._suspicion is None else self._suspicion.rise

    @property
    def rates(self) -> Rates | None:
        """How often champion and learner erred, and labels changed, before the present; None where
        that is not known yet."""
        if not (self._champion.known and self._learner.known):
            return None
        return Rates(self._champion.rate, self._learner.rate, self._switches.rate)

    def dismiss(self) -> None:
        """Nothing follows from the suspicion, nor from what was seen during it."""
        self.fired = False
        self._begin(self._champion)

    def wait(self) -> None:
        """It fired, and whoever knows more does not act on that yet: the suspicion goes on, but
        not for ever."""
        self.fired = False
        if self._suspicion is not None and len(self._suspicion.learner) >= self._patience:
            self.reset()

    @property
    def doubts(self) -> bool:
        """Suspicious of the labels, whether or not what was seen since bears it out so far."""
        return self._suspicion is not None and self._suspicion.kind != "below"

    def verdict(self, seq: int) -> Signal | None:
        """What a suspicion comes to for whoever knows that it is no drift, since other lines are as
        they were: over the last rows, half of `guard_rows`, both networks err, and the learner did
        not learn; or, after `guard_rows`, they surely err by `LEAST_RISE` more over all of it."""
        suspicion = self._suspicion
        if suspicion is None or not self.accuses:
            return None
        if not accused(suspicion, self.guard_rows):
            return None
        return stopped(seq, suspicion)

    def observe(
        self,
        seq: int,
        labels: Labels,
        learner: Probabilities,
        champion: Probabilities,
        line: str | None = None,
        novel: NDArray[np.bool_] | None = None,
        silence: float | None = None,
        lines: Callable[[], Mapping[str, Rates]] = dict,
    ) -> Signal | None:
        """Take a labelled batch.

        Parameters
        ----------
        seq
            Of the batch's event.
        labels
            `(b,)` class indices, `UNKNOWN` where there is none.
        learner
            `(b, K)` probabilities, made before the batch was learned.
        champion
            `(b, K)` probabilities of the frozen champion.
        line
            Whose rows they are: blocks of labels are a line's own.
        novel
            `(b,)` whose readings were never seen before; None says that none are.
        silence
            By how much more often the champion errs without what fell silent; None: as last told.
        lines
            What is known of each line before this batch, asked where a suspicion begins.
        """
        if self.fired:
            return None
        if self._suspicion is not None:
            self._suspicion.expect(silence)
        self._line, self._lines = line or "", lines
        known = labels != UNKNOWN
        runs = self._runs.setdefault(line or "", Runs())
        new = np.zeros(int(known.sum()), int) if novel is None else novel[known].astype(int)
        said = labels[known].tolist()
        errors = [
            (said_by.argmax(axis=1) != labels)[known].astype(int).tolist()
            for said_by in (learner, champion)
        ]
        pairs = list(zip(*errors, strict=True))
        switches = [(runs.switched(x), runs.counts(*e)) for x, e in zip(said, pairs, strict=True)]
        weight = independent(sum(counts for _, counts in switches))
        found: Signal | None = None
        for label, (switched, counts), (mine, its), never in zip(
            said, switches, pairs, new.tolist(), strict=True
        ):
            self._switch(seq, int(switched))
            first = self._seen.first(label, suspected=self._suspicion is not None)
            if not counts:
                continue
            signal = self._row(seq, mine, its, never or first, weight)
            if signal is not None and signal.kind == "guard":
                self.fired = True
                return signal
            found = found or signal
        return found

    def _switch(self, seq: int, switched: int) -> None:
        """Every labelled row, evidence or not: did the line's label change with it?"""
        if self._suspicion is not None:
            self._suspicion.switches += switched
            self._suspicion.rows += 1
            self._suspicion.mixture.hear_label(self._line)
            return
        self._switches.push(switched)
        # The line's own past will do: a guard that has just begun anew is not blind to this.
        if switched and begins(self._switches):
            self._suspected("jump", seq)

    def _suspected(self, kind: Kind, since: int) -> None:
        self._suspicion = Suspicion(kind, since, self._champion, self._learner)
        # Where nothing is known of errors, no line has more of them than usual.
        usual = self.rates or Rates(1.0, 1.0, self._switches.rate)
        self._suspicion.mixture = Mixture(usual, self._lines())

    def _begin(self, champion: Past) -> None:
        self._champion = champion
        self._suspicion = None
        self._below = Wealth(BELOW_MARGIN, restarts=True)
        self._below_since = None
        self._jump = self._lost = 0.0
        self._jump_since = None

    def _row(self, seq: int, learner: int, champion: int, novel: int, w: float) -> Signal | None:
        suspicion = self._suspicion
        if suspicion is None:
            self._learner.push(learner)
            self._champion.push(champion)
            self._suspect(seq, learner, champion)
            return None
        suspicion.mixture.hear(self._line)
        suspicion.expect()
        suspicion.update(champion, learner, novel, w)
        return self._judge(seq, suspicion)

    def _suspect(self, seq: int, learner: int, champion: int) -> None:
        # All of this for each labelled row of a line at full rate: it must be cheap.
        its, mine = self._champion, self._learner
        if not (its.known and mine.known):
            return
        self._below.update(learner - champion)
        if max(self._below.logs) <= 0:
            self._below_since = None
        elif self._below_since is None:
            self._below_since = seq
        self._jump += its.jumped(champion)
        if self._jump <= 0:
            self._jump, self._jump_since = 0.0, None
        elif self._jump_since is None:
            self._jump_since = seq
        if self._jump >= JUMP_LIMIT and self._jump_since is not None:
            self._suspected("jump", self._jump_since)
        elif self._below_since is not None and self._below.exceeds(BELOW_ALPHA):
            self._suspected("below", self._below_since)
        elif its.rate - mine.rate >= JUMP:
            # A champion that a changed concept left behind has nothing to lose any more.
            self._lost = max(0.0, self._lost + mine.jumped(learner))
            if self._lost >= JUMP_LIMIT:
                self._suspected("learner", seq)

    def _judge(self, seq: int, suspicion: Suspicion) -> Signal | None:
        match judged(suspicion, self._switches, self.guard_rows):
            case "changed":
                return self._changed(seq, suspicion)
            case "stopped":
                return stopped(seq, suspicion)
            case "back":
                # Without its sensors it is as good as can be expected, not as it was.
                self._acquit(as_before=not suspicion.pasts[1].handicap)
            case "acquitted":
                self._acquit()
        return None

    def _acquit(self, *, as_before: bool = False) -> None:
        suspicion = self._suspicion
        if suspicion is not None:
            for mine, its in zip(suspicion.learner, suspicion.champion, strict=True):
                # A learner that is as good as before did not usually err so much.
                if not as_before:
                    self._learner.push(mine)
                self._champion.push(its)
        self._begin(self._champion)

    def _changed(self, seq: int, suspicion: Suspicion) -> Signal:
        signal = changed(seq, suspicion)
        for error in suspicion.learner:
            self._learner.push(error)
        self._begin(Past.settled(suspicion.champion))
        return signal
