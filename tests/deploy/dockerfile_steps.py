"""Runs the very steps of the Dockerfile without a container engine: `make test-dockerfile`.

Each target is built below an empty directory with `chroot` in a mount namespace of its own: the
machine's programs and libraries stand in for the base image (so its Python has to be the one that
the Dockerfile names), all else is empty. Needs root, Linux and a package index. What this cannot
show: that the base image has what the steps use, and how large the images get.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients import Client
from service.hosting.process import ServerProcess
from tests.deploy.dockerfile import Stage, chain, command, inherited, parse
from tests.deploy.expressions import DEPLOY, ROOT
from tests.ports import free_port

STAGES = parse(ROOT / "Dockerfile")
SHARED = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/dev", "/proc"]
PYTHON = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
STORE = "/var/lib/apical/store"
WHO = ["setpriv", "--reuid=10001", "--regid=10001", "--clear-groups"]

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="chroot and mount need root"),
    pytest.mark.timeout(1800),
]


class Image:
    """A directory that is filled as the Dockerfile says."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # The base image calls its Python `python`; here that is the one that runs this test.
        (root / "opt/base").mkdir(parents=True)
        (root / "opt/base/python").symlink_to(PYTHON)
        path = "/opt/base:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        self.environment = {"PATH": path, "HOME": "/root", "LANG": "C.UTF-8"}
        self.folder = "/"
        self.arguments: dict[str, str] = {}
        self.user: list[str] = []
        for name in ("var/lib", "tmp", "root", "src"):
            (root / name).mkdir(parents=True)
        (root / "tmp").chmod(0o1777)
        # Users are added here; how to resolve names and where packages come from is the machine's.
        shutil.copytree("/etc", root / "etc", symlinks=True, ignore_dangling_symlinks=True)

    def script(self, words: str, read_only: str | None = None) -> list[str]:
        """Runs ``words`` in a shell inside, where a directory may be mounted read-only; mounts end
        with the process."""
        shared = [p for p in SHARED if Path(p).exists()]
        # Where this machine keeps packages, if it keeps any.
        shared += [str(p) for p in Path("/opt").iterdir() if p.name != "apical"]
        if not any(PYTHON.is_relative_to(p) for p in shared):
            shared.append(str(PYTHON.parent.parent))
        lines = ["set -eu"]
        for path in shared:
            lines += [f"mkdir -p {self.root}{path}", f"mount --rbind {path} {self.root}{path}"]
        if read_only is not None:
            place = f"{self.root}{read_only}"
            lines += [f"mount --bind {place} {place}", f"mount -o remount,ro,bind {place}"]
        inner = shlex.join([*self.user, "sh", "-euc", f"cd {self.folder}; {words}"])
        lines.append(f"exec chroot {self.root} {inner}")
        return ["unshare", "--mount", "sh", "-c", "\n".join(lines)]

    def run(self, words: str) -> str:
        passed = {k: v for k, v in os.environ.items() if k.startswith("PIP_")}
        done = subprocess.run(
            self.script(words),
            env={**passed, **self.environment, **self.arguments},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def follow(self, stage: Stage, built: dict[str, Image]) -> None:
        for word, arguments in stage.steps:
            if word == "ARG":
                name, _, default = arguments.partition("=")
                self.arguments[name] = os.environ.get(name, default)
            elif word == "ENV":
                for pair in shlex.split(arguments):
                    name, _, value = pair.partition("=")
                    path = self.environment["PATH"]
                    self.environment[name] = value.replace("$PATH", path)
            elif word == "WORKDIR":
                self.folder = arguments
                (self.root / arguments[1:]).mkdir(parents=True, exist_ok=True)
            elif word == "COPY":
                self._copy(arguments, built)
            elif word == "USER":
                self.user = WHO
            elif word == "RUN":
                self.run(arguments)

    def _copy(self, arguments: str, built: dict[str, Image]) -> None:
        words = arguments.split()
        source = ROOT
        if words[0].startswith("--from="):
            source = built[words.pop(0).removeprefix("--from=")].root
        *paths, target = words
        into = self.root / (target if target.startswith("/") else f"{self.folder}/{target}")[1:]
        for path in paths:
            found = source / path.lstrip("/")
            if found.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
                shutil.copytree(found, into, symlinks=True, ignore=ignored, dirs_exist_ok=True)
            else:
                shutil.copy(found, into)


def build(target: str, folder: Path) -> Image:
    built: dict[str, Image] = {}
    final = Image(folder / target)
    for stage in chain(STAGES, target):
        for _, arguments in stage.steps:
            if source := re.match(r"--from=([\w-]+)", arguments):
                image = built[source[1]] = Image(folder / source[1])
                for earlier in chain(STAGES, source[1]):
                    image.follow(earlier, built)
        final.follow(stage, built)
    return final


@pytest.fixture(scope="module", params=["replica", "learner"])
def image(request, tmp_path_factory):
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"ARG PYTHON={version}\n" in (ROOT / "Dockerfile").read_text()
    folder = tmp_path_factory.mktemp("images")
    folder.parent.chmod(0o755)
    folder.chmod(0o755)
    yield request.param, build(request.param, folder)
    shutil.rmtree(folder)


def test_it_is_installed_for_a_user_who_may_not_write_it(image):
    _, built = image
    assert built.run("id -u").strip() == "10001"
    assert built.run("apical --version").startswith("apical")
    assert built.run("test ! -w /opt/apical && touch /var/lib/apical/store/x && echo fine")


def test_torch_is_where_it_belongs_and_nowhere_else(image):
    target, built = image
    found = built.run("python -c 'import importlib.util as u; print(u.find_spec(\"torch\"))'")
    assert (found.strip() == "None") == (target == "replica")
    size = sum(p.stat().st_size for p in (built.root / "opt/apical").rglob("*") if p.is_file())
    print(f"{target}: {size / 2**20:.0f} MiB in /opt/apical")


def test_its_entry_point_starts_and_its_health_check_passes(image):
    target, built = image
    (built.root / "etc/apical").mkdir()
    shutil.copy(DEPLOY / "apical.toml", built.root / "etc/apical/apical.toml")
    with running(built, target) as port:
        probe = shlex.join(command(inherited(STAGES, target, "HEALTHCHECK") or ""))
        probe = re.sub(r":808\d/", f":{port}/", probe)
        done = subprocess.run(built.script(probe), env=built.environment, capture_output=True)
        assert done.returncode == 0, done.stderr


def test_a_replica_serves_from_a_store_that_it_may_only_read(image, tmp_path):
    target, built = image
    if target != "replica":
        pytest.skip("a learner writes its store")
    places = f'[storage]\nstore = "{built.root}{STORE}"\nlog = "{tmp_path / "log"}"\n'
    text = (DEPLOY / "apical.toml").read_text("utf-8")
    (tmp_path / "apical.toml").write_text(re.sub(r"\[storage\]\n.*\n.*\n", places, text))
    arguments = ["serve", "--config", str(tmp_path / "apical.toml")]
    with ServerProcess(arguments, tmp_path / "learner.log") as learner:
        learner.wait_ready()
    with (
        running(built, target, read_only=STORE) as port,
        Client(f"http://127.0.0.1:{port}") as client,
    ):
        while not client.ready():
            time.sleep(0.1)
        answer = client.predict("press", [{"temp_c": 60.0, "vibration_mm_s": 3.0}])
    assert len(answer.predictions) == 1


@contextlib.contextmanager
def running(built: Image, target: str, read_only: str | None = None) -> Iterator[int]:
    """The entry point with its arguments, on loopback and a port that is free here; the port."""
    port = free_port()
    entry = command(STAGES[target].last("ENTRYPOINT") or "")
    arguments = command(STAGES[target].last("CMD") or "")
    words = shlex.join([*entry, *arguments, "--port", str(port)]).replace("0.0.0.0", "127.0.0.1")
    process = subprocess.Popen(
        built.script(f"exec {words}", read_only),
        env=built.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("listening on"), process.communicate()
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=60)
    # After it has drained, uvicorn ends by the signal that asked it to.
    assert process.returncode in (0, -signal.SIGTERM)
