"""numpy's own threads are off in every command, also where nobody thought of it."""

from __future__ import annotations

import os
import subprocess
import sys

PROBE = """
import os, sys
import service.cli
assert "numpy" not in sys.modules
service.cli.main.get_command(None, "serve")
assert "numpy" not in sys.modules
print(os.environ["OPENBLAS_NUM_THREADS"])
"""


def said(environment):
    kept = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    command = [sys.executable, "-c", PROBE]
    return subprocess.run(
        command, env={**kept, **environment}, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_they_are_off_before_numpy_is_there_unless_somebody_wants_them():
    assert said({}) == "1"
    assert said({"OPENBLAS_NUM_THREADS": "2"}) == "2"
