"""A whole store checked byte by byte, naming everything that is wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from model_store.backends.backend import MANIFEST, Backend, is_name
from model_store.errors import (
    AboveLimit,
    Damaged,
    FormatUnknown,
    KeyMissing,
    SnapshotMissing,
)
from model_store.sealed import unseal
from model_store.snapshots import layout
from model_store.snapshots.store import SnapshotStore

_NUMBERED = re.compile(r"\d{8}\.json")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it was written."""

    path: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.path}: expected {self.expected}, found {self.found}"


def verify(store: SnapshotStore, model: str) -> list[Problem]:
    """Every byte of a model checked: snapshots, aliases, side objects, trail. What is wrong, each
    with its path."""
    backend, folder = store.backend, f"models/{model}"
    problems: list[Problem] = []
    heads: dict[int, str] = {}
    known = store.versions(model)
    for version in known:
        path = layout.snapshot(model, version)
        try:
            manifest = store.manifest(model, version)
        except Damaged as error:
            problems.append(_problem(error))
            continue
        except FormatUnknown as error:
            problems.append(Problem(f"{path}/{MANIFEST}", "a known format", str(error)))
            continue
        except SnapshotMissing as error:
            problems.append(Problem(path, "a finished snapshot", str(error)))
            continue
        if isinstance(head := manifest.get("audit_head"), str):
            heads[version] = head
        problems += _files(store, backend, model, version, path, manifest)
    problems += _aliases(store, backend, model, folder, set(known))
    problems += _side_objects(backend, folder)
    problems += [_problem(error) for error in store.audit(model).verify()]
    present = store.audit(model).heads()
    problems += [
        Problem(
            f"{folder}/audit",
            f"entry {head}, the last one when snapshot {version} was published",
            "no such entry: the trail was cut off or rewritten",
        )
        for version, head in heads.items()
        if head not in present
    ]
    return problems


def _files(
    store: SnapshotStore,
    backend: Backend,
    model: str,
    version: int,
    path: str,
    manifest: dict[str, Any],
) -> list[Problem]:
    problems = []
    for name in manifest["files"]:
        if not is_name(name):
            problems.append(Problem(f"{path}/{MANIFEST}", "names of files", repr(name)))
            continue
        try:
            store.read(model, version, name, manifest=manifest)
        except Damaged as error:
            problems.append(_problem(error))
        except AboveLimit as error:
            problems.append(Problem(f"{path}/{name}", "a file that can be read", str(error)))
    named = {f"{path}/{name}" for name in (*manifest["files"], MANIFEST)}
    problems += [
        Problem(key, "only files that the manifest names", "another one")
        for key in backend.list(path)
        if key not in named
    ]
    return problems


def _aliases(
    store: SnapshotStore, backend: Backend, model: str, folder: str, known: set[int]
) -> list[Problem]:
    problems = []
    for child in backend.children(f"{folder}/aliases"):
        key, name = f"{folder}/aliases/{child}", child.removesuffix(".json")
        if not is_name(name):
            problems.append(Problem(key, "an alias", "a file of another kind"))
            continue
        try:
            alias = store.alias(model, name)
        except Damaged as error:
            problems.append(_problem(error))
            continue
        except AboveLimit as error:
            problems.append(Problem(key, "a small file", str(error)))
            continue
        if alias is not None and alias.version not in known:
            problems.append(Problem(key, "a finished snapshot", f"version {alias.version}"))
    return problems


def _side_objects(backend: Backend, folder: str) -> list[Problem]:
    """Marks, tombstones and notes of quarantine. Quarantined snapshots are damaged anyway."""
    problems = []
    for kind in ("keep", "tombstones", "quarantine"):
        for child in backend.children(f"{folder}/{kind}"):
            key = f"{folder}/{kind}/{child}"
            if not child.endswith(".json"):
                continue
            try:
                value = unseal(backend.get(key), key)
            except Damaged as error:
                problems.append(_problem(error))
                continue
            except (AboveLimit, KeyMissing) as error:
                problems.append(Problem(key, "a small file", str(error)))
                continue
            if _NUMBERED.fullmatch(child) and value.get("version") != int(child[:8]):
                problems.append(
                    Problem(key, f"version {int(child[:8])}", f"version {value.get('version')}")
                )
    return problems


def _problem(error: Damaged) -> Problem:
    return Problem(error.path, error.expected, error.found)
