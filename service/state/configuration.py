"""What a learner is: constant over the life of a state."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from service.state.network import Network


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a learner is and how it learns; constant over the life of a state.

    Parameters
    ----------
    ranges
        Per sensor the declared (low, high), in the sensor's own unit.
    classes
        Number of classes, at least two.
    networks
        One, or the members of an ensemble.
    step_size
        The factor on every network's own step size at birth; a `StepSize` event changes it later.
    rows_per_step
        Labelled rows of a request that one step takes, in their order; 0 takes all of them at once,
        as versions before this key did.
    label_smoothing
        Part of a label's weight that is spread over all classes alike.
    class_weights
        Per class what its rows' errors are multiplied by; empty for 1 each.
    reservoir
        Rows kept for rehearsal, where a network rehearses.
    seed
        Of the draws from the reservoir.
    dtype
        ``float32``, or ``float64`` for proofs.
    values
        Per sensor how many values it can take, 0 where it measures: a reading is the index of one,
        and the network reads them one-hot. Empty where all sensors measure.
    """

    ranges: tuple[tuple[float, float], ...]
    classes: int
    networks: tuple[Network, ...] = (Network(),)
    step_size: float = 1.0
    rows_per_step: int = 1
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()
    reservoir: int = 512
    seed: int = 0
    dtype: str = "float32"
    values: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.ranges:
            raise ValueError("a network needs at least one sensor")
        for index, (low, high) in enumerate(self.ranges):
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ValueError(
                    f"sensor {index}: range must be finite, low < high: [{low}, {high}]"
                )
        if self.values and len(self.values) != len(self.ranges):
            raise ValueError(f"values: expected {len(self.ranges)}, found {len(self.values)}")
        if self.classes < 2:
            raise ValueError(f"a classifier needs at least two classes, found {self.classes}")
        if self.rows_per_step < 0:
            raise ValueError(f"rows_per_step: expected 0 or more, found {self.rows_per_step}")
        if not self.networks:
            raise ValueError("a learner needs at least one network")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label smoothing: expected 0 to 1, found {self.label_smoothing}")
        if self.class_weights and len(self.class_weights) != self.classes:
            raise ValueError(
                f"class weights: expected {self.classes}, found {len(self.class_weights)}"
            )

    @property
    def precision(self) -> np.dtype[Any]:
        """Of synapses, activities and probabilities."""
        return np.dtype(self.dtype)

    @property
    def measured(self) -> tuple[int, ...]:
        """Columns of the sensors that measure."""
        counts = self.values or (0,) * len(self.ranges)
        return tuple(column for column, count in enumerate(counts) if not count)

    @property
    def hot(self) -> tuple[tuple[int, int], ...]:
        """Column and index of each value of the sensors that have values, sensor by sensor: what
        each of the first inputs of a network stands for."""
        return tuple(
            (column, index) for column, count in enumerate(self.values) for index in range(count)
        )

    @property
    def rehearses(self) -> bool:
        """Whether rows are kept to be learned again."""
        return any(network.rehearsed for network in self.networks)


def plain(
    ranges: tuple[tuple[float, float], ...],
    classes: int,
    hidden: tuple[int, ...] = (64,),
    *,
    step_size: float = 0.05,
    rows_per_step: int = 0,
    seed: int = 0,
    dtype: str = "float32",
    **more: Any,
) -> Configuration:
    """A learner of one network, whose step size is the state's.

    All that a learner could be before there were ensembles; ``more`` are fields of `Network`.
    """
    network = Network(hidden=hidden, seed=seed, **more)
    return Configuration(
        ranges,
        classes,
        (network,),
        step_size=step_size,
        rows_per_step=rows_per_step,
        seed=seed,
        dtype=dtype,
    )


def to_json(configuration: Configuration) -> dict[str, Any]:
    """All that it says, for `configuration_from`. Values are left out where there are none, so
    that versions which know of none can read it."""
    said = asdict(configuration)
    if not configuration.values:
        del said["values"]
    return said


def configuration_from(values: dict[str, Any]) -> Configuration:
    """The inverse of ``asdict`` after a journey through JSON, which knows no tuples.

    Of versions before there were ensembles too, which held one network's fields among the rest;
    and of those that did not name the floor of a gain, which was another one then.
    """
    ranges = tuple((float(low), float(high)) for low, high in values["ranges"])
    if "networks" not in values:
        flat = {key: value for key, value in values.items() if key != "ranges"}
        return plain(ranges, **{**flat, "hidden": tuple(values["hidden"])})
    return Configuration(
        **{
            **values,
            "ranges": ranges,
            "class_weights": tuple(values["class_weights"]),
            "values": tuple(values.get("values", ())),
            "networks": tuple(
                Network(**{"gain_floor": 1e-8, **network, "hidden": tuple(network["hidden"])})
                for network in values["networks"]
            ),
        }
    )
