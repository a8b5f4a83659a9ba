"""Named places where a test may kill the process, to prove that a crash there costs nothing."""

from __future__ import annotations

import os
import signal

VARIABLE = "APICAL_FAILPOINT"

ASKED = VARIABLE in os.environ
"""Whether this process was started to die. Every commit passes here three times."""


def reach(name: str) -> None:
    """Die by SIGKILL here if the environment asks for it.

    ``APICAL_FAILPOINT=name`` kills at the first time the place is reached, ``name:3`` at the
    third. The count lives in the environment of this process, so nothing else has to hold it.
    ``APICAL_FAILPOINT=@/path/file`` waits until that file exists and then does as its content
    says, so that a process can be armed while it runs; the file must appear whole, by a rename.
    """
    if not ASKED:
        return
    asked = os.environ[VARIABLE]
    if asked.startswith("@"):
        try:
            with open(asked[1:], encoding="utf-8") as file:
                asked = file.read().strip()
        except FileNotFoundError:
            return
        os.environ[VARIABLE] = asked
    place, _, nth = asked.partition(":")
    if place != name:
        return
    left = int(nth or 1) - 1
    if left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
    os.environ[VARIABLE] = f"{place}:{left}"
