"""Store and forward: a line's batches in a local SQLite file until a learner has taken them.

    put → on the disk → (a thread) sent, in order → acknowledged → deleted

Nothing is lost by a crash of either side, and nothing learned twice: a batch has a ``batch_id``
before it is sent, and comes again under the same until it is answered.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self

from clients.answers import Answer, LabelsAnswer
from clients.calls import Call, Columns, Rows, batch_call, labels_call, taken
from clients.client import Client
from clients.errors import LabelsRefused, Rejected, TryAgain, Unreachable
from clients.spooled import Dead, Item, SpoolFile

log = logging.getLogger("apical.spool")

OURS = (401, 403, 404, 421)
"""What is wrong with the key, the name of the model or of the host, not with the batch: it waits
until somebody has put it right."""

WAIT_S = (0.1, 30.0)
"""Shortest and longest wait before a batch is sent again."""

WhenFull = Literal["refuse", "drop_oldest"]


class Delivered(NamedTuple):
    """A batch or its labels, and what they were answered."""

    batch_id: str
    answer: Answer | LabelsAnswer


class Status(NamedTuple):
    """Of a spool: how many batches wait and how many were refused for good, how old the oldest of
    the waiting is in seconds, how many were dropped, and what the last error said."""

    waiting: int
    dead: int
    oldest_s: float
    dropped: int
    error: str | None


class Spool:
    """What a line puts its batches into.

    Parameters
    ----------
    path
        The file; one process at a time has it open.
    url, key, ca
        As of `clients.Client`.
    model
        Whom the batches are for.
    line
        The line's name, which every batch bears.
    on_answer
        Called in the spool's thread with each `Delivered`; after a crash perhaps once more for the
        last one. What it raises is logged.
    most_bytes
        Of what waits; beyond it ``when_full`` holds.
    when_full
        ``refuse``: `put` raises SpoolFull. ``drop_oldest``: the oldest are given up, and counted.

    Raises
    ------
    SpoolLocked
        Another process has the file open.
    InvalidInput
        ``url`` is none.
    """

    def __init__(
        self,
        path: Path | str,
        url: str,
        model: str,
        *,
        line: str | None = None,
        key: str | None = None,
        ca: str | None = None,
        on_answer: Callable[[Delivered], None] | None = None,
        most_bytes: int = 1 << 30,
        when_full: WhenFull = "refuse",
        timeout_s: float = 10.0,
    ) -> None:
        self._lock = _Lock(Path(path))
        try:
            self._client = Client(url, key=key, ca=ca, timeout_s=timeout_s)
            self._file = SpoolFile(Path(path))
        except BaseException:
            self._lock.release()
            raise
        self._model, self._line = model, line
        self._on_answer = on_answer
        self._most_bytes, self._when_full = most_bytes, when_full
        self._error: str | None = None
        self._closing = threading.Event()
        self._more = threading.Event()
        self._empty = threading.Condition()
        self._thread = threading.Thread(target=self._forward, name="spool", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def put(
        self,
        rows: Rows | None = None,
        labels: Sequence[str | None] | None = None,
        *,
        columns: Columns | None = None,
        batch_id: str | None = None,
        observed_at: str | None = None,
    ) -> str:
        """Keep a batch, with labels or without; it is on the disk on return, and this its id.

        An id that was put before is the same batch: it is not kept twice.

        Raises
        ------
        SpoolFull
            As ``when_full`` says.
        InvalidInput
            Rows or labels that are none.
        """
        batch_id = batch_id or f"{self._file.name}-{secrets.token_hex(8)}"
        call = batch_call(self._model, rows, columns, labels, batch_id, self._line, observed_at)
        self._keep(batch_id, call)
        return batch_id

    def label(
        self,
        batch_id: str,
        labels: Sequence[str | None],
        *,
        rows: Rows | None = None,
        relabel: bool = False,
        observed_at: str | None = None,
    ) -> None:
        """Keep labels for the rows of an earlier batch; raises as `put`."""
        call = labels_call(self._model, batch_id, labels, rows, relabel, self._line, observed_at)
        self._keep(batch_id, call)

    def _keep(self, batch_id: str, call: Call) -> None:
        if self._closing.is_set():
            raise ValueError("the spool is closed")
        self._file.put(batch_id, call, self._most_bytes, self._when_full == "drop_oldest")
        self._more.set()

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing waits any more; whether that is so."""
        with self._empty:
            return self._empty.wait_for(lambda: self._file.count() == 0, timeout_s)

    def status(self) -> Status:
        """What waits, what was refused, and why the last try failed."""
        file = self._file
        return Status(file.count(), file.count_dead(), file.oldest_s(), file.dropped(), self._error)

    @property
    def last_batch_id(self) -> str | None:
        """Of what was put last, also by a process before this one."""
        return self._file.last()

    def dead(self) -> list[Dead]:
        """What was refused for good, oldest first, with why."""
        return self._file.dead()

    def revive(self) -> int:
        """Put all that was refused back at the end of what waits; how many."""
        count = self._file.revive()
        self._more.set()
        return count

    def close(self) -> None:
        """Stop sending. What waits stays in the file, for the next one that opens it."""
        self._closing.set()
        self._more.set()
        self._thread.join()
        self._client.close()
        self._file.close()
        self._lock.release()

    def _forward(self) -> None:
        """The thread: the oldest first, and the next one only once that is done with."""
        wait = WAIT_S[0]
        while not self._closing.is_set():
            self._more.clear()
            item = self._file.oldest()
            if item is None:
                with self._empty:
                    self._empty.notify_all()
                self._more.wait(1.0)
                continue
            try:
                self._deliver(item)
            except TryAgain as error:
                self._failed(str(error))
                self._closing.wait(max(error.retry_after_s, WAIT_S[0]))
            # Of this line's own disk, too: the thread must live on, for it is the only one.
            except Exception as error:
                known = isinstance(error, Unreachable | Rejected)
                self._failed(str(error) if known else repr(error))
                self._closing.wait(wait)
                wait = min(wait * 2, WAIT_S[1])
                continue
            wait = WAIT_S[0]

    def _deliver(self, item: Item) -> None:
        """Send one and be done with it; raises what is to be tried again."""
        try:
            body = self._client.send(item.call)
            answer = taken(LabelsAnswer.of(body)) if item.late else Answer.of(body)
        except LabelsRefused as error:
            self._file.bury(item, str(error))
            log.error("labels of %s refused: %s", item.batch_id, error)
            return
        except Rejected as error:
            if error.status in OURS:
                raise
            self._file.bury(item, str(error))
            log.error("batch %s refused: %s", item.batch_id, error)
            return
        self._error = None
        if self._on_answer is not None:
            try:
                self._on_answer(Delivered(item.batch_id, answer))
            # It is the line's own code; what was learned is learned.
            except Exception:
                log.exception("on_answer failed")
        self._file.delete(item)

    def _failed(self, why: str) -> None:
        if why != self._error:
            log.warning("not sent: %s", why)
        self._error = why


class SpoolLocked(RuntimeError):
    """Another process has the spool open."""


class _Lock:
    """On a file beside, for SQLite's own ends with each transaction."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise SpoolLocked(f"{path}: another process has it open") from None

    def release(self) -> None:
        os.close(self._descriptor)
