"""Where figures go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write(found: dict[str, Any], path: Path | None, *, hide: tuple[str, ...] = ()) -> None:
    """Print them as JSON, but for the keys that are too long to read; all of them to ``path``."""
    print(json.dumps({k: v for k, v in found.items() if k not in hide}, indent=1))
    if path is not None:
        path.write_text(json.dumps(found, indent=1))
