"""Memory that steps go back and forth between: what onnxruntime reads and writes, bound once.

A step through `InferenceSession.run` copies every tensor that it gives, which for a small network
takes longer than the step. Here it writes straight into a bank, whose views are the tensors of the
state after it. States are never written to, so a bank is used again only once no view of it is left
anywhere: then nothing but the bank itself refers to its memory. What no step moves (fixed feedback
weights) is in no bank: it goes from state to state as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from service.rows import Labels, Probabilities, Rows
from service.state.memory import ALIGNMENT, aligned

MOST = 12
"""Banks of one configuration in one thread. A learner holds some three states at a time; of more
models alike than have room here, those that came late step by copies."""

MOST_STILL = 12
"""Learners of one configuration in one thread, of which is kept bound what no step moves."""

MOST_SIZES = 64
"""Numbers of rows of a step, of which buffers are kept."""


Said = tuple[Probabilities, NDArray[Any]]
"""Of a step's rows the probabilities from before it, and each member's."""


class Bank:
    """Those of one state's tensors that steps move, side by side in memory of their own."""

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
        self.held = False
        """By steps that are under way: there is no view yet, and others may step in between."""
        self.values = [onnxruntime.OrtValue.ortvalue_from_numpy(a) for a in self.arrays]
        self._alone = sys.getrefcount(self.owner)

    @property
    def free(self) -> bool:
        """Whether no state is left that has its tensors here, nor comes to have them."""
        # Every view's base is the owner, also that of a view's view.
        return not self.held and sys.getrefcount(self.owner) == self._alone

    def views(self) -> list[NDArray[Any]]:
        return [array.view() for array in self.arrays]


class Still(NamedTuple):
    """What no step moves: the tensors, which thereby stay where they are, and their values."""

    tensors: list[NDArray[Any]]
    values: list[onnxruntime.OrtValue]


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
    moves
        Which of them a step moves.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        names: tuple[str, ...],
        moves: tuple[int, ...],
    ) -> None:
        self._session = session
        self._moves = moves
        self._stays = tuple(at for at in range(len(names)) if at not in moves)
        self._moved = [names[at] for at in moves]
        self._stayed = [names[at] for at in self._stays]
        self._banks: list[Bank] = []
        self._by_owner: dict[int, Bank] = {}
        self._still: dict[tuple[int, ...], Still] = {}
        self._bindings: dict[tuple[int, int], tuple[onnxruntime.IOBinding, list[object]]] = {}
        self._step_size, self._steps = aligned(np.zeros(())), aligned(np.zeros((), np.int64))
        self._scalars = {
            "step_size": onnxruntime.OrtValue.ortvalue_from_numpy(self._step_size),
            "steps": onnxruntime.OrtValue.ortvalue_from_numpy(self._steps),
        }
        self._rowed: dict[int, Rowed] = {}

    def walk(
        self,
        tensors: list[NDArray[Any]],
        rows: Rows,
        labels: Labels,
        per: int,
        step_size: float,
        steps: int,
        between: Callable[[], None],
    ) -> tuple[Said | None, list[NDArray[Any]], int]:
        """Steps of ``per`` rows, as long as there are banks for them; ``steps`` were taken before.

        Returns
        -------
        What the first step said, the tensors after the last, and how many rows were learned.
        """
        said, done = None, 0
        moved = [tensors[at] for at in self._moves] if self._stays else tensors
        still = self._still_of(tensors)
        source, held = self._bank_of(moved) or self._copied(moved), None
        try:
            while source is not None and done < len(labels):
                if done:
                    between()
                target = self._free(moved, source)
                if target is None:
                    break
                x, y = rows[done : done + per], labels[done : done + per]
                rowed = self._rowed_of(x)
                rowed.rows[...], rowed.labels[...] = x, y
                steps += 1
                self._step_size[...], self._steps[...] = step_size, steps
                self._session.run_with_iobinding(self._binding(source, target, rowed, still))
                if not done:
                    said = rowed.probabilities.copy(), rowed.members.copy()
                if held is not None:
                    held.held = False
                held = source = target
                held.held = True
                done += len(y)
            if held is not None:
                tensors = self._after(tensors, held)
        finally:
            if held is not None:
                held.held = False
        return said, tensors, done

    def _after(self, tensors: Sequence[NDArray[Any]], target: Bank) -> list[NDArray[Any]]:
        if not self._stays:
            return target.views()
        after = list(tensors)
        for at, view in zip(self._moves, target.views(), strict=True):
            after[at] = view
        return after

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

    def _still_of(self, tensors: Sequence[NDArray[Any]]) -> Still | None:
        if not self._stays:
            return None
        stay = [tensors[at] for at in self._stays]
        key = tuple(map(id, stay))
        found = self._still.get(key)
        if found is None:
            if len(self._still) >= MOST_STILL:
                self._still.clear()
            value = onnxruntime.OrtValue.ortvalue_from_numpy
            found = self._still[key] = Still(stay, [value(tensor) for tensor in stay])
        return found

    def _binding(
        self, source: Bank, target: Bank, rowed: Rowed, still: Still | None
    ) -> onnxruntime.IOBinding:
        key = id(source), id(target)
        found = self._bindings.get(key)
        if found is None:
            binding = self._session.io_binding()
            for name, value in zip(self._moved, source.values, strict=True):
                binding.bind_ortvalue_input(name, value)
            for name, value in zip(self._moved, target.values, strict=True):
                binding.bind_ortvalue_output(f"next.{name}", value)
            for name, value in self._scalars.items():
                binding.bind_ortvalue_input(name, value)
            found = self._bindings[key] = binding, [None, None]
        binding, bound = found
        if still is not None and bound[1] is not still:
            for name, value in zip(self._stayed, still.values, strict=True):
                binding.bind_ortvalue_input(name, value)
            bound[1] = still
        if bound[0] is not rowed:
            for name, value in rowed.inputs.items():
                binding.bind_ortvalue_input(name, value)
            for name, value in rowed.outputs.items():
                binding.bind_ortvalue_output(name, value)
            bound[0] = rowed
        return binding

    def _rowed_of(self, rows: Rows) -> Rowed:
        count = len(rows)
        found = self._rowed.get(count)
        if found is None:
            if len(self._rowed) >= MOST_SIZES:
                self._rowed.clear()
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
