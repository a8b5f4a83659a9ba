"""A real Prometheus, a real Alertmanager and a webhook on loopback, from the files in `deploy/`."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from tests.deploy.expressions import DEPLOY
from tests.ports import free_port


class Webhook:
    """Keeps every alert that Alertmanager notifies it of, as (path, alert)."""

    def __init__(self) -> None:
        told: list[tuple[str, dict[str, Any]]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                told.extend((self.path, alert) for alert in body["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: object) -> None: ...

        self.told = told
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def alerts(self, name: str) -> list[tuple[str, dict[str, str]]]:
        """(path, labels) of the notifications of one alert."""
        return [(path, a["labels"]) for path, a in self.told if a["labels"]["alertname"] == name]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Daemon:
    """A child process that listens, ready when ``url`` answers."""

    def __init__(self, words: list[str], url: str, log: Path) -> None:
        self.url = url
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(words, stdout=output, stderr=output)
        deadline = time.monotonic() + 30
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{words[0]} does not answer: {log.read_text()[-2000:]}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready", trust_env=False).is_success
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait(30)


def alertmanager(folder: Path, webhook: str) -> Daemon:
    """With the deployed routes; each receiver notifies the webhook under its own name, at once."""
    plain = yaml.safe_load((DEPLOY / "alertmanager/alertmanager.yml").read_text("utf-8"))
    for receiver in plain["receivers"]:
        receiver["webhook_configs"] = [{"url": f"{webhook}/{receiver['name']}"}]
    plain["route"] |= {"group_wait": "0s", "group_interval": "1s"}
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(plain))
    port = free_port()
    return Daemon(
        [
            "prometheus-alertmanager",
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
            f"--storage.path={folder / 'alertmanager'}",
        ],
        f"http://127.0.0.1:{port}",
        folder / "alertmanager.log",
    )


def prometheus(folder: Path, targets: dict[str, list[str]], manager: str) -> Daemon:
    """With the deployed configuration and rules, but for what is scraped and how often.

    The rules are the deployed ones with every `for:` cut to a second, for a test has no quarter of
    an hour; what those durations are good for is tested by promtool's fixtures.
    """
    source = DEPLOY / "prometheus"
    plain = yaml.safe_load((source / "prometheus.yml").read_text("utf-8"))
    plain["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (found,) = plain["alerting"]["alertmanagers"][0]["static_configs"]
    found["targets"] = [manager.removeprefix("http://")]
    for job in plain["scrape_configs"]:
        job["static_configs"][0]["targets"] = [
            url.removeprefix("http://") for url in targets[job["job_name"]]
        ]
    for name in plain["rule_files"]:
        rules = yaml.safe_load((source / name).read_text("utf-8"))
        for group in rules["groups"]:
            for rule in group["rules"]:
                if "for" in rule:
                    rule["for"] = "1s"
        (folder / name).write_text(yaml.safe_dump(rules))
    (folder / "prometheus.yml").write_text(yaml.safe_dump(plain))
    port = free_port()
    return Daemon(
        [
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--web.listen-address=127.0.0.1:{port}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            "--enable-feature=exemplar-storage",
        ],
        f"http://127.0.0.1:{port}",
        folder / "prometheus.log",
    )


class Queries:
    """Prometheus' HTTP API, as far as it is asked here."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=30, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self._http.close()

    def now(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query; raises httpx.HTTPStatusError where it is malformed."""
        return self._ask("/api/v1/query", {"query": expression})

    def between(self, expression: str, start: float, end: float) -> list[dict[str, Any]]:
        """The series of a range query with a step of a second."""
        asked = {"query": expression, "start": start, "end": end, "step": 1}
        return self._ask("/api/v1/query_range", asked)

    def exemplars(self, expression: str, start: float, end: float) -> set[str]:
        """The traces that buckets of a selector lead to."""
        asked = {"query": expression, "start": start, "end": end}
        response = self._http.post("/api/v1/query_exemplars", data=asked)
        response.raise_for_status()
        found = response.json()["data"]
        return {each["labels"]["trace_id"] for series in found for each in series["exemplars"]}

    def _ask(self, path: str, values: dict[str, Any]) -> list[dict[str, Any]]:
        response = self._http.post(path, data=values)
        response.raise_for_status()
        found: list[dict[str, Any]] = response.json()["data"]["result"]
        return found
