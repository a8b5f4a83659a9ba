"""Where in a model's log its predictions were wrong: errors by stretch of time and line, kept.

The index is derived from the log alone and holds no learner state. It lies in a file of its own
beside the log, is brought up to date when it is asked, and from then on by a thread; no commit
waits for it. Where it does not belong to the log (pruned, restored, another format) or is damaged,
it is made anew; where it cannot be written, or is far behind, the log itself is counted, its latest
events alone.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import structlog

from model_store.errors import LogPruned
from model_store.log.log import EventLog, Record
from service.operations.counting import MOST_EVENTS, answer, counted, errors_by_time, whole
from service.operations.index_file import FILE_NAME, Head, IndexDamaged, IndexFile
from service.operations.stretches import (
    BASE_S,
    OBSERVED,
    RECEIVED,
    Key,
    LineTally,
    Stretch,
    Tally,
    folded,
    key_at,
)

log = structlog.get_logger()

SLICE = 1_000
"""Events that are counted at once, between two of which others may ask."""

AT_ONCE = 5_000
"""Events that a list of snapshots waits for to be counted."""

EVERY_S = 10.0
"""How often the thread brings it up to date."""

REST = 4
"""The thread rests so many times as long as it worked."""

R = TypeVar("R")
_BROKEN = (IndexDamaged, sqlite3.Error, OSError)


class ScoreIndex:
    """The indexes of one log's models.

    Parameters
    ----------
    events
        The log.
    ended
        Whether the process stops: then the thread does.
    resting
        Whether nothing may be written now: a full disk's last bytes are the log's.
    """

    def __init__(
        self,
        events: EventLog,
        ended: Callable[[], bool] = lambda: False,
        resting: Callable[[], bool] = lambda: False,
    ) -> None:
        self._events = events
        self._ended = ended
        self._resting = resting
        self._file = IndexFile(events.path.with_name(FILE_NAME))
        self._lock = threading.Lock()
        self._asked: set[str] = set()
        self._thread: threading.Thread | None = None
        self.read = 0
        """Events that were read for it, since this process began."""

    def errors_by_time(
        self,
        model: str,
        width_s: float,
        *,
        since: float | None = None,
        until: float | None = None,
        observed: bool = False,
        line: str | None = None,
    ) -> dict[str, Any]:
        """What `errors_by_time` says, without reading all of the log again.

        Where ``width_s`` is not a multiple of ten minutes, the events in question are read.
        """
        self._keep_up(model)

        def ask() -> dict[str, Any] | None:
            head = self._current(model)
            if head is None:
                return None
            clock = OBSERVED if observed else RECEIVED
            first, end = whole(since, until)
            kept = list(self._file.stretches(model, clock, first, end, line))
            if width_s % BASE_S == 0:
                found = folded(kept, width_s)
                return answer(model, width_s, observed, first, end, found, 0, head.dropped)
            spans = [(r[0], r[1]) for _, stretch in kept for r in stretch.ranges]
            last = max((b for _, b in spans), default=0)
            start = max(min((a for a, _ in spans), default=1) - 1, last - MOST_EVENTS)
            seq, tally = self._file.tally(model, start) or (self._events.pruned(model), Tally())
            skipped = max(0, start + 1 - min((a for a, _ in spans), default=1))
            records = self._events.events(model, seq, last)
            found = counted(records, tally, width_s, clock, since, until, line)
            return answer(model, width_s, observed, since, until, found, skipped, head.dropped)

        said = self._persistently(model, ask)
        if said is not None:
            return said
        return errors_by_time(
            self._events, model, width_s, since=since, until=until, observed=observed, line=line
        )

    def taught(
        self, model: str, stretches: Iterable[tuple[int, int]]
    ) -> list[dict[str, LineTally] | None]:
        """By line the lessons and learned rows of events ``after`` < seq <= ``until`` each; None
        where that is not known: those events were pruned, or the index is behind."""
        self._keep_up(model)
        asked = list(stretches)

        def ask() -> list[dict[str, LineTally] | None] | None:
            if self._current(model, AT_ONCE) is None:
                return None
            return [self._between(model, after, until) for after, until in asked]

        return self._persistently(model, ask) or [None] * len(asked)

    def verbs(self, model: str) -> list[Record] | None:
        """The events that are verbs, in order, the latest of them; None where that is not known."""
        self._keep_up(model)

        def ask() -> list[Record] | None:
            if self._current(model, AT_ONCE) is None:
                return None
            return [
                record
                for seq in self._file.verbs(model)
                for record in self._events.events(model, seq - 1, seq)
            ]

        return self._persistently(model, ask)

    def advance(self, model: str) -> bool:
        """Count one slice; whether there is more. Raises as `IndexFile` and `EventLog.events`."""
        with self._lock:
            return self._slice(model, self._head(model))

    def _between(self, model: str, after: int, until: int) -> dict[str, LineTally] | None:
        if after < self._events.pruned(model) or until > self._events.last_seq(model):
            return None
        before, then = self._tally_at(model, after).lines, self._tally_at(model, until).lines
        found = {}
        for line, told in then.items():
            was = before.get(line, LineTally())
            if told.lessons > was.lessons:
                lessons, learned = told.lessons - was.lessons, told.learned - was.learned
                found[line] = LineTally(None, lessons, learned)
        return found

    def _tally_at(self, model: str, seq: int) -> Tally:
        """After an event; kept, since whoever asks about a snapshot will ask again."""
        found = self._file.tally(model, seq)
        at, tally = found or (self._events.pruned(model), Tally())
        if at < seq:
            for record in self._events.events(model, at, seq):
                self.read += 1
                tally.take(record)
            self._file.keep_tally(model, seq, tally)
        return tally

    def _current(self, model: str, most: int | None = None) -> Head | None:
        """Up to date; None where more than ``most`` events would have to be read for that, or
        nothing may be written."""
        if self._resting():
            return None
        head = self._head(model)
        last = self._events.last_seq(model)
        if last - head.seq > (MOST_EVENTS if most is None else most):
            return None
        # What comes meanwhile is for the next question.
        while head.seq < last and self._slice(model, head, last):
            head = self._head(model)
        return self._head(model)

    def _head(self, model: str) -> Head:
        """How far it has got in this very log; from its beginning, where it was of another."""
        head, pruned = self._file.head(model), self._events.pruned(model)
        gaps = [[gap.from_seq, gap.to_seq] for gap in self._events.gaps(model)]
        about = json.dumps([pruned, gaps])
        if (
            head is not None
            and head.log == about
            and self._events.head_at(model, head.seq) == head.head
        ):
            return head
        if head is not None:
            log.info("score index is of another log: made anew", model=model)
            self._file.forget(model)
        return Head(pruned, self._events.head_at(model, pruned) or "", about, Tally())

    def _slice(self, model: str, head: Head, until: int | None = None) -> bool:
        last = self._events.last_seq(model) if until is None else until
        found: dict[tuple[int, Key], Stretch] = {}
        verbs: list[int] = []
        seq, tally, rows = head.seq, head.tally, head.rows
        for record in self._events.events(model, seq, min(last, seq + SLICE)):
            seq = record.seq
            self.read += 1
            taken = tally.take(record)
            if taken is None:
                verbs.append(seq)
                continue
            line, *times, one = taken
            rows += one.rows
            for clock, at in enumerate(times):
                key = key_at(at, BASE_S, line)
                if (clock, key) not in found:
                    found[clock, key] = self._file.stretch(model, clock, key)
                one.first_at = one.last_at = at
                found[clock, key].add(one)
        if seq == head.seq:
            # A gap at the end of the log: nothing is behind it yet.
            return False
        chained = self._events.head_at(model, seq)
        if chained is None:
            raise LogPruned(f"{model}: event {seq} was pruned while it was counted")
        new = Head(seq, chained, head.log, tally, rows, head.dropped)
        self._file.write(model, new, found, verbs)
        return seq < last

    def _persistently(self, model: str, ask: Callable[[], R]) -> R | None:
        """The answer of the file, which is made anew if it is broken; None where it still is."""
        for _ in range(2):
            with self._lock:
                try:
                    return ask()
                except LogPruned:
                    # Pruned meanwhile: the next try sees that.
                    continue
                except _BROKEN as error:
                    log.warning("score index is made anew", error=str(error))
                    try:
                        self._file.throw_away()
                    except OSError as undeletable:
                        log.error("score index cannot be deleted", error=str(undeletable))
        return None

    def _keep_up(self, model: str) -> None:
        """From the first question on a thread keeps the index up to date: who never asks, never
        pays."""
        with self._lock:
            self._asked.add(model)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="index", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        waited = EVERY_S
        while not self._ended():
            time.sleep(0.2)
            waited += 0.2
            if waited < EVERY_S:
                continue
            waited = 0.0
            for model in sorted(self._asked):
                self._catch_up(model)
        with self._lock:
            self._file.close()

    def _catch_up(self, model: str) -> None:
        more = True
        while more and not self._ended() and not self._resting():
            started = time.monotonic()
            try:
                more = self.advance(model)
            # Whatever it is, the next question meets it too, and says it or mends it.
            except Exception as error:
                if not self._ended():
                    log.warning("score index was not brought up to date", error=str(error))
                return
            if more:
                time.sleep(REST * (time.monotonic() - started))
