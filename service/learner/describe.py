"""What a learner says of its models: documents for HTTP, gauges for Prometheus."""

from __future__ import annotations

from typing import Any

from model_store.errors import SnapshotDamaged, SnapshotMissing, StorageError
from model_store.snapshots.aliases import Alias
from model_store.snapshots.store import SnapshotStore
from service.evaluation.baselines import sentence
from service.learner.model import LiveModel
from service.manifest import CANDIDATE, CHAMPION
from service.publishing.champions import Champions
from service.state.configuration import to_json

OUTLINE = (
    "model",
    "version",
    "parent",
    "seq",
    "updates",
    "created_at",
    "cause",
    "actor",
    "reason",
    "frozen",
)


SCORES = ("accuracy", "macro_f1", "log_loss")


def model(
    live: LiveModel, champions: Champions, blocked: str | None, status: str
) -> dict[str, Any]:
    """What `GET /v1/models/{model}` says; asks the store nothing, which may hang.

    ``blocked`` is why no verb can be carried out, ``status`` how far it has got.
    """
    state = live.published
    learning = to_json(state.configuration)
    # Ranges and values stand with their sensors, the current step size beside the state.
    for key in ("ranges", "values", "step_size"):
        learning.pop(key, None)
    aliases = {name: champions.known(live.name, name) for name in (CHAMPION, CANDIDATE)}
    champion = aliases[CHAMPION]
    candidate = aliases[CANDIDATE]
    if champion is not None and candidate is not None and candidate.version == champion.version:
        # After a rollback both stand on what it made: nobody is on probation.
        aliases[CANDIDATE] = None
    return {
        "model": live.name,
        "role": "learner",
        "status": status,
        **live.schema.to_json(),
        "seq": state.seq,
        "updates": state.steps,
        "frozen": state.frozen,
        "quarantined": list(state.quarantined),
        "step_size": state.step_size,
        "snapshot": live.snapshot,
        **{name: found.version if found else None for name, found in aliases.items()},
        "blocked": blocked,
        "pinned": champion.pinned if champion else False,
        "promotion": live.spec.promotion,
        "prequential": (summary := live.prequential.summary()),
        "warning": sentence(summary["window"]),
        "learning": learning,
    }


def alias(store: SnapshotStore, model: str, name: str) -> Alias | None:
    """Where an alias points; None where that cannot be read, so that a damaged file or a bucket
    out of reach does not take everything else that is to be seen with it."""
    try:
        return store.alias(model, name)
    except StorageError:
        return None


def outline(manifest: dict[str, Any]) -> dict[str, Any]:
    """What a list needs of a manifest."""
    score = manifest["prequential"]["window"]
    return {key: manifest[key] for key in OUTLINE} | {key: score[key] for key in SCORES}


def snapshots(store: SnapshotStore, name: str) -> list[dict[str, Any]]:
    """Outlines of all finished snapshots, oldest first, with who points at them."""
    pointing: dict[int, list[str]] = {}
    for which in (CHAMPION, CANDIDATE):
        found = alias(store, name, which)
        if found is not None:
            pointing.setdefault(found.version, []).append(which)
    kept = set(store.marked(name))
    listed = []
    for version in store.versions(name):
        try:
            outlined = outline(store.manifest(name, version))
        # Retention may have deleted it since the versions were listed.
        except SnapshotMissing:
            continue
        except SnapshotDamaged:
            # Listed all the same; `verify` says what is wrong with it.
            outlined = dict.fromkeys((*OUTLINE, *SCORES)) | {
                "model": name,
                "version": version,
                "seq": -1,
                "cause": "damaged",
            }
        listed.append({**outlined, "aliases": pointing.get(version, []), "keep": version in kept})
    return listed
