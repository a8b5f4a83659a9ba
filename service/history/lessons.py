"""Events and batches as bytes for the log, and back.

The log holds the arrays of an event as a safetensors blob, whose metadata carries what is no array.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from model_store.log.log import Record
from service.history.verbs import TEACHING, Order
from service.rows import UNKNOWN, Labels, Probabilities, Rows
from service.state import Event, Labelled, State


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What a labelled batch or a late label carries.

    Parameters
    ----------
    rows
        (B, n) float32, all rows that the forward pass runs on.
    labels
        (B,) int64, `UNKNOWN` where there is none.
    earlier
        (B, K) float32: the predictions made then, which late labels are scored against; None where
        the prediction made on arrival is the one to score.
    set_aside
        The line was in quarantine: the labels are kept, and neither teach nor are scored. It stands
        in the record, so a replay asks no detector and no line.
    trace
        The id of the trace by which the labels came.
    arrived
        Of late labels, when their rows had come, in unix seconds; None where that is not known.
    """

    rows: Rows
    labels: Labels
    earlier: Probabilities | None = None
    set_aside: bool = False
    trace: str | None = None
    arrived: float | None = None

    def to_bytes(self) -> bytes:
        arrays: dict[str, NDArray[Any]] = {"rows": self.rows, "labels": self.labels}
        if self.earlier is not None:
            arrays["earlier"] = self.earlier
        if self.set_aside:
            arrays["set_aside"] = np.ones(1, np.uint8)
        about = {} if self.trace is None else {"trace": self.trace}
        if self.arrived is not None:
            about["arrived"] = repr(self.arrived)
        if about:
            return bytes(save_arrays(arrays, about))
        head, order = _head(tuple([(k, a.shape, a.dtype.char) for k, a in arrays.items()]))
        return b"".join([head, *[arrays[name].tobytes() for name in order]])

    @classmethod
    def from_bytes(cls, payload: bytes) -> Lesson:
        arrays = load_arrays(payload)
        aside = "set_aside" in arrays
        about = _about(payload)
        arrived = float(about["arrived"]) if "arrived" in about else None
        earlier, trace = arrays.get("earlier"), about.get("trace")
        return cls(arrays["rows"], arrays["labels"], earlier, aside, trace, arrived)

    @property
    def taught(self) -> Labels:
        """(B,) the labels that teach."""
        return np.full_like(self.labels, UNKNOWN) if self.set_aside else self.labels

    def event(self) -> Labelled:
        """The learning core's event."""
        return Labelled(self.rows, self.taught)

    def scored(self, probabilities: Probabilities) -> tuple[Labels, Probabilities]:
        """Labels (b,) and the probabilities (b, K) that they are scored against."""
        known = self.taught != UNKNOWN
        against = probabilities if self.earlier is None else self.earlier
        return self.labels[known], against[known]


def taught_after_all(record: Record) -> Record:
    """A lesson that was set aside, as if it had not been."""
    lesson = replace(Lesson.from_bytes(record.payload), set_aside=False)
    return replace(record, payload=lesson.to_bytes())


def event_of(record: Record, replacement: State | None = None) -> Event:
    """The learning core's event of a record; ``replacement`` is the state that it names, if any.

    Raises
    ------
    ValueError
        A kind that this version does not know, or one that needs a state and got none.
    """
    if record.kind in TEACHING:
        return Lesson.from_bytes(record.payload).event()
    return Order.from_record(record).verb.event(replacement)


@lru_cache(maxsize=256)
def _head(arrays: tuple[tuple[str, tuple[int, ...], str], ...]) -> tuple[bytes, tuple[str, ...]]:
    """What safetensors writes before arrays of such names, shapes and types, and the order in which
    it writes them, which take longer to find than to write."""
    written = bytes(save_arrays({name: np.zeros(shape, kind) for name, shape, kind in arrays}))
    start = 8 + int.from_bytes(written[:8], "little")
    places = {k: about["data_offsets"] for k, about in json.loads(written[8:start]).items()}
    return written[:start], tuple(sorted(places, key=places.__getitem__))


def _about(payload: bytes) -> dict[str, str]:
    """The metadata of a safetensors blob, which its own reader of bytes does not give."""
    header = payload[8 : 8 + int.from_bytes(payload[:8], "little")]
    if b'"__metadata__"' not in header:
        return {}
    found: dict[str, str] = json.loads(header)["__metadata__"]
    return found


def digest(rows: Rows) -> bytes:
    """What tells two batches apart: sha256 over shape and values."""
    return hashlib.sha256(str(rows.shape).encode() + rows.tobytes()).digest()
