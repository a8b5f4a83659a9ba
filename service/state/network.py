"""One network of a learner: how it is built, and how it learns."""

from __future__ import annotations

from dataclasses import dataclass, replace

FEEDBACK_RULES = ("fixed", "hebbian", "energy", "kolen_pollack")
OPTIMISERS = ("sgd", "adam", "gain")
ACTIVATIONS = ("tanh", "relu", "leaky_relu")

CENTRES = (-1.6, -0.8, 0.0, 0.8, 1.6)
"""Of the population code: what each of a sensor's bumps answers to most, in deviations."""

WIDTH = 0.8
"""Standard deviation of a bump, in deviations of its sensor."""

LEAK = 0.01
"""Slope of ``leaky_relu`` below 0."""

LEAST = 1e-4
"""A member's probability, below which the mixture does not hear how small it is."""

RATE = 0.02
"""Of the mixing neuron's steps."""

FORGETTING = 0.9995
"""λ of a gain: how much of its second moments the next row leaves."""

REHEARSED = 1.2
"""Of a step's size, spread over all rows that are rehearsed behind it."""

CODED = 1 + len(CENTRES)
"""Inputs that a coded sensor gives: itself and its bumps."""


@dataclass(frozen=True, slots=True)
class Network:
    """How one network is built and how it learns; constant over the life of a state.

    Parameters
    ----------
    name
        Among the members of its ensemble.
    hidden
        Widths of the hidden layers, first to last; may be empty.
    activation
        One of `ACTIVATIONS`: φ of the hidden layers.
    population_code
        Each sensor that measures is read as itself and as five bumps at `CENTRES`.
    skip
        The last layer reads the network's inputs beside the last hidden layer.
    feedback_rule
        One of `FEEDBACK_RULES`: how Θ learns.
    optimiser
        One of `OPTIMISERS`. ``gain`` is a recursive second moment of each layer's presynaptic
        activity.
    step_size
        η, times the state's factor.
    feedback_step
        η_Θ of the rules ``hebbian`` and ``energy``, as a fraction of η.
    feedback_scale
        Standard deviation of Θ at birth, in units of ``1/sqrt(fan_in)``.
    decay
        Under ``kolen_pollack`` a step multiplies W and Θ alike by ``1 - decay``, where the
        optimiser is ``gain``, and by ``1 - η·decay`` where it is another one.
    max_update
        Bound on the absolute value of each element of a layer's own update, in one step.
    rehearsed
        Rows of the reservoir that are learned again after each step.
    dense_inputs
        ``gain``: from more inputs on, each sensor that measures has a second moment of its own.
    gain_floor
        ``gain``: ε, added to P's diagonal in each step. Less than 1e-7 does not outweigh what
        float32 rounds away in hundreds of thousands of steps where inputs depend on each other.
    seed
        Seed of W; Θ comes from a stream of its own.
    """

    name: str = "plain"
    hidden: tuple[int, ...] = (64,)
    activation: str = "tanh"
    population_code: bool = False
    skip: bool = False
    feedback_rule: str = "fixed"
    optimiser: str = "sgd"
    step_size: float = 1.0
    feedback_step: float = 0.1
    feedback_scale: float = 2.0
    decay: float = 0.01
    max_update: float = 1.0
    rehearsed: int = 0
    dense_inputs: int = 448
    gain_floor: float = 1e-7
    seed: int = 0

    def __post_init__(self) -> None:
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"hidden widths must be positive, found {self.hidden}")
        for what, value, known in (
            ("feedback rule", self.feedback_rule, FEEDBACK_RULES),
            ("optimiser", self.optimiser, OPTIMISERS),
            ("activation", self.activation, ACTIVATIONS),
        ):
            if value not in known:
                raise ValueError(f"{what}: expected one of {known}, found {value!r}")
        if self.rehearsed and self.optimiser == "adam":
            raise ValueError("rehearsed: expected 0 under adam, whose moments it would move")

    def inputs(self, sensors: int, hot: int = 0) -> int:
        """Width of x_0: ``hot`` one-hot inputs, and behind them the sensors that measure."""
        return hot + sensors * (CODED if self.population_code else 1)

    def fan_in(self, sensors: int, classes: int, hot: int = 0) -> tuple[int, ...]:
        """Presynaptic neurons of each layer, 1..L, the constant of its bias not counted."""
        widths = [self.inputs(sensors, hot), *self.hidden]
        if self.skip and self.hidden:
            widths[-1] += widths[0]
        return tuple(widths)

    def shapes(self, sensors: int, classes: int, hot: int = 0) -> tuple[tuple[int, int], ...]:
        """Of W_l, l = 1..L."""
        return tuple(zip((*self.hidden, classes), self.fan_in(sensors, classes, hot), strict=True))

    def gain_shapes(
        self, sensors: int, classes: int, hot: int = 0
    ) -> tuple[tuple[tuple[int, ...], ...], ...]:
        """Of the blocks of each layer's P: one for all its inputs and the constant; or one for each
        sensor that measures, stacked, and one for the hidden layer below, the one-hot inputs and
        the constant."""
        if self.optimiser != "gain":
            return ()
        inputs, each = self.inputs(sensors, hot), self.inputs(1)
        found: list[tuple[tuple[int, ...], ...]] = []
        for width in self.fan_in(sensors, classes, hot):
            reads_sensors = not found or (self.skip and len(found) == len(self.hidden))
            if sensors and reads_sensors and inputs + 1 > self.dense_inputs:
                rest = width - sensors * each + 1
                found.append(((sensors, each, each), (rest, rest)))
            else:
                found.append(((width + 1, width + 1),))
        return tuple(found)


def gain(hidden: tuple[int, ...], seed: int) -> Network:
    """Population code, ReLU, skip connections, Kolen-Pollack and a presynaptic gain."""
    return Network(
        "gain",
        hidden,
        "relu",
        population_code=True,
        skip=True,
        feedback_rule="kolen_pollack",
        optimiser="gain",
        step_size=6.0,
        feedback_scale=1.0,
        decay=1e-4,
        seed=seed,
    )


def sgd(hidden: tuple[int, ...], seed: int) -> Network:
    """The same network by plain steps: it holds where labels come in long blocks."""
    return replace(gain(hidden, seed), name="sgd", optimiser="sgd", step_size=0.05)


def linear(hidden: tuple[int, ...], seed: int) -> Network:
    """Softmax regression, which nothing beats where the concept is linear."""
    return Network("linear", (), step_size=0.01, seed=seed)


def rehearsal(hidden: tuple[int, ...], seed: int) -> Network:
    """``gain`` that learns eight rows of the reservoir again after each step."""
    return replace(gain(hidden, seed), name="rehearsal", decay=1e-5, rehearsed=8)


MEMBERS = {"gain": gain, "sgd": sgd, "linear": linear, "rehearsal": rehearsal}
"""What an ensemble can be made of, by name."""


def members(names: tuple[str, ...], hidden: tuple[int, ...], seed: int) -> tuple[Network, ...]:
    """Networks by name, with seeds of their own."""
    return tuple(
        MEMBERS[name](hidden, (seed + 0x9E3779B97F4A7C15 * index) % 2**63)
        for index, name in enumerate(names)
    )
