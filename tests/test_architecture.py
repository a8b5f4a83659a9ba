"""Imports point the way that docs/architecture.md draws them."""

from __future__ import annotations

import pytest

from tests.architecture import (
    LONGEST,
    MODULES,
    PACKAGES,
    ROOT,
    circle,
    imports,
    inner,
    lines,
    room,
    rooms,
)

STORE = {"errors", "durable", "sealed", "failpoints", "backends", "log", "snapshots", "backup"}
STORED = {f"model_store.{name}" for name in STORE}
GROUND = {
    f"service.{name}" for name in ("rows", "errors", "metrics", "answers", "config", "schema")
}
PURE = {f"service.{name}" for name in ("state", "dll", "drift", "evaluation")}
BELOW_LEARNER = {
    *GROUND,
    *(PURE - {"service.dll"}),
    *STORED,
    *(f"service.{n}" for n in ("manifest", "kernels", "graph", "watcher")),
    *(f"service.{n}" for n in ("history", "publishing", "rebase")),
}


def named(*names: str) -> set[str]:
    return {f"service.{name}" for name in names}


ALLOWED = {
    "model_store.errors": set(),
    "model_store.durable": set(),
    "model_store.failpoints": set(),
    "model_store.sealed": {"model_store.errors"},
    "model_store.backends": {f"model_store.{n}" for n in ("errors", "durable", "sealed")},
    "model_store.log": {f"model_store.{n}" for n in ("errors", "durable", "sealed", "failpoints")},
    "model_store.snapshots": STORED - {"model_store.log", "model_store.backup"},
    "model_store.backup": STORED,
    "clients": set(),
    "service.rows": set(),
    "service.errors": set(),
    "service.metrics": set(),
    "service.answers": named("rows", "schema"),
    "service.tables": named("errors"),
    "service.access": named("errors") | {"model_store.durable"},
    "service.config": named("errors", "rows", "state"),
    "service.schema": named("errors", "rows"),
    "service.manifest": named("errors") | STORED,
    "service.state": named("rows"),
    "service.dll": named("rows", "state"),
    "service.kernels": named("rows", "errors", "state", "dll", "graph"),
    "service.drift": named("rows"),
    "service.evaluation": named("rows"),
    "service.graph": named("rows", "schema", "state"),
    "service.watcher": named("drift", "metrics", "rows"),
    "service.history": named("state", "kernels", "rows", "answers", "errors") | STORED,
    "service.publishing": STORED
    | GROUND
    | named("history", "graph", "state", "kernels", "manifest"),
    "service.rebase": STORED
    | named("history", "publishing", "manifest", "state", "kernels", "rows", "errors"),
    "service.learner": BELOW_LEARNER,
    "service.replica": GROUND | STORED | named("graph", "watcher", "manifest"),
    "service.operations": BELOW_LEARNER | named("learner"),
    "service.bootstrap": BELOW_LEARNER | named("learner", "replica"),
    "service.api": BELOW_LEARNER | named("access", "learner", "operations"),
    "service.hosting": STORED | GROUND | named("access", "api", "bootstrap") | {"clients"},
    "service.cli": BELOW_LEARNER
    | named("access", "api", "bootstrap", "hosting", "operations", "tables")
    | {"clients"},
}
"""One row a room: what it may import of the product. Imports for types count."""


@pytest.mark.parametrize("name", sorted(rooms()))
def test_a_room_imports_what_its_row_allows(name):
    assert rooms()[name] <= ALLOWED[name]


def test_every_row_is_a_room():
    assert ALLOWED.keys() == rooms().keys()


def test_neither_modules_nor_rooms_go_round_in_circles():
    assert circle({module: inner(module) for module in MODULES}) == []
    assert circle(rooms()) == []


def test_no_import_is_for_types_alone():
    """It would be one against the direction: what is allowed can be imported."""
    for module, path in MODULES.items():
        assert "TYPE_CHECKING" not in path.read_text("utf-8"), module


def test_no_file_has_outgrown_its_reason():
    assert {str(p.relative_to(ROOT)) for p in MODULES.values() if lines(p) > LONGEST} == set()
    assert len(list((ROOT / "service").glob("*.py"))) <= 10


def roots(prefix: str) -> dict[str, set[str]]:
    return {
        module: {name.split(".")[0] for name in imports(path)}
        for module, path in MODULES.items()
        if module == prefix or module.startswith(prefix + ".")
    }


@pytest.mark.parametrize("room", ["model_store", "clients", *sorted(PURE)])
def test_leaves_know_nothing_of_the_web(room):
    web = {"fastapi", "starlette", "uvicorn", "prometheus_client"}
    for module, names in roots(room).items():
        assert not names & web, module


def test_torch_is_a_kernels_own_affair():
    for module, names in roots("service").items():
        assert "torch" not in names or room(module) in ("service.dll", "service.kernels"), module


@pytest.mark.parametrize("room", sorted(PURE))
def test_what_is_pure_does_no_io_reads_no_clock_and_starts_no_thread(room):
    forbidden = {"os", "io", "time", "datetime", "threading", "pathlib", "socket", "logging"}
    for module, names in roots(room).items():
        assert not names & {*forbidden, "structlog", "asyncio", "subprocess", "queue"}, module


def test_nothing_is_ever_unpickled():
    for module, path in MODULES.items():
        names = {name.split(".")[0] for name in imports(path)}
        assert not names & {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}, module
        assert "torch.load" not in path.read_text("utf-8"), module


def test_a_module_stands_in_a_package_of_the_product():
    for module in MODULES:
        assert room(module).split(".")[0] in PACKAGES


def test_the_top_level_is_what_the_design_says():
    folders = {p.name for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith(".")}
    made = {"build", "apical.egg-info", "apical-data"}
    assert folders - made <= {
        "service",
        "model_store",
        "clients",
        "tests",
        "deploy",
        "benchmarks",
        "docs",
    }
