"""A state as the bytes of a safetensors file, and back."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from service.state.configuration import Configuration
from service.state.memory import aligned
from service.state.moments import Moments
from service.state.state import State, Synapses, arrays, newborn

FORMAT = 1


def to_bytes(state: State) -> bytes:
    """The state as a safetensors file; `from_bytes` gives it back bitwise."""
    header = {
        "format": FORMAT,
        "configuration": asdict(state.configuration),
        "seq": state.seq,
        "steps": state.steps,
        "step_size": state.step_size,
        "frozen": state.frozen,
    }
    named = {name: np.ascontiguousarray(array) for name, array in arrays(state).items()}
    return bytes(save_arrays(named, metadata={"apical": json.dumps(header)}))


def from_bytes(data: bytes) -> State:
    """Read what `to_bytes` wrote.

    Raises
    ------
    ValueError
        The bytes are no safetensors file, or of a format or shape that this version does not know;
        the message says what was expected and what was found.
    """
    header, named = _parse(data)
    if header.get("format") != FORMAT:
        raise ValueError(f"state: expected format {FORMAT}, found {header.get('format')!r}")
    configuration = configuration_from(header["configuration"])
    template = _template(configuration)
    expected = arrays(template)
    if named.keys() != expected.keys():
        raise ValueError(f"state: expected tensors {sorted(expected)}, found {sorted(named)}")
    for name, array in named.items():
        if array.shape != expected[name].shape or array.dtype != expected[name].dtype:
            raise ValueError(
                f"state: {name}: expected {expected[name].dtype} {expected[name].shape}, "
                f"found {array.dtype} {array.shape}"
            )
    layers = len(configuration.widths) - 1

    def group(kind: str, count: int, start: int = 1) -> tuple[NDArray[Any], ...]:
        return tuple(aligned(named[f"{kind}.{index}"]) for index in range(start, start + count))

    return State(
        configuration=configuration,
        seq=header["seq"],
        steps=header["steps"],
        step_size=header["step_size"],
        frozen=header["frozen"],
        synapses=Synapses(
            group("weight", layers), group("bias", layers), group("feedback", layers - 1, 2)
        ),
        moments=Moments(*(aligned(named[f"standardise.{name}"]) for name in Moments._fields)),
        first=group("adam.first", len(template.first)),
        second=group("adam.second", len(template.second)),
    )


def configuration_from(values: dict[str, Any]) -> Configuration:
    """The inverse of ``asdict`` after a journey through JSON, which knows no tuples."""
    return Configuration(
        **{
            **values,
            "ranges": tuple((float(low), float(high)) for low, high in values["ranges"]),
            "hidden": tuple(values["hidden"]),
        }
    )


def _template(configuration: Configuration) -> State:
    """A state of the shapes that a configuration has; its values mean nothing."""
    widths, precision = configuration.widths, configuration.precision
    weights = tuple(np.empty((out, into), precision) for into, out in itertools.pairwise(widths))
    biases = tuple(np.empty(width, precision) for width in widths[1:])
    return newborn(configuration, Synapses(weights, biases, weights[1:]))


def _parse(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    try:
        named = load_arrays(data)
    except SafetensorError as error:
        raise ValueError(f"state: expected a safetensors file, found {error}") from error
    # safetensors' Python API reads metadata from files only; the header is plain JSON behind an
    # eight-byte length, and `load_arrays` has just validated both.
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    return json.loads(metadata.get("apical", "{}")), named
