"""Virtual environments of peers, made at first use, under .peers/ in the working directory."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(".peers")


class Needs(NamedTuple):
    """What pip installs: by what they ask for, then ``alone`` without what these ask for."""

    packages: tuple[str, ...]
    alone: tuple[str, ...] = ()


NEEDS = {
    # It asks for torch below 2.6, but runs on the torch that we run on; River from 0.26 on it
    # cannot use.
    "deep-river": Needs(
        (
            "torch==2.13.0",
            "river==0.25.0",
            "pandas<3",
            "scikit-learn",
            "scipy",
            "sortedcontainers",
            "torchviz",
            "tqdm",
            "pytest",
        ),
        ("deep-river==0.3.4",),
    ),
    "kserve": Needs(("kserve==0.21.0",)),
    "mlserver": Needs(
        ("mlserver==1.7.1", "fastapi==0.115.*", "uvloop==0.21.*", "onnxruntime", "numpy")
    ),
}


def python(peer: str, folder: Path = FOLDER) -> Path:
    """The interpreter of a peer's environment; makes it where it is not there or out of date."""
    needs = NEEDS[peer]
    at = folder.resolve() / peer
    mark = at / hashlib.sha256(repr(needs).encode()).hexdigest()[:16]
    found = at / "bin" / "python"
    if mark.exists():
        return found
    shutil.rmtree(at, ignore_errors=True)
    print(f"making an environment for {peer} in {at}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", str(at)], check=True)
    pip = [str(found), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *needs.packages], check=True)
    for package in needs.alone:
        subprocess.run([*pip, "--no-deps", package], check=True)
    mark.touch()
    return found
