"""What lines send to a learner that is about to die, and what they remember of it."""

from __future__ import annotations

import json
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

MODEL = "press"
CLASSES = ("ok", "worn")
SENSORS = ("temp", "flow", "torque")

Row = tuple[float, ...]

JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Request:
    """One request as its bytes, so that sending it again is sending the same.

    ``labels`` are class indices, None where unknown, one for each of ``rows``.
    """

    path: str
    body: bytes
    rows: tuple[Row, ...] = ()
    labels: tuple[int | None, ...] | None = None
    batch_id: str | None = None

    @property
    def repeatable(self) -> bool:
        return self.batch_id is not None


@dataclass(frozen=True)
class Exchange:
    """An acknowledged request and its first reply."""

    request: Request
    reply: bytes

    @property
    def teaches(self) -> bool:
        """Whether the reply is that of an event: some of its labels were learned by it."""
        return any(json.loads(self.reply)["learned"])


@dataclass
class Memory:
    """What all lines together remember; every method may be called by any thread."""

    exchanges: list[Exchange] = field(default_factory=list)
    rollbacks: list[tuple[int, int]] = field(default_factory=list)  # (seq, version)
    snapshots: set[int] = field(default_factory=set)
    changed: list[str] = field(default_factory=list)
    retries: int = 0
    _unlabelled: dict[str, tuple[Row, ...]] = field(default_factory=dict)
    _unanswered: list[Request] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def labelled(self) -> int:
        """Acknowledged labelled batches and late labels."""
        return sum(exchange.request.labels is not None for exchange in self.exchanges)

    def acknowledge(self, request: Request, response: httpx.Response) -> None:
        """Keep what was answered. Raises RuntimeError where the answer is a refusal."""
        if response.status_code != 200:
            raise RuntimeError(f"{request.path} {request.body!r}: found {response.text}")
        with self._lock:
            self.exchanges.append(Exchange(request, response.content))
            if request.labels is None and request.batch_id is not None:
                self._unlabelled[request.batch_id] = request.rows

    def unanswered(self, request: Request) -> None:
        with self._lock:
            self._unanswered.append(request)

    def take_unanswered(self) -> list[Request]:
        """What is to be sent again: without a batch_id, nobody could do so safely."""
        with self._lock:
            found, self._unanswered = self._unanswered, []
        return [request for request in found if request.repeatable]

    def some_unlabelled(self, rng: random.Random) -> tuple[str, tuple[Row, ...]] | None:
        """A batch that waits for labels; labels may reach it in any order, and more than once."""
        with self._lock:
            if not self._unlabelled:
                return None
            return rng.choice(list(self._unlabelled.items()))

    def some_exchange(self, rng: random.Random) -> Exchange | None:
        with self._lock:
            keyed = [e for e in self.exchanges[-200:] if e.request.repeatable]
        return rng.choice(keyed) if keyed else None


class Line(threading.Thread):
    """One line: sends until it is stopped or the server is gone.

    ``error`` is what went wrong otherwise: a refusal that a line would not expect.
    """

    def __init__(
        self, url: str, name: str, seed: float, memory: Memory, stop: threading.Event
    ) -> None:
        super().__init__(name=f"line {name}")
        self.error: Exception | None = None
        self._url, self._stopping, self._memory = url, stop, memory
        self._rng = random.Random(seed)
        self._line = name
        self._sent = 0

    def run(self) -> None:
        kinds = (self._batch, self._late, self._now_labelled, self._replica, self._retry)
        weights = (50, 20, 8, 5, 15)
        try:
            with httpx.Client(base_url=self._url, timeout=30, trust_env=False) as http:
                while not self._stopping.is_set():
                    if self._rng.random() < 0.03:
                        self._verb(http)
                    else:
                        self._rng.choices(kinds, weights)[0](http)
        except httpx.TransportError:
            pass  # the server is dead, which is the point
        except Exception as error:
            self.error = error

    def _rows(self) -> tuple[Row, ...]:
        """1 to 4 readings that nobody else ever sends."""
        draw = self._rng.random
        return tuple(
            (20 + 60 * draw(), 10 * draw(), draw()) for _ in range(self._rng.randint(1, 4))
        )

    def _id(self) -> str:
        self._sent += 1
        return f"line-{self._line}/{self._sent:06d}"

    def _some(self, rows: tuple[Row, ...]) -> tuple[int | None, ...]:
        """Labels for some of the rows, one at least."""
        kept = [self._rng.random() < 0.7 for _ in rows]
        kept[self._rng.randrange(len(rows))] = True
        return tuple(truth(row) if keep else None for row, keep in zip(rows, kept, strict=True))

    def _batch(self, http: httpx.Client) -> None:
        rows, which = self._rows(), self._rng.random()
        labels = None if which < 0.35 else self._some(rows)
        # Nothing but a batch_id makes a prediction worth remembering.
        batch_id = None if which > 0.9 else self._id()
        self._post(http, batch(rows, labels, batch_id))

    def _late(self, http: httpx.Client) -> None:
        if (waiting := self._memory.some_unlabelled(self._rng)) is not None:
            batch_id, rows = waiting
            along = self._rng.random() < 0.2
            self._post(http, late(batch_id, rows, self._some(rows), along=along))

    def _now_labelled(self, http: httpx.Client) -> None:
        if (waiting := self._memory.some_unlabelled(self._rng)) is not None:
            batch_id, rows = waiting
            self._post(http, batch(rows, self._some(rows), batch_id))

    def _replica(self, http: httpx.Client) -> None:
        """A replica answered the batch; its rows come along with the labels."""
        rows = self._rows()
        self._post(http, late(self._id(), rows, self._some(rows), along=True))

    def _retry(self, http: httpx.Client) -> None:
        memory = self._memory
        if (exchange := memory.some_exchange(self._rng)) is None:
            return
        response = http.post(exchange.request.path, content=exchange.request.body, headers=JSON)
        memory.retries += 1
        if response.status_code == 200 and response.content != exchange.reply:
            memory.changed.append(
                f"{exchange.request.body!r}: {exchange.reply!r} became {response.content!r}"
            )

    def _verb(self, http: httpx.Client) -> None:
        memory, why = self._memory, {"reason": "benchmark", "actor": self.name}
        if self._rng.random() < 0.6:
            response = http.post(f"/v1/models/{MODEL}/snapshot", json=why)
            memory.snapshots.add(_answered(response)["version"])
            return
        listed = _answered(http.get(f"/v1/models/{MODEL}/snapshots"))["snapshots"]
        version = self._rng.choice(listed[-8:])["version"]
        response = http.post(f"/v1/models/{MODEL}/rollback", json={**why, "version": version})
        memory.rollbacks.append((_answered(response)["seq"], version))

    def _post(self, http: httpx.Client, request: Request) -> None:
        try:
            response = http.post(request.path, content=request.body, headers=JSON)
        except httpx.TransportError:
            self._memory.unanswered(request)
            raise
        if response.status_code in (429, 503):
            # Nothing happened, says the server; holding it to that is up to the comparison.
            self._memory.unanswered(request)
            time.sleep(0.05)
        else:
            self._memory.acknowledge(request, response)


def truth(row: Row) -> int:
    """Class index: worn where hot and slow."""
    return int(row[0] - 20 > 6 * row[1])


def row_bytes(row: Row) -> bytes:
    """A row as the network reads it."""
    return np.array(row, np.float32).tobytes()


def batch(
    rows: tuple[Row, ...], labels: tuple[int | None, ...] | None, batch_id: str | None
) -> Request:
    """A request to predict, and to learn where there are labels."""
    body: dict[str, Any] = {"rows": _named(rows)}
    if labels is not None:
        body["labels"] = _classes(labels)
    if batch_id is not None:
        body["batch_id"] = batch_id
    path = f"/v1/models/{MODEL}/batches"
    return Request(path, json.dumps(body).encode(), rows, labels, batch_id)


def late(
    batch_id: str, rows: tuple[Row, ...], labels: tuple[int | None, ...], *, along: bool
) -> Request:
    """Labels for a batch; ``along`` sends its rows once more."""
    body: dict[str, Any] = {"batch_id": batch_id, "labels": _classes(labels)}
    if along:
        body["rows"] = _named(rows)
    path = f"/v1/models/{MODEL}/labels"
    return Request(path, json.dumps(body).encode(), rows, labels, batch_id)


def _answered(response: httpx.Response) -> dict[str, Any]:
    if response.status_code != 200:
        raise RuntimeError(f"{response.request.url}: found {response.text}")
    found: dict[str, Any] = response.json()
    return found


def _named(rows: tuple[Row, ...]) -> list[dict[str, float]]:
    return [dict(zip(SENSORS, row, strict=True)) for row in rows]


def _classes(labels: tuple[int | None, ...]) -> list[str | None]:
    return [None if label is None else CLASSES[label] for label in labels]
