"""Imports point the way that the design draws them."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("service", "model_store", "clients")

ALLOWED = {
    "service.dll": set(),
    "service.drift": set(),
    "model_store": set(),
    "clients": set(),
    "service": {"service.dll", "service.drift", "model_store"},
    "service.api": {"service", "service.dll", "service.drift", "model_store"},
    "service.hosting": {"service", "service.api", "model_store", "clients"},
    "service.cli": {
        "service.hosting",
        "service",
        "service.api",
        "service.dll",
        "service.drift",
        "model_store",
        "clients",
    },
}


def modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(path: Path, *, typing: bool = True) -> set[str]:
    """Names of all modules that a file imports, those inside functions too."""
    names = set()
    skipped: set[ast.AST] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test) and not typing:
            skipped |= {inner for part in node.body for inner in ast.walk(part)}
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module is not None
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                names.add(whole if whole in MODULES else node.module)
    return names


def part(module: str) -> str:
    return max((p for p in ALLOWED if module == p or module.startswith(p + ".")), key=len)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_one_way(module):
    mine = part(module)
    for name in imports(MODULES[module]):
        if name.split(".")[0] in PACKAGES:
            assert part(name) == mine or part(name) in ALLOWED[mine], f"{module} imports {name}"


def test_no_file_imports_itself_through_others():
    graph = {
        module: {name for name in imports(path, typing=False) if name in MODULES} - {module}
        for module, path in MODULES.items()
    }
    # A package imports its own files to re-export them; they never import the package back.
    list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("package", ["model_store", "service/dll", "service/drift", "clients"])
def test_leaves_know_nothing_of_the_web(package):
    web = {"fastapi", "starlette", "uvicorn", "prometheus_client"}
    torch_free = package != "service/dll"
    for path in (ROOT / package).rglob("*.py"):
        roots = {name.split(".")[0] for name in imports(path)}
        assert not roots & web, path
        if torch_free:
            assert "torch" not in roots, path


def test_nothing_is_ever_unpickled():
    for module, path in MODULES.items():
        roots = {name.split(".")[0] for name in imports(path)}
        assert not roots & {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}, module
        assert "torch.load" not in path.read_text("utf-8"), module


def test_the_learning_core_does_no_io_and_reads_no_clock():
    forbidden = {"os", "io", "time", "datetime", "threading", "pathlib", "socket", "logging"}
    for path in (ROOT / "service/dll").glob("*.py"):
        assert not {name.split(".")[0] for name in imports(path)} & forbidden, path


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
