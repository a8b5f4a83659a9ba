"""Memory that steps go back and forth between: what onnxruntime reads and writes, bound once.

A step through `InferenceSession.run` copies every tensor that it gives, which for a small network
takes longer than the step. Here it writes straight into a bank, whose views are the tensors of the
state after it. States are never written to, so a bank is used again only once no view of it is left
anywhere: then nothing but the bank itself refers to its memory.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from service.rows import Labels, Probabilities, Rows
from service.state.memory import ALIGNMENT, aligned

MOST = 12
"""Banks of one configuration in one thread. A learner holds some three states at a time; of more
models alike than have room here, those that came late step by copies."""

MOST_SIZES = 64
"""Numbers of rows of a step, of which buffers are kept."""


class Bank:
    """One state's tensors, side by side in memory of their own."""

    def __init__(self, like: Sequence[NDArray[Any]]) -> None:
        sizes = [-(-array.nbytes // ALIGNMENT) * ALIGNMENT for array in like]
        whole = aligned(np.zeros(sum(sizes), np.uint8))
        self.owner: NDArray[Any] = whole if whole.base is None else whole.base
        self.arrays: list[NDArray[Any]] = []
        start = 0
        for array, size in zip(like, sizes, strict=True):
            part = whole[start : start + array.nbytes]
            self.arrays.append(part.view(array.dtype).reshape(array.shape))
            start += size
        del whole, part
        self.values = [onnxruntime.OrtValue.ortvalue_from_numpy(a) for a in self.arrays]
        self._alone = sys.getrefcount(self.owner)

    @property
    def free(self) -> bool:
        """Whether no state is left that has its tensors here."""
        # Every view's base is the owner, also that of a view's view.
        return sys.getrefcount(self.owner) == self._alone

    def views(self) -> list[NDArray[Any]]:
        return [array.view() for array in self.arrays]


class Rowed(NamedTuple):
    """What a step of so many rows reads and gives beside the state."""

    rows: NDArray[Any]
    labels: NDArray[np.int64]
    probabilities: NDArray[Any]
    members: NDArray[Any]
    inputs: dict[str, onnxruntime.OrtValue]
    outputs: dict[str, onnxruntime.OrtValue]


class Banks:
    """The banks of one step graph; one thread's.

    Parameters
    ----------
    session
        Of the step.
    names
        Of the state's tensors, in the order of `service.state.leaves`.
    """

    def __init__(self, session: onnxruntime.InferenceSession, names: tuple[str, ...]) -> None:
        self._session = session
        self._names = names
        self._banks: list[Bank] = []
        self._by_owner: dict[int, Bank] = {}
        self._bindings: dict[tuple[int, int], tuple[onnxruntime.IOBinding, list[int]]] = {}
        self._step_size, self._steps = aligned(np.zeros(())), aligned(np.zeros((), np.int64))
        self._scalars = {
            "step_size": onnxruntime.OrtValue.ortvalue_from_numpy(self._step_size),
            "steps": onnxruntime.OrtValue.ortvalue_from_numpy(self._steps),
        }
        self._rowed: dict[int, Rowed] = {}

    def step(
        self,
        tensors: Sequence[NDArray[Any]],
        rows: Rows,
        labels: Labels,
        step_size: float,
        steps: int,
    ) -> tuple[tuple[Probabilities, NDArray[Any]], list[NDArray[Any]]] | None:
        """The probabilities from before the step with the members', and the tensors after it; None
        where all banks are taken, and nothing was done."""
        source = self._bank_of(tensors) or self._copied(tensors)
        target = None if source is None else self._free(tensors, source)
        if source is None or target is None:
            return None
        rowed = self._rowed_of(rows)
        rowed.rows[...], rowed.labels[...] = rows, labels
        self._step_size[...], self._steps[...] = step_size, steps
        self._session.run_with_iobinding(self._binding(source, target, rowed))
        return (rowed.probabilities.copy(), rowed.members.copy()), target.views()

    def _bank_of(self, tensors: Sequence[NDArray[Any]]) -> Bank | None:
        """Where a state lies, if it is one that came from here, all of it."""
        owner = tensors[0].base
        found = self._by_owner.get(id(owner))
        if found is None:
            return None
        for tensor in tensors:
            if tensor.base is not owner:
                return None
        return found

    def _copied(self, tensors: Sequence[NDArray[Any]]) -> Bank | None:
        bank = self._free(tensors)
        if bank is not None:
            for mine, given in zip(bank.arrays, tensors, strict=True):
                mine[...] = given
        return bank

    def _free(self, like: Sequence[NDArray[Any]], spared: Bank | None = None) -> Bank | None:
        for bank in self._banks:
            if bank is not spared and bank.free:
                return bank
        if len(self._banks) >= MOST:
            return None
        bank = Bank(like)
        self._banks.append(bank)
        self._by_owner[id(bank.owner)] = bank
        return bank

    def _binding(self, source: Bank, target: Bank, rowed: Rowed) -> onnxruntime.IOBinding:
        key = id(source), id(target)
        found = self._bindings.get(key)
        if found is None:
            binding = self._session.io_binding()
            for name, value in zip(self._names, source.values, strict=True):
                binding.bind_ortvalue_input(name, value)
            for name, value in zip(self._names, target.values, strict=True):
                binding.bind_ortvalue_output(f"next.{name}", value)
            for name, value in self._scalars.items():
                binding.bind_ortvalue_input(name, value)
            found = self._bindings[key] = binding, [0]
        binding, bound = found
        if bound[0] != id(rowed):
            for name, value in rowed.inputs.items():
                binding.bind_ortvalue_input(name, value)
            for name, value in rowed.outputs.items():
                binding.bind_ortvalue_output(name, value)
            bound[0] = id(rowed)
        return binding

    def _rowed_of(self, rows: Rows) -> Rowed:
        count = len(rows)
        found = self._rowed.get(count)
        if found is None:
            if len(self._rowed) >= MOST_SIZES:
                # Bindings know them by identity, which another may get.
                self._rowed.clear()
                self._bindings.clear()
            shapes = {each.name: each.shape for each in self._session.get_outputs()[:2]}
            members, classes = shapes["members"][0], shapes["members"][2]
            read = aligned(np.zeros(rows.shape, rows.dtype))
            told = aligned(np.zeros(count, np.int64))
            said = aligned(np.zeros((count, classes), rows.dtype))
            each = aligned(np.zeros((members, count, classes), rows.dtype))
            value = onnxruntime.OrtValue.ortvalue_from_numpy
            inputs = {"rows": value(read), "labels": value(told)}
            outputs = {"probabilities": value(said), "members": value(each)}
            found = self._rowed[count] = Rowed(read, told, said, each, inputs, outputs)
        return found
