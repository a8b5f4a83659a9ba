"""The tutorial, typed as it stands, and its Japanese twin with the same commands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.hosting.process import ServerProcess
from tests.ports import free_port

ROOT = Path(__file__).parent.parent


def blocks(name):
    text = (ROOT / name).read_text("utf-8")
    return re.findall(r"```console\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("page", ["docs/tutorial", "README"])
def test_both_languages_have_the_same_commands(page):
    def commands(name):
        return [re.sub(r" +#.*", "", block) for block in blocks(name)]

    assert commands(f"{page}.ja.md") == commands(f"{page}.md")


def test_the_files_are_as_they_are_made(tmp_path):
    shutil.copy(ROOT / "docs/tutorial/make.py", tmp_path)
    subprocess.run([sys.executable, str(tmp_path / "make.py")], check=True)
    for name in ("press.csv", "press-night.csv"):
        assert (tmp_path / name).read_bytes() == (ROOT / "docs/tutorial" / name).read_bytes()


def test_every_command_does_what_the_page_says(tmp_path):
    (tmp_path / "docs").mkdir()
    shutil.copytree(ROOT / "docs/tutorial", tmp_path / "docs/tutorial")
    port = free_port()
    shim = tmp_path / "bin"
    shim.mkdir()
    (shim / "apical").write_text(f'#!/bin/sh\nexec {sys.executable} -m service.cli "$@"\n')
    (shim / "apical").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{shim}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "APICAL_URL": f"http://127.0.0.1:{port}",
    }
    folder, said, server = tmp_path, [], None
    try:
        for block in blocks("docs/tutorial.md"):
            if block.strip() == "apical serve":
                config = folder / "apical.toml"
                text = config.read_text("utf-8")
                config.write_text(text.replace('"apical-data/', f'"{folder}/apical-data/'), "utf-8")
                arguments = ["serve", "--config", str(config)]
                server = ServerProcess(arguments, tmp_path / "stderr", port=port)
                server.wait_ready()
                continue
            script = f"set -euo pipefail\n{block.replace('127.0.0.1:8080', f'127.0.0.1:{port}')}"
            done = subprocess.run(
                ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, (block, done.stdout, done.stderr)
            said.append(done.stdout)
            folder = tmp_path / "poc"
    finally:
        if server is not None:
            server.stop()
    init, day, watched, night, events, unlearned = said
    assert "4 sensors, 2 classes" in init
    assert "is taken for an error code" in init
    assert "1440 labelled rows" in day
    accuracy, last = (
        float(re.search(rf"{n} +([\d.]+)", day)[1]) for n in ("accuracy", "last label")
    )
    assert accuracy > last
    assert 'apical_prequential_score{model="press",score="accuracy"' in watched
    assert "worse than repeating the last label" in night
    worst = next(line for line in events.splitlines() if "press-3" in line)
    assert worst.split()[:2] == ["2026-03-02", "18:00:00Z"]
    assert "excluded rows: 60" in unlearned
    assert "12 lessons (60 rows) unlearned" in unlearned
    assert "rebase" in unlearned.splitlines()[-2]
