"""What a configured model means to the learning core and to whoever sends rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from service.config.model import PLAIN_KEYS, Model
from service.schema import Schema, Sensor
from service.state import Configuration, Network
from service.state.configuration import configuration_from, to_json
from service.state.network import members

LEARNER_KEYS = ("rows_per_step", "label_smoothing", "class_weights", "reservoir", "seed")
"""Keys of a model that the learning core's configuration has under the same name."""

NETWORK_KEYS = tuple(key for key in PLAIN_KEYS if key != "step_size")
"""Keys of a model that its one plain network has under the same name."""


def resolved(
    spec: Model, stored: Mapping[str, Any] | None, step_size: float | None = None
) -> Model:
    """The model with every key that its file does not name.

    Parameters
    ----------
    stored
        The learning configuration of its newest snapshot: a key that the file does not name is as
        it was then, so that another default makes no other network of a running one.
    step_size
        The configured one of that snapshot.
    """
    if stored is None:
        return spec.model_copy(
            update={"members": spec.made_of(), "step_size": spec.wanted_step_size}
        )
    then = configuration_from(dict(stored))
    names = tuple(network.name for network in then.networks)
    # Another network than the stored one, which is refused by whoever compares the two.
    plain = ("plain",) if spec.model_fields_set & set(NETWORK_KEYS) else names
    update: dict[str, Any] = {
        "members": spec.members or plain,
        "step_size": spec.step_size or step_size or then.step_size,
    }
    first = then.networks[0]
    held = [network.hidden for network in then.networks if network.name != "linear"]
    before = {key: getattr(then, key) for key in LEARNER_KEYS}
    before |= {"hidden": held[0] if held else ()}
    if names == ("plain",):
        before |= {key: getattr(first, key) for key in NETWORK_KEYS}
    update |= {key: was for key, was in before.items() if key not in spec.model_fields_set}
    return spec.model_copy(update=update)


def learning_configuration(spec: Model) -> Configuration:
    """The learning core's configuration of a newborn model; ``spec`` may leave keys out."""
    if spec.made_of() == ("plain",):
        plain = {key: getattr(spec, key) for key in NETWORK_KEYS}
        networks: tuple[Network, ...] = (Network(hidden=spec.hidden, seed=spec.seed, **plain),)
    else:
        networks = members(spec.made_of(), spec.hidden, spec.seed)
    return Configuration(
        ranges=tuple(feature.bounds for feature in spec.features),
        classes=len(spec.classes),
        networks=networks,
        step_size=spec.wanted_step_size,
        values=spec.values,
        **{key: getattr(spec, key) for key in LEARNER_KEYS},
    )


def differences(spec: Model, stored: Mapping[str, Any]) -> list[str]:
    """What a resolved model asks for that is not as the stored learner has it, one line a key; the
    step size, which changes by an event, is none."""
    then = configuration_from(dict(stored))
    # What a member's name stands for may change from version to version; what it was stays.
    now = learning_configuration(spec)
    if [network.name for network in now.networks] == [network.name for network in then.networks]:
        now = replace(now, networks=tuple(map(_as_stored, now.networks, then.networks)))
    had, wanted = _flat(then), _flat(now)
    return [
        f"{key}: stored {had.get(key)!r}, configured {wanted.get(key)!r}"
        for key in {**had, **wanted}
        if had.get(key) != wanted.get(key)
    ]


def _as_stored(network: Network, stored: Network) -> Network:
    if network.name == "plain":
        return replace(network, gain_floor=stored.gain_floor)
    return replace(stored, hidden=network.hidden, seed=network.seed)


def _flat(configuration: Configuration) -> dict[str, Any]:
    found: dict[str, Any] = {"members": [network.name for network in configuration.networks]}
    for network in configuration.networks:
        prefix = "" if network.name == "plain" else f"{network.name}."
        found |= {f"{prefix}{key}": value for key, value in asdict(network).items()}
    whole = {**to_json(configuration), "ranges": [list(pair) for pair in configuration.ranges]}
    found |= {key: value for key, value in whole.items() if key not in ("networks", "step_size")}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}


def schema_of(spec: Model) -> Schema:
    """The schema of a configured model."""
    return Schema(
        [Sensor(f.name, f.unit, *f.bounds, f.out_of_range, f.values) for f in spec.features],
        spec.classes,
        spec.display_name,
    )
