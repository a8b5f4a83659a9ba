"""Tables of a page, made from published figures, between the markers of their names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks/results"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown, all columns but the first to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def filled(text: str, tables: Mapping[str, str]) -> str:
    """The page with every table anew. Raises ValueError where a marker is missing."""
    for name, made in tables.items():
        if f"<!-- {name} -->" not in text:
            raise ValueError(f"expected a marker <!-- {name} -->, found none")
        pattern = rf"(<!-- {name} -->\n)(?:.*?)(<!-- end -->)"
        text = re.sub(pattern, lambda m, t=made: m[1] + t + m[2], text, flags=re.DOTALL)  # type: ignore[misc]
    return text
