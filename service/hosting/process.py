"""Learners and replicas as child processes, for the demo and the benchmarks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from clients import Client

READY_S = 120.0


class ServerProcess:
    """One `apical` server on a free loopback port.

    Parameters
    ----------
    arguments
        Of the `apical` command, such as ``["serve", "--config", "apical.toml"]``.
    log
        File that receives its standard error, appended to.
    environment
        Added to this process's own.

    Raises
    ------
    RuntimeError
        It ended before it listened; the message ends with its own last words.
    """

    def __init__(
        self,
        arguments: list[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        port: int = 0,
    ) -> None:
        self.log = log
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service.cli", *arguments, "--port", str(port)],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **(environment or {})},
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            self._ended()
            raise RuntimeError(
                f"apical {' '.join(arguments)} ended with status "
                f"{self.process.returncode}: {self.tail()}"
            )
        self.url = line.split()[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def tail(self) -> str:
        """The end of its standard error."""
        return self.log.read_text(errors="replace")[-2000:]

    def wait_ready(self, seconds: float = READY_S) -> None:
        """Raises RuntimeError when it ends instead, or takes longer than ``seconds``."""
        deadline = time.monotonic() + seconds
        with Client(self.url) as client:
            while not client.ready():
                if self.process.poll() is not None:
                    raise RuntimeError(
                        f"server ended with status {self.process.returncode}: {self.tail()}"
                    )
                if time.monotonic() > deadline:
                    raise RuntimeError(f"server not ready in {seconds:g} s: {self.tail()}")
                time.sleep(0.02)

    def stop(self) -> int:
        """SIGTERM, which drains and takes a last snapshot; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self._ended()

    def kill(self) -> int:
        """SIGKILL: nothing is drained."""
        if self.process.poll() is None:
            self.process.kill()
        return self._ended()

    def _ended(self) -> int:
        status = self.process.wait(60)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status
