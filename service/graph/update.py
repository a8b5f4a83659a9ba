"""What one step changes in one network, as nodes: `service.dll.member` in a graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray
from onnx import TensorProto

from service.graph.gain import Block, gained, held
from service.graph.layers import Pass, passed, sloped
from service.graph.nodes import Typed
from service.graph.rehearsal import Again
from service.state import Configuration, Network
from service.state.network import REHEARSED

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8

Gradient = tuple[str, str]
"""Of a layer's weights and biases."""


class Learner:
    """A network's step, and behind it what it learns again.

    Parameters
    ----------
    prefix
        Of its tensors' names.
    named
        The state's tensors.
    """

    def __init__(
        self,
        n: Typed,
        configuration: Configuration,
        network: Network,
        prefix: str,
        named: Mapping[str, NDArray[Any]],
    ) -> None:
        self.n = n
        self.after: dict[str, str] = {}
        """What is the value of each of its tensors that has moved, by name."""
        self._configuration = configuration
        self._network = network
        self._prefix = prefix
        self._named = named

    def stepped(self, output: str, seen: Pass) -> None:
        """Learn what was just seen, of which ``output`` is the error ξ_L."""
        n, network = self.n, self._network
        eta = n.op("Mul", "step_size", n.d(network.step_size))
        scaled, errors, apical = self._errors(output, seen, self._scale(eta))
        lessons = list(zip(scaled, seen.inputs, strict=True))
        rows = self._configuration.rows_per_step
        match network.optimiser:
            case "gain":
                updates = [self._by_gain(at, *lesson) for at, lesson in enumerate(lessons, 1)]
            case "adam":
                updates = self._by_adam([self._gradient(*each, rows) for each in lessons], eta)
            case _:
                updates = self._bounded([self._gradient(*each, rows) for each in lessons])
        self._moved(updates, errors, apical, eta, self._kept(eta), self._rows)

    def rehearse(self, again: Again, x: str, target: str) -> None:
        """Learn rows of the sample, read as ``x`` (k, n_0), by a small step for all of them; second
        moments and decay are left to new rows."""
        n, network, count = self.n, self._network, self._network.rehearsed
        seen = passed(n, network, self._now, x)
        eta = n.op("Mul", "step_size", n.d(network.step_size * REHEARSED))
        # Of an empty sample nothing is learned.
        step = n.op("Mul", n.typed(eta), again.some)
        step = n.op("Div", step, n.c(count))
        scaled, errors, apical = self._errors(n.op("Sub", target, seen.said), seen, step)
        lessons = list(zip(scaled, seen.inputs, strict=True))
        if network.optimiser == "gain":
            updates = []
            for layer, (error, v) in enumerate(lessons, 1):
                now = [Block(self._now(b.name), b.shape) for b in self._blocks(layer)]
                updates.append(self._split(layer, error, held(n, now, v, count)))
        else:
            updates = self._bounded([self._gradient(*each, count) for each in lessons])
        wide = n.op("Mul", eta, n.cast(again.some, TensorProto.DOUBLE))
        self._moved(updates, errors, apical, wide, None, lambda: n.c(count))

    def _kept(self, eta: str) -> str | None:
        """What decay leaves of weights; None where there is none."""
        n, network = self.n, self._network
        if network.feedback_rule != "kolen_pollack":
            return None
        if network.optimiser == "gain":
            return n.c(1 - network.decay)
        return n.typed(n.op("Sub", n.d(1.0), n.op("Mul", eta, n.d(network.decay))))

    def _now(self, name: str) -> str:
        """What a tensor is by now, by its name in the file of one network."""
        return self.after.get(self._prefix + name, self._prefix + name)

    def _errors(
        self, output: str, seen: Pass, scale: str | None
    ) -> tuple[list[str], list[str], list[str]]:
        """ξ_l of all layers times ``scale``, which is of their updates: errors are rows, so that is
        a pass over the weights less; as they are, which rules of Θ ask for; what was heard."""
        n = self.n
        if scale is None:
            errors, apical = self._local_errors(output, seen)
            return errors, errors, apical
        if self._network.feedback_rule in ("fixed", "kolen_pollack"):
            # Nobody asks, and errors below are linear in this one.
            errors, apical = self._local_errors(n.op("Mul", output, scale), seen)
            return errors, errors, apical
        errors, apical = self._local_errors(output, seen)
        return [n.op("Mul", error, scale) for error in errors], errors, apical

    def _local_errors(self, output: str, seen: Pass) -> tuple[list[str], list[str]]:
        """ξ_l of all layers, and what each hidden one heard."""
        n, network = self.n, self._network
        errors, apical = [output], list[str]()
        for layer in range(len(network.hidden), 0, -1):
            heard = n.op("MatMul", errors[0], self._now(f"feedback.{layer + 1}"))
            errors.insert(0, sloped(n, network, seen.hidden[layer - 1], heard))
            apical.insert(0, heard)
        return errors, apical

    def _moved(
        self,
        updates: list[Gradient],
        errors: list[str],
        apical: list[str],
        eta: str,
        keep: str | None,
        rows: Callable[[], str],
    ) -> None:
        """Add the updates; ``keep`` is what decay leaves, ``rows`` gives how many there were."""
        n, network = self.n, self._network

        def kept(value: str) -> str:
            return value if keep is None else n.op("Mul", value, keep)

        after = dict[str, str]()
        for layer, (w, b) in enumerate(updates, 1):
            weight, bias = f"weight.{layer}", f"bias.{layer}"
            after[weight] = n.op("Add", kept(self._now(weight)), w)
            after[bias] = n.op("Add", self._now(bias), b)
        for layer in range(2, len(network.hidden) + 2):
            theta = f"feedback.{layer}"
            if network.feedback_rule == "fixed":
                break
            if network.feedback_rule == "kolen_pollack":
                change = updates[layer - 1][0]
                if network.skip and layer == len(network.hidden) + 1:
                    change = n.columns(change, 0, network.hidden[-1])
            else:
                sign = 1.0 if network.feedback_rule == "hebbian" else -1.0
                step = n.typed(n.op("Mul", eta, n.d(sign * network.feedback_step)))
                product = n.op("Gemm", errors[layer - 1], apical[layer - 2], transA=1)
                change = self._clipped(n.op("Mul", n.op("Div", product, rows()), step))
            after[theta] = n.op("Add", kept(self._now(theta)), change)
        self.after |= {self._prefix + name: value for name, value in after.items()}

    def _rows(self) -> str:
        """B, in the network's precision."""
        return self.n.typed(self.n.op("Size", "labels"))

    def _clipped(self, update: str) -> str:
        bound = self._network.max_update
        return self.n.op("Clip", update, self.n.c(-bound), self.n.c(bound))

    def _bounded(self, raw: Sequence[Gradient]) -> list[Gradient]:
        return [(self._clipped(w), self._clipped(b)) for w, b in raw]

    def _scale(self, eta: str) -> str | None:
        """Of updates; Adam's step comes later."""
        n, several = self.n, self._configuration.rows_per_step != 1
        if self._network.optimiser == "adam":
            return n.op("Div", n.c(1.0), self._rows()) if several else None
        factor = n.typed(eta)
        return n.op("Div", factor, self._rows()) if several else factor

    def _gradient(self, error: str, v: str, rows: int) -> Gradient:
        """``rows`` is B, 0 where the graph takes any number."""
        n = self.n
        bias = n.flat(error) if rows == 1 else n.total(error, [0])
        return n.op("Gemm", error, v, transA=1), bias

    def _by_adam(self, raw: list[Gradient], eta: str) -> list[Gradient]:
        """Kingma & Ba 2015, algorithm 1."""
        n = self.n
        step = n.cast(n.op("Identity", "steps"), TensorProto.DOUBLE)
        root = n.op("Sqrt", n.op("Sub", n.d(1.0), n.op("Pow", n.d(BETA_2), step)))
        first_bias = n.op("Sub", n.d(1.0), n.op("Pow", n.d(BETA_1), step))
        rate = n.typed(n.op("Div", n.op("Mul", eta, root), first_bias))
        least = n.typed(n.op("Mul", n.d(EPSILON), root))
        found = []
        for index, g in enumerate([*(w for w, _ in raw), *(b for _, b in raw)], 1):
            m, v = f"{self._prefix}adam.first.{index}", f"{self._prefix}adam.second.{index}"
            moved = n.op("Mul", n.op("Sub", g, m), n.c(1 - BETA_1))
            self.after[m] = n.op("Add", m, moved)
            squared = n.op("Mul", n.op("Mul", g, g), n.c(1 - BETA_2))
            self.after[v] = n.op("Add", n.op("Mul", v, n.c(BETA_2)), squared)
            below = n.op("Add", n.op("Sqrt", self.after[v]), least)
            update = n.op("Div", n.op("Mul", self.after[m], rate), below)
            found.append(self._clipped(update))
        return list(zip(found[: len(raw)], found[len(raw) :], strict=True))

    def _blocks(self, layer: int) -> list[Block]:
        """P of a layer."""
        first = f"{self._prefix}gain.{layer}."
        numbers = [1, 2] if f"{first}2" in self._named else [1]
        return [Block(f"gain.{layer}.{i}", self._named[f"{first}{i}"].shape) for i in numbers]

    def _by_gain(self, layer: int, error: str, v: str) -> Gradient:
        blocks = [Block(self._prefix + b.name, b.shape) for b in self._blocks(layer)]
        gain, after = gained(self.n, blocks, v, self._network.gain_floor)
        self.after |= after
        return self._split(layer, error, gain)

    def _split(self, layer: int, error: str, gain: str) -> Gradient:
        """The update by a gain, within its bound: the weights', and the bias' last column."""
        n, size = self.n, self._named[f"{self._prefix}weight.{layer}"].shape[1] + 1
        whole = self._clipped(n.op("Gemm", error, gain, transA=1))
        bias = n.flat(n.columns(whole, size - 1, size))
        return n.columns(whole, 0, size - 1), bias
