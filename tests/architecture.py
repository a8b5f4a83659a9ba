"""The modules as their imports draw them: ``python -m tests.architecture`` prints the drawing."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("service", "model_store", "clients")
LONGEST = 350
"""Lines that a file may have."""


def modules() -> dict[str, Path]:
    """Every module of the product by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(path: Path) -> set[str]:
    """Names of all modules that a file imports: those inside functions and for types too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module is not None
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                names.add(whole if whole in MODULES else node.module)
    return names


def inner(module: str) -> set[str]:
    """The product's own modules that a module imports."""
    return {name for name in imports(MODULES[module]) if name in MODULES} - {module}


def room(module: str) -> str:
    """A module's room: its folder, or itself where it stands flat in a package."""
    parts = module.split(".")
    if parts[0] == "clients" or len(parts) == 1:
        return parts[0]
    return ".".join(parts[:2])


def rooms() -> dict[str, set[str]]:
    """Which rooms each room imports."""
    drawn: dict[str, set[str]] = {}
    for module in MODULES:
        if module in PACKAGES:
            continue
        mine = drawn.setdefault(room(module), set())
        mine |= {room(name) for name in inner(module)} - {room(module)} - set(PACKAGES[:2])
    return drawn


def circle(graph: dict[str, set[str]]) -> list[str]:
    """One circle of a graph; empty where there is none."""
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def main() -> None:
    drawn = rooms()
    order = list(TopologicalSorter(drawn).static_order())[::-1] if not circle(drawn) else drawn
    for name in order:
        files = [path for module, path in MODULES.items() if room(module) == name]
        count = sum(lines(path) for path in files)
        print(f"{name:26} {len(files):3} files {count:5} lines  → {', '.join(sorted(drawn[name]))}")
    graph = {module: inner(module) for module in MODULES}
    long = [f"{path.relative_to(ROOT)}" for path in MODULES.values() if lines(path) > LONGEST]
    flat = sorted(path.name for path in (ROOT / "service").glob("*.py"))
    print(f"\nmodules {len(MODULES)}, circle of modules: {circle(graph) or 'none'}")
    print(f"rooms {len(drawn)}, circle of rooms: {circle(drawn) or 'none'}")
    print(f"files above {LONGEST} lines: {long or 'none'}")
    print(f"flat in service/ ({len(flat)}): {', '.join(flat)}")


if __name__ == "__main__":
    main()
