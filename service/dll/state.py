"""The state of a learner: one immutable value that can be compared bitwise and saved."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from service.dll.network import Configuration, Synapses, draw
from service.dll.standardise import Moments, unseen

FORMAT = 1


class State(NamedTuple):
    """Everything that `apply` needs. No tensor in it is ever written to after it was made.

    ``first`` and ``second`` are Adam's moments of all weights and biases, in the order W_1..W_L,
    b_1..b_L; they are empty under SGD. Θ has none: its own rules take plain steps. ``steps`` counts
    updates, ``seq`` events.
    """

    configuration: Configuration
    seq: int
    steps: int
    step_size: float
    frozen: bool
    synapses: Synapses
    moments: Moments
    first: tuple[Tensor, ...]
    second: tuple[Tensor, ...]


def initial(configuration: Configuration) -> State:
    """A newborn learner at ``seq`` 0."""
    synapses = draw(configuration)
    learned = (*synapses.weights, *synapses.biases)
    adam = configuration.optimiser == "adam"
    return State(
        configuration=configuration,
        seq=0,
        steps=0,
        step_size=configuration.step_size,
        frozen=False,
        synapses=synapses,
        moments=unseen(len(configuration.ranges)),
        first=tuple(torch.zeros_like(p) for p in learned) if adam else (),
        second=tuple(torch.zeros_like(p) for p in learned) if adam else (),
    )


def tensors(state: State) -> dict[str, Tensor]:
    """Every tensor of the state under its name in the file."""
    named: dict[str, Tensor] = {}
    for kind, group in (
        ("weight", state.synapses.weights),
        ("bias", state.synapses.biases),
        ("feedback", state.synapses.feedback),
        ("adam.first", state.first),
        ("adam.second", state.second),
    ):
        # Θ_1 does not exist, so feedback is numbered from layer 2.
        start = 2 if kind == "feedback" else 1
        named |= {f"{kind}.{index}": tensor for index, tensor in enumerate(group, start)}
    named |= {f"standardise.{name}": t for name, t in state.moments._asdict().items()}
    return named


def same(a: State, b: State) -> bool:
    """Bitwise equality, NaN payloads and signed zeros included."""
    if a[:5] != b[:5]:
        return False
    mine, theirs = tensors(a), tensors(b)
    return mine.keys() == theirs.keys() and all(
        t.shape == theirs[name].shape
        and t.dtype == theirs[name].dtype
        and torch.equal(
            t.contiguous().view(torch.uint8), theirs[name].contiguous().view(torch.uint8)
        )
        for name, t in mine.items()
    )


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
    named = {name: t.contiguous() for name, t in tensors(state).items()}
    return bytes(save_tensors(named, metadata={"apical": json.dumps(header)}))


def configuration_from(values: dict[str, Any]) -> Configuration:
    """The inverse of ``asdict`` after a journey through JSON, which knows no tuples."""
    return Configuration(
        **{
            **values,
            "ranges": tuple((float(low), float(high)) for low, high in values["ranges"]),
            "hidden": tuple(values["hidden"]),
        }
    )


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
    template = initial(configuration)
    expected = tensors(template)
    if named.keys() != expected.keys():
        raise ValueError(f"state: expected tensors {sorted(expected)}, found {sorted(named)}")
    for name, t in named.items():
        if t.shape != expected[name].shape or t.dtype != expected[name].dtype:
            raise ValueError(
                f"state: {name}: expected {expected[name].dtype} {tuple(expected[name].shape)}, "
                f"found {t.dtype} {tuple(t.shape)}"
            )
    layers = len(configuration.widths) - 1

    def group(kind: str, count: int, start: int = 1) -> tuple[Tensor, ...]:
        # Cloned into torch's own aligned memory: kernels may round differently on other alignments.
        return tuple(named[f"{kind}.{index}"].clone() for index in range(start, start + count))

    return State(
        configuration=configuration,
        seq=header["seq"],
        steps=header["steps"],
        step_size=header["step_size"],
        frozen=header["frozen"],
        synapses=Synapses(
            group("weight", layers), group("bias", layers), group("feedback", layers - 1, 2)
        ),
        moments=Moments(*(named[f"standardise.{name}"].clone() for name in Moments._fields)),
        first=group("adam.first", len(template.first)),
        second=group("adam.second", len(template.second)),
    )


def _parse(data: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        named = load_tensors(data)
    except SafetensorError as error:
        raise ValueError(f"state: expected a safetensors file, found {error}") from error
    # safetensors' Python API reads metadata from files only; the header is plain JSON behind an
    # eight-byte length, and `load_tensors` has just validated both.
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    return json.loads(metadata.get("apical", "{}")), named
