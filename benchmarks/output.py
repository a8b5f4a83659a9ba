"""Where figures go, and where they come from."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any


def write(found: dict[str, Any], path: Path | None, *, hide: tuple[str, ...] = ()) -> None:
    """Print them as JSON, but for the keys that are too long to read; all of them to ``path``."""
    print(json.dumps({k: v for k, v in found.items() if k not in hide}, indent=1))
    if path is not None:
        path.write_text(json.dumps(found, indent=1))


def machine() -> dict[str, Any]:
    """What the round ran on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [k for k in cpuinfo.read_text().splitlines() if k.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return {"processor": model, "cores": os.cpu_count(), "system": platform.platform()}
