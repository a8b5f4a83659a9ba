"""A state as the bytes of a safetensors file, and back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from service.state.configuration import Configuration, configuration_from, to_json
from service.state.memory import aligned
from service.state.network import Network
from service.state.state import State, Synapses, arrays, mapped, newborn

FORMAT = 2
FORMATS = (1, 2)
"""1 holds one network, before there were ensembles."""


def to_bytes(state: State) -> bytes:
    """The state as a safetensors file; `from_bytes` gives it back bitwise."""
    header = {
        "format": FORMAT,
        "configuration": to_json(state.configuration),
        "seq": state.seq,
        "steps": state.steps,
        "step_size": state.step_size,
        "frozen": state.frozen,
        "kernel": state.kernel,
    }
    if state.quarantined:
        header["quarantined"] = list(state.quarantined)
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
    if header.get("format") not in FORMATS:
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
    return mapped(template, lambda name, _: aligned(named[name]))._replace(
        seq=header["seq"],
        steps=header["steps"],
        step_size=header["step_size"],
        frozen=header["frozen"],
        # Versions before there was another one did not say.
        kernel=header.get("kernel", "torch"),
        quarantined=tuple(header.get("quarantined", ())),
    )


def _template(configuration: Configuration) -> State:
    """A state of the shapes that a configuration has; its values mean nothing."""
    return newborn(configuration, tuple(_empty(configuration, n) for n in configuration.networks))


def _empty(configuration: Configuration, network: Network) -> Synapses:
    precision = configuration.precision
    sensors, hot = len(configuration.measured), len(configuration.hot)
    shapes = network.shapes(sensors, configuration.classes, hot)
    weights = tuple(np.empty(shape, precision) for shape in shapes)
    biases = tuple(np.empty(out, precision) for out, _ in shapes)
    below = zip(shapes[1:], network.hidden, strict=True)
    return Synapses(
        weights, biases, tuple(np.empty((out, width), precision) for (out, _), width in below)
    )


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
