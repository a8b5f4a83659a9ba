"""wrk on a core of its own, and what it says."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from pathlib import Path
from typing import NamedTuple

from benchmarks.latency.servers import CLIENT_CORE

DRAIN_S = 120.0

SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local file = io.open({body}, "rb")
wrk.body = file:read("*a")
file:close()
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{{"requests":%d,"us":%d,"failed":%d,"p50":%d,"p99":%d}}\\n',
    summary.requests, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


class Round(NamedTuple):
    """Requests a second; milliseconds."""

    rps: float
    p50_ms: float
    p99_ms: float


def start(
    url: str, body: bytes, concurrency: int, seconds: int, folder: Path
) -> subprocess.Popen[str]:
    """wrk under way, once one request was answered: what a round before this one had left to be
    learned is learned by then. See `ended`."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=DRAIN_S).read()
    stem = f"{abs(hash((url, body))):x}"
    (folder / f"{stem}.body").write_bytes(body)
    script = folder / f"{stem}.lua"
    script.write_text(SCRIPT.format(body=json.dumps(str(folder / f"{stem}.body"))))
    command = ["taskset", "-c", str(CLIENT_CORE), "wrk", "-t1", f"-c{concurrency}"]
    command += [f"-d{seconds}s", "--timeout", "10s", "-s", str(script), url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> Round:
    """What it measured; raises RuntimeError where a request failed."""
    said, _ = process.communicate()
    last = said.strip().splitlines()[-1:]
    found = json.loads(last[0]) if last and last[0].startswith("{") else {"failed": True}
    if found["failed"] or not found["requests"]:
        raise RuntimeError(f"{process.args}: {said}")
    return Round(found["requests"] / found["us"] * 1e6, found["p50"] / 1000, found["p99"] / 1000)
