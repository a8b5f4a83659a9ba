"""What happens to a server that is sent whatever can be made up?

    python -m benchmarks.fuzz --json out.json [--cases 5000] [--mutations 100000]

`cases`: drawn by schemathesis from the server's own document, by each role and without a key: how
many, their `statuses`, `server_errors`, and `wrong`, answers that the document does not know.
`mutations`: changed requests of the inference protocol: `statuses`, `undocumented`, and
`events_beyond`, events that no 200 answered for. `large`: deep, long and chopped bodies.
`memory_mib`: resident before, after a warm-up of a thousand requests, the most that was seen after
every thousand and after each large one, and the peak while one was answered. Ends with status 1
where a figure is not as it must be.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks import output
from benchmarks.fuzz.cases import drawn
from benchmarks.fuzz.mutations import Sent, large, mutations
from benchmarks.scale import resident_mib
from clients import Client
from service.access import keys as keyfile
from service.access.keys import ROLES
from service.hosting.process import ServerProcess

MODEL = "press"
DOCUMENTED = {200, 400, 401, 403, 404, 409, 413, 415, 421, 429}
WARM = 1000
MOST_MIB = 64.0
SETTLED_S = 0.2
CONFIG = """
[server]
keys = "{folder}/keys.json"
[storage]
store = "{folder}/store"
log = "{folder}/log"
[limits]
requests_per_s = 100000
[drift]
reference_rows = 0  # alarms are events that no request made
[[models]]
name = "press"
classes = ["ok", "worn"]
hidden = [8]
promotion = "immediate"
guard = "off"
snapshot_every_s = 3600.0
[[models.features]]
name = "temp"
range = [-20, 150]
[[models.features]]
name = "flow"
range = [0, 10]
"""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--mutations", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    found: dict[str, Any] = {"machine": output.machine()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "apical.toml"
        config.write_text(CONFIG.format(folder=folder))
        path = folder / "keys.json"
        keys = {role: keyfile.add(path, role, role)[1] for role in ROLES}
        with ServerProcess(["serve", "--config", str(config)], folder / "log.txt") as server:
            server.wait_ready()
            found |= _mutated(server, keys["line"], asked.seed, asked.mutations)
            found["cases"] = drawn(server.url, {**keys, "none": ""}, asked.cases, MODEL)
            said = (folder / "log.txt").read_text()
            found["tracebacks"] = said.count("Traceback")
    output.write(found, asked.json)
    memory = found["memory_mib"]
    fine = (
        found["mutations"]["undocumented"] == found["large"]["undocumented"] == {}
        and found["mutations"]["events_beyond"] == 0
        and found["cases"]["server_errors"] == found["cases"]["wrong"] == found["tracebacks"] == 0
        and memory["most"] - memory["warm"] <= MOST_MIB
    )
    return 0 if fine else 1


def _mutated(server: ServerProcess, key: str, seed: int, count: int) -> dict[str, Any]:
    memory = {"before": resident_mib(server.process.pid)}
    asking = _Asking(server.url, key)
    asking.all(mutations(seed + 1, WARM))
    memory["warm"] = memory["most"] = resident_mib(server.process.pid)
    statuses = Counter[int]()
    requests = mutations(seed, count)
    while done := asking.all(_few(requests, 1000)):
        statuses += done
        memory["most"] = max(memory["most"], resident_mib(server.process.pid))
    big = Counter[int]()
    for sent in large():
        big += asking.all([sent])
        time.sleep(SETTLED_S)
        memory["most"] = max(memory["most"], resident_mib(server.process.pid))
    memory["peak"] = resident_mib(server.process.pid, "VmHWM")
    with Client(server.url, key=key) as client:
        asking.saw(client.model(MODEL).seq)
    return {
        "mutations": {**_summary(statuses), "events_beyond": asking.beyond},
        "large": _summary(big),
        "memory_mib": {name: round(value, 1) for name, value in memory.items()},
    }


def _few(requests: Iterable[Sent], most: int) -> Iterable[Sent]:
    return itertools.islice(requests, most)


def _summary(statuses: Counter[int]) -> dict[str, Any]:
    return {
        "requests": statuses.total(),
        "statuses": {str(code): n for code, n in sorted(statuses.items())},
        "undocumented": {str(c): n for c, n in sorted(statuses.items()) if c not in DOCUMENTED},
    }


class _Asking:
    """One connection, opened again where it was closed; ``beyond`` counts events that none of the
    requests answered by 200 can have made."""

    def __init__(self, url: str, key: str) -> None:
        self._netloc = urlsplit(url).netloc
        self._key = {"authorization": f"Bearer {key}"}
        self._connection = http.client.HTTPConnection(self._netloc, timeout=60)
        self._seq: int | None = None
        self.beyond = 0

    def all(self, requests: Iterable[Sent]) -> Counter[int]:
        """Statuses of all; 0 where there was no answer."""
        statuses = Counter[int]()
        for sent in requests:
            statuses[self._one(sent)] += 1
        return statuses

    def _one(self, sent: Sent) -> int:
        pieces = len(sent.pieces) > 1
        body: Any = iter(sent.pieces) if pieces else sent.body
        try:
            self._connection.request(
                "POST",
                f"/v2/models/{MODEL}/infer",
                body,
                {**self._key, **sent.headers},
                encode_chunked=pieces,
            )
            response = self._connection.getresponse()
            content = response.read()
        except (http.client.HTTPException, OSError):
            # The server may close while a body is still sent; it has answered before.
            self._connection.close()
            return self._again(sent)
        if response.status == 200:
            size = response.headers.get("inference-header-content-length")
            head = json.loads(content if size is None else content[: int(size)])
            self.saw(head["parameters"]["seq"])
        return response.status

    def saw(self, seq: int) -> None:
        """A reply was made of the state after ``seq``: at most one event, which that of the reply
        before may have made, lies in between. A repeated request gets its old reply."""
        if self._seq is not None:
            self.beyond += max(0, seq - self._seq - 1)
        self._seq = max(seq, self._seq or 0)

    def _again(self, sent: Sent) -> int:
        """What a server says that closes before all is sent: read while sending."""
        import httpx

        try:
            said = httpx.post(
                f"http://{self._netloc}/v2/models/{MODEL}/infer",
                content=iter(sent.pieces),
                headers={**self._key, **sent.headers},
                timeout=60,
            )
        except httpx.TransportError:
            return 0
        return said.status_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
