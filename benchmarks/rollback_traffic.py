"""Steady traffic on a learner and its replicas, and what was answered."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clients import Answer, Client

MODEL = "press"
CLASSES = ("ok", "worn")
PAUSE_S = 0.01

QUESTIONS = 4
"""Fixed batches that are asked over and over: what a version answers can be computed later."""

QUESTION_ROWS = 8


def readings(index: int) -> dict[str, float]:
    """A row of the stream; two of them differ somewhere."""
    return {
        "temp": 20 + 60 * (index * 37 % 101) / 101,
        "flow": 10 * (index * 61 % 103) / 103,
        "torque": (index * 17 % 107) / 107,
    }


def truth(row: dict[str, float]) -> str:
    """Worn where hot and slow."""
    return CLASSES[int(row["temp"] - 20 > 6 * row["flow"])]


def question(index: int) -> list[dict[str, float]]:
    """Rows of the fixed batch ``index``."""
    return [readings(1000 * index + k) for k in range(QUESTION_ROWS)]


def question_rows(index: int) -> NDArray[np.float32]:
    """The same, as the network reads them: `(QUESTION_ROWS, 3)`."""
    return np.array([list(row.values()) for row in question(index)], np.float32)


@dataclass(frozen=True)
class Said:
    """An answer to a fixed batch: by a replica's version, or by a learner at a ``seq``."""

    role: str
    version: int
    seq: int
    question: int
    probabilities: bytes


@dataclass
class Heard:
    """What all threads together were answered; each different answer once, with its count."""

    said: Counter[Said] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    lessons: int = 0
    nameless: int = 0
    """Answers of the learner that name no event."""

    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, answer: Answer, index: int) -> None:
        """Keep an answer to the fixed batch ``index``."""
        bits = np.array(answer.probabilities, np.float32).tobytes()
        with self._lock:
            self.said[Said(answer.role, answer.snapshot, answer.seq, index, bits)] += 1

    def taught(self, seq: object) -> None:
        """Count an acknowledged lesson."""
        with self._lock:
            self.lessons += 1
            self.nameless += type(seq) is not int

    def fail(self, what: str) -> None:
        with self._lock:
            self.failed.append(what)

    @property
    def predictions(self) -> int:
        return sum(self.said.values())


class Traffic:
    """Threads that ask every process and teach the learner, until they are stopped.

    Parameters
    ----------
    learner, replicas
        Their URLs.
    pause_s
        Of each thread, after each request.
    """

    def __init__(self, learner: str, replicas: list[str], pause_s: float = PAUSE_S) -> None:
        self.heard = Heard()
        self._pause_s = pause_s
        self._stopping = threading.Event()
        work: list[tuple[str, Callable[[Client, int], None]]] = [
            *((url, self._ask) for url in (learner, *replicas)),
            (learner, self._teach),
            (learner, self._label_later),
        ]
        self._threads = [
            threading.Thread(target=self._repeat, args=(*one, n)) for n, one in enumerate(work)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each thread finish its request."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, url: str, request: Callable[[Client, int], None], number: int) -> None:
        index = 100_000 * number
        with Client(url) as client:
            while not self._stopping.is_set():
                try:
                    request(client, index)
                # Any failed request at all is what the benchmark counts.
                except Exception as error:
                    self.heard.fail(f"{url}: {error!r}")
                index += 1
                time.sleep(self._pause_s)

    def _ask(self, client: Client, index: int) -> None:
        number = index % QUESTIONS
        self.heard.note(client.predict(MODEL, question(number)), number)

    def _teach(self, client: Client, index: int) -> None:
        rows = [readings(index), readings(index + 7)]
        self.heard.taught(client.learn(MODEL, rows, [truth(row) for row in rows]).seq)

    def _label_later(self, client: Client, index: int) -> None:
        batch_id, row = f"late/{index}", readings(index)
        client.predict(MODEL, [row], batch_id=batch_id)
        self.heard.taught(client.label(MODEL, batch_id, [truth(row)]).seq)
