"""OPC UA to a learner: `python -m clients.bridges.opcua opcua.toml`.

Every ``period_s`` the nodes' values are read in one request and are a row. A value whose status is
bad is missing, whatever stands in it; the row's time is the latest source timestamp. What is read
lies in a spool until the learner has taken it. docs/bridges.md has a configuration.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.client.client import Client as UaClient
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.uaerrors import UaError
from pydantic import Field

from clients.answers import Answer
from clients.bridges.configured import Learner, Table, load
from clients.errors import ApicalClientError
from clients.spool import Delivered, Spool

log = logging.getLogger("apical.opcua")

RETRY_S = 5.0


class Server(Table):
    """Where the values are. The password is that in ``APICAL_OPCUA_PASSWORD``. ``timeout_s`` is how
    long one answer may take."""

    endpoint: str
    username: str | None = None
    period_s: float = Field(1.0, gt=0)
    timeout_s: float = Field(4.0, gt=0)


class Configuration(Table):
    """``nodes`` are sensors and their node ids, such as ``ns=2;s=Press3.Temp``; ``texts`` those of
    them that are categories; ``label`` is the node of a label, if there is one; ``prediction`` that
    into which predictions are written."""

    server: Server
    learner: Learner
    nodes: dict[str, str] = Field(min_length=1)
    texts: tuple[str, ...] = ()
    label: str | None = None
    prediction: str | None = None


class Bridge:
    """Runs until it is cancelled."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        about = configuration.learner
        self._predictions: asyncio.Queue[str] = asyncio.Queue(1000)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._spool = Spool(
            about.spool, about.url, about.model, line=about.line, on_answer=self._answered
        )

    async def run(self) -> None:
        """Read, and connect again where the server is away."""
        self._loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    await self._connected()
                # Of asyncua there are many kinds; each means that the server is not there.
                except (TimeoutError, OSError, UaError, ConnectionError) as error:
                    log.warning("no values: %r", error)
                await asyncio.sleep(RETRY_S)
        finally:
            await asyncio.to_thread(self._spool.close)

    async def _connected(self) -> None:
        server = self._configuration.server
        client = UaClient(server.endpoint, timeout=server.timeout_s)
        if server.username is not None:
            client.set_user(server.username)
            client.set_password(os.environ.get("APICAL_OPCUA_PASSWORD", ""))
        async with client:
            log.info("connected to %s", server.endpoint)
            names = list(self._configuration.nodes)
            nodes = [client.get_node(self._configuration.nodes[name]) for name in names]
            if self._configuration.label is not None:
                nodes.append(client.get_node(self._configuration.label))
            loop = asyncio.get_running_loop()
            due = loop.time()
            while True:
                values = await client.uaclient.read_attributes(
                    [node.nodeid for node in nodes], AttributeIds.Value
                )
                await asyncio.to_thread(self._keep, names, values)
                await self._write(client)
                due = max(due + server.period_s, loop.time())
                await asyncio.sleep(due - loop.time())

    def _keep(self, names: list[str], values: list[ua.DataValue]) -> None:
        texts = self._configuration.texts
        row = {
            name: text(value) if name in texts else number(value)
            for name, value in zip(names, values, strict=False)
        }
        labels = None
        if self._configuration.label is not None:
            said = text(values[-1])
            labels = None if said is None else [said]
        stamps = [v.SourceTimestamp for v in values if v.SourceTimestamp is not None]
        at = max(stamps).replace(tzinfo=UTC) if stamps else datetime.now(UTC)
        try:
            self._spool.put([row], labels, observed_at=at.isoformat())
        except ApicalClientError as error:
            log.error("row not kept: %s", error)

    def _answered(self, delivered: Delivered) -> None:
        """In the spool's thread."""
        answer, loop = delivered.answer, self._loop
        if self._configuration.prediction is None or not isinstance(answer, Answer):
            return
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._offer, answer.predictions[0])

    def _offer(self, prediction: str) -> None:
        if self._predictions.full():
            # Nobody wants a stale one.
            self._predictions.get_nowait()
        self._predictions.put_nowait(prediction)

    async def _write(self, client: UaClient) -> None:
        if self._configuration.prediction is None:
            return
        latest = None
        while not self._predictions.empty():
            latest = self._predictions.get_nowait()
        if latest is not None:
            node = client.get_node(self._configuration.prediction)
            await node.write_value(ua.DataValue(ua.Variant(latest, ua.VariantType.String)))


def good(value: ua.DataValue) -> bool:
    """Whether a value's status says that it may be used; uncertain may not."""
    status = value.StatusCode
    return status is None or bool(status.is_good())


def number(value: ua.DataValue) -> float | None:
    """A reading; None where its status is bad, or it is no finite number."""
    if not good(value) or value.Value is None:
        return None
    found: Any = value.Value.Value
    if not isinstance(found, int | float):
        return None
    return float(found) if math.isfinite(found) else None


def text(value: ua.DataValue) -> str | None:
    """A label or a category's value, which may stand there as a number; None where its status is
    bad, or it is empty."""
    found: Any = value.Value.Value if good(value) and value.Value is not None else None
    return None if found in (None, "") else str(found)


async def _until_told(bridge: Bridge) -> None:
    task = asyncio.ensure_future(bridge.run())
    for number_ in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number_, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        log.info("stopped")


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m clients.bridges.opcua CONFIGURATION.toml", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    log.setLevel(logging.INFO)
    try:
        bridge = Bridge(load(Path(arguments[0]), Configuration))
    except (OSError, ValueError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    asyncio.run(_until_told(bridge))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
