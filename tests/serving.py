"""A real uvicorn on a real loopback socket, in a thread of the test's own process."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from clients import Client
from service.api.app import create_app
from service.bootstrap.learner import open_learner
from service.config.file import parse
from service.config.process import Configuration
from service.hosting.protocol import BoundedProtocol
from service.learner.learner import Learner

PRESS = """
[storage]
store = {store}
log = {log}
{top}
[[models]]
name = "press"
classes = ["ok", "worn"]
hidden = [8, 6]
snapshot_every_s = 3600.0
{model}
[[models.features]]
name = "temp"
unit = "°C"
range = [-20, 150]
[[models.features]]
name = "flow"
range = [0, 10]
"""

IMMEDIATE = 'promotion = "immediate"\nguard = "off"\n'
"""Without gate and guard, for what is not about them."""


def press(folder: Path, *, top: str = "", model: str = "") -> Configuration:
    """A small model with two sensors and two classes, stored below ``folder``.

    Every snapshot is champion at once and there is no guard, unless ``model`` says otherwise.
    """
    for key, value in (("promotion", "immediate"), ("guard", "off")):
        if key not in model:
            model += f'\n{key} = "{value}"'
    written = PRESS
    if "snapshot_every_s" in model:
        written = written.replace("snapshot_every_s = 3600.0\n", "")
    return parse(
        written.format(
            store=repr(str(folder / "store")),
            log=repr(str(folder / "log")),
            top=top,
            model=model,
        )
    )


def two(folder: Path) -> Configuration:
    """Two models with the sensors and classes of `press`, ``a`` and ``b``."""
    models = "".join(
        f"""
[[models]]
name = "{name}"
classes = ["ok", "worn"]
hidden = {hidden}
promotion = "immediate"
guard = "off"
[[models.features]]
name = "temp"
range = [-20, 150]
[[models.features]]
name = "flow"
range = [0, 10]
out_of_range = "{policy}"
"""
        for name, hidden, policy in (("a", "[4]", "clip"), ("b", "[6, 3]", "reject"))
    )
    return parse(f"[storage]\nstore = '{folder}/store'\nlog = '{folder}/log'\n{models}")


@dataclass
class Running:
    """A server and the learner behind it."""

    url: str
    learner: Learner
    client: Client


@contextlib.contextmanager
def listening(app, root_path="") -> Iterator[str]:
    """Serve an application until the block ends; its address."""
    bound = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, log_level="warning", http=BoundedProtocol, loop="uvloop", root_path=root_path
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.002)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        bound.close()


@contextlib.contextmanager
def serving(
    configuration: Configuration, *, hosts=(), root_path="", keyring=None, key=None, **options
) -> Iterator[Running]:
    """A learner over HTTP, ready; stopped cleanly when the block ends. Its client has the key."""
    learner = open_learner(configuration, **options)
    errors: list[BaseException] = []
    with (
        listening(
            create_app(learner, errors.append, hosts=hosts, keyring=keyring), root_path
        ) as url,
        Client(url, key=key) as client,
    ):
        while not client.ready() and not errors:
            time.sleep(0.002)
        if errors:
            raise errors[0]
        yield Running(url, learner, client)


def row(index: int) -> dict[str, float]:
    """A reading and, by `label`, its class: worn where hot and slow."""
    return {"temp": 20.0 + 60.0 * (index * 37 % 100) / 100, "flow": 10.0 * (index * 61 % 100) / 100}


def label(index: int) -> str:
    r = row(index)
    return "worn" if r["temp"] - 20 > 6 * r["flow"] else "ok"
