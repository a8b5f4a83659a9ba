"""Everything that watches, watching a real run: `make test-observability`.

One learner, a replica that follows it and one whose copy of the store is damaged, under traffic
with a shifted sensor and then with guessed labels; a real Prometheus scrapes them once a second.
Not collected by `make test`: needs Debian's packages prometheus and prometheus-alertmanager.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from clients import Client
from service.hosting.process import ServerProcess
from tests.deploy.expressions import (
    DASHBOARDS,
    alerts,
    annotation_expressions,
    dashboard,
    panel_expressions,
    rules,
)
from tests.observability.line import CONFIGURATION, MODEL, TRACE, Line
from tests.observability.monitoring import (
    Queries,
    Webhook,
    alertmanager,
    prometheus,
)

PAGES = {path.stem: dashboard(path) for path in DASHBOARDS}
PANELS = [(name, *each) for name, page in PAGES.items() for each in panel_expressions(page)]
NOTES = sorted({each for page in PAGES.values() for each in annotation_expressions(page)})

pytestmark = pytest.mark.timeout(600)


@dataclass
class Run:
    """What happened, and where it can be asked about. Times are Unix seconds."""

    queries: Queries
    webhook: Webhook
    learner: str
    replica: str
    damaged: str
    started: float
    ended: float = 0.0
    moments: dict[str, float] = field(default_factory=dict)


def substituted(expression: str) -> str:
    """As Grafana would ask with everything selected."""
    return (
        expression.replace("$__rate_interval", "15s")
        .replace("$model", ".*")
        .replace("$instance", ".*")
    )


def damaged_copy(store: Path, copy: Path) -> None:
    """The store as it would be after its disk turned a few bytes of every graph."""
    shutil.copytree(store, copy)
    for graph in copy.rglob("model.onnx"):
        data = bytearray(graph.read_bytes())
        data[len(data) // 2 : len(data) // 2 + 8] = b"\xff" * 8
        graph.write_bytes(data)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("watched")
    store = folder / "store"
    (folder / "apical.toml").write_text(
        CONFIGURATION.format(store=repr(str(store)), log=repr(str(folder / "log")))
    )

    def server(name: str, *words: str) -> ServerProcess:
        return stack.enter_context(ServerProcess(list(words), folder / f"{name}.log"))

    with ExitStack() as stack:
        learner = server("learner", "serve", "--config", str(folder / "apical.toml"))
        learner.wait_ready()
        damaged_copy(store, folder / "damaged")
        replica = server("replica", "replica", "--store", str(store), "--poll-s", "0.2")
        damaged = server("damaged", "replica", "--store", str(folder / "damaged"))
        replica.wait_ready()
        webhook = Webhook()
        stack.callback(webhook.close)
        manager = alertmanager(folder, webhook.url)
        stack.callback(manager.stop)
        targets = {
            "apical-learner": [learner.url],
            "apical-replica": [replica.url, damaged.url],
        }
        monitor = prometheus(folder, targets, manager.url)
        stack.callback(monitor.stop)
        queries = stack.enter_context(Queries(monitor.url))
        clients = [stack.enter_context(Client(url)) for url in (learner.url, replica.url)]
        line = Line(*clients)
        found = Run(queries, webhook, *(t.url for t in (learner, replica, damaged)), time.time())
        live_through(found, line, clients[0])
        found.ended = time.time()
        yield found


def live_through(run: Run, line: Line, learner: Client) -> None:
    """The story: it learns, a sensor shifts, the labels go bad, people put it right."""
    moments = run.moments

    def told(alert: str) -> bool:
        return bool(run.webhook.alerts(alert))

    def seconds(count: float):
        end = time.monotonic() + count
        return lambda: time.monotonic() > end

    def settled() -> bool:
        """A champion that was learned, and a replica that knows what the line is usually like."""
        return bool(
            run.queries.now('apical_gate_verdicts_total{verdict="promoted"} >= 2')
            and run.queries.now('apical_drift_statistic{job="apical-replica"}')
        )

    line.run(settled, limit_s=90)
    moments["settled"] = time.time()
    line.run(seconds(5))
    moments["shift"] = time.time()
    line.run(lambda: told("ApicalDrift"), shift=3.0)
    line.run(seconds(10))
    moments["guessing"] = time.time()
    line.run(lambda: told("ApicalGuardActed"), guessing=True)
    moments["guarded"] = time.time()
    line.run(seconds(3))
    learner.verb(MODEL, "thaw", reason="the inspector is back", actor="test")
    line.run(seconds(3))
    versions = learner.snapshots(MODEL)
    learner.rollback(MODEL, versions[-1].version, reason="to be seen", actor="test")
    line.run(seconds(15))


@pytest.mark.parametrize(
    ("page", "title", "expression"),
    PANELS,
    ids=[f"{p}-{t}-{i}" for i, (p, t, _) in enumerate(PANELS)],
)
def test_every_panel_shows_data(run: Run, page: str, title: str, expression: str) -> None:
    series = run.queries.between(substituted(expression), run.started, run.ended)
    values = [float(value) for one in series for _, value in one["values"]]
    assert any(math.isfinite(value) for value in values), expression


@pytest.mark.parametrize(("name", "expression"), NOTES, ids=[name for name, _ in NOTES])
def test_every_annotation_marks_something(run: Run, name: str, expression: str) -> None:
    assert run.queries.between(substituted(expression), run.started, run.ended), expression


@pytest.mark.parametrize("variable", ["model", "instance"])
def test_every_variable_has_values(run: Run, variable: str) -> None:
    for page in PAGES.values():
        (query,) = [v["query"] for v in page["templating"]["list"] if v["name"] == variable]
        metric, label = query.removeprefix("label_values(").rstrip(")").split(", ")
        assert {s["metric"][label] for s in run.queries.now(f"count by ({label}) ({metric})")}


@pytest.mark.parametrize("rule", rules("recording.yml"), ids=lambda rule: rule["record"])
def test_every_recording_rule_records(run: Run, rule: dict[str, str]) -> None:
    assert run.queries.now(rule["record"])


@pytest.mark.parametrize("name", ["apical_request_seconds_bucket", "apical_commit_seconds_bucket"])
def test_buckets_lead_to_the_trace(run: Run, name: str) -> None:
    assert run.queries.exemplars(name, run.started, run.ended) == {TRACE}


def test_the_drift_alert_reaches_the_webhook_and_names_the_sensor(run: Run) -> None:
    told = run.webhook.alerts("ApicalDrift")
    assert ("/ticket", MODEL) in {(path, labels["model"]) for path, labels in told}
    assert any(
        labels["question"] == "inputs" and labels.get("feature") == "temp_c" for _, labels in told
    )


def test_no_drift_alarm_is_raised_before_the_drift(run: Run) -> None:
    before = run.queries.between("apical_drift_alarms_total", run.started, run.moments["shift"])
    assert before == []


def test_learner_and_replica_both_see_the_drift(run: Run) -> None:
    seen = run.queries.now('sum by (job) (apical_drift_alarms_total{feature="temp_c"})')
    assert {series["metric"]["job"] for series in seen} == {"apical-learner", "apical-replica"}


def test_the_guard_s_alert_pages_and_the_guard_has_frozen_and_rolled_back(run: Run) -> None:
    assert "/page" in {path for path, _ in run.webhook.alerts("ApicalGuardActed")}
    for verb in ("freeze", "rollback"):
        assert run.queries.now(f'apical_verbs_total{{verb="{verb}",automatic="true"}} >= 1')


def test_the_guard_says_nothing_before_labels_are_guessed(run: Run) -> None:
    signals = 'apical_guard_signals_total{kind="guard"}'
    assert run.queries.between(signals, run.started, run.moments["guessing"]) == []


def test_a_replica_that_refuses_its_snapshot_pages_by_its_own_name(run: Run) -> None:
    told = run.webhook.alerts("ApicalReplicaRefuses")
    assert {labels["instance"] for _, labels in told} == {run.damaged.removeprefix("http://")}


def test_nothing_else_is_told(run: Run) -> None:
    # The damaged replica never becomes ready, and frozen, drifted and guarded we have made.
    expected = {
        *("ApicalDrift", "ApicalGuardActed", "ApicalReplicaRefuses", "ApicalNotReady"),
        *("ApicalFrozen", "ApicalConceptChanged"),
    }
    told = {alert["labels"]["alertname"] for _, alert in run.webhook.told}
    assert told <= alerts().keys()
    assert told <= expected
