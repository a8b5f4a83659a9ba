"""Our learners and backpropagation with the same parts, each as a prequential method."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.streams.data import Stream
from service.config.model import ENSEMBLE
from service.dll import initial
from service.dll.network import Ensemble
from service.dll.standardise import scale, standardise, update
from service.kernels.by_state import KernelByState
from service.state import Configuration, Labelled, State, plain
from service.state.network import members

KERNEL = KernelByState()
REHEARSING = (*ENSEMBLE, "rehearsal")


def ensemble(names: tuple[str, ...]) -> Callable[[Stream, int], Configuration]:
    return lambda stream, seed: Configuration(
        stream.ranges, stream.classes, members(names, (64,), seed), seed=seed
    )


def previous(stream: Stream, seed: int) -> Configuration:
    """The defaults of before there were members: one tanh network, fixed feedback, SGD."""
    return plain(stream.ranges, stream.classes, (64,), seed=seed)


class Ours:
    """A learner of this project, single pass, in the kernel that learners have by default.

    Parameters
    ----------
    tied
        Backpropagation in place of the local rule: after each step Θ becomes W, all else equal.
    """

    def __init__(
        self,
        made: Callable[[Stream, int], Configuration],
        stream: Stream,
        seed: int,
        *,
        tied: bool = False,
    ) -> None:
        self._tied = tied
        born = KERNEL.initial(made(stream, seed))
        self.state = self._after(born._replace(kernel="onnx"))

    def predict(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, K) probabilities."""
        return KERNEL.forward(self.state, rows)

    def learn(self, rows: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Learn rows in one request; the reply that it gave before."""
        after, reply = KERNEL.apply(self.state, Labelled(rows, labels))
        assert reply is not None
        self.state = self._after(after)
        return reply.probabilities

    def _after(self, state: State) -> State:
        if not self._tied:
            return state
        networks = state.configuration.networks
        return state._replace(
            members=tuple(
                member._replace(
                    synapses=member.synapses._replace(
                        feedback=tuple(
                            np.ascontiguousarray(w[:, :width])
                            for w, width in zip(
                                member.synapses.weights[1:], network.hidden, strict=True
                            )
                        )
                    )
                )
                for network, member in zip(networks, state.members, strict=True)
            )
        )


class Tuned:
    """Backpropagation as one would tune it: ReLU, RMSprop, rehearsal of 8 rows of a reservoir of
    512; no gain, code or ensemble. torch.autograd and torch.optim do it all."""

    STEP = 4e-3

    def __init__(self, stream: Stream, seed: int, step: float = STEP) -> None:
        torch.manual_seed(seed)
        self._ranges = stream.ranges
        n, classes = stream.x.shape[1], stream.classes
        self._network = torch.nn.Sequential(
            torch.nn.Linear(n, 64), torch.nn.ReLU(), torch.nn.Linear(64, classes)
        )
        self._optimiser = torch.optim.RMSprop(self._network.parameters(), lr=step)
        self._moments = Ensemble.of(initial(previous(stream, seed))).moments
        self._rng = np.random.default_rng(seed)
        self._kept: list[tuple[torch.Tensor, int]] = []
        self._seen = 0

    def _x(self, rows: torch.Tensor) -> torch.Tensor:
        return standardise(rows, scale(self._moments, self._ranges, torch.float32))

    def predict(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            return torch.softmax(self._network(self._x(torch.tensor(rows))), 1).numpy()

    def learn(self, rows: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
        said = self.predict(rows)
        for row, label in zip(torch.tensor(rows), labels, strict=True):
            self._step(row[None], torch.tensor([label]))
            if self._kept:
                picked = self._rng.integers(len(self._kept), size=8)
                again = torch.stack([self._kept[k][0] for k in picked])
                self._step(again, torch.tensor([self._kept[k][1] for k in picked]))
            self._keep(row, int(label))
            self._moments = update(self._moments, row[None])
        return said

    def _step(self, rows: torch.Tensor, labels: torch.Tensor) -> None:
        self._optimiser.zero_grad()
        torch.nn.functional.cross_entropy(self._network(self._x(rows)), labels).backward()
        self._optimiser.step()

    def _keep(self, row: torch.Tensor, label: int) -> None:
        self._seen += 1
        if len(self._kept) < 512:
            self._kept.append((row, label))
        elif (place := int(self._rng.integers(self._seen))) < 512:
            self._kept[place] = row, label
