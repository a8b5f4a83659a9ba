"""wrk on a core of its own, and what it says."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.latency.servers import CLIENT_CORE

ANSWER_S = 120.0

SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local requests, at = {{}}, 0
init = function(arguments)
  for body in io.lines({bodies}) do
    requests[#requests + 1] = wrk.format(nil, nil, nil, body)
  end
end
request = function()
  at = at % #requests + 1
  return requests[at]
end
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
    url: str, bodies: Sequence[bytes], concurrency: int, seconds: int, folder: Path
) -> subprocess.Popen[str]:
    """wrk under way with these JSON bodies, over and over, once the first was answered. See
    `ended`."""
    first = urllib.request.Request(url, bodies[0], {"Content-Type": "application/json"})
    urllib.request.urlopen(first, timeout=ANSWER_S).read()
    lines = folder / f"{abs(hash(tuple(bodies))):x}.bodies"
    if not lines.exists():
        lines.write_bytes(b"\n".join(bodies))
    script = lines.with_suffix(".lua")
    script.write_text(SCRIPT.format(bodies=json.dumps(str(lines))))
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
