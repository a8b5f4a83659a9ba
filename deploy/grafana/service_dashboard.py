"""Dashboard *Service*: latency, errors, saturation, durability."""

from __future__ import annotations

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel
from panels import (
    GREEN,
    MODEL,
    PROCESS,
    RED,
    YELLOW,
    figure,
    graph,
    quantile,
    quantiles,
    rate,
)

TITLE = "Apical · Service"
UID = "apical-service"
DESCRIPTION = "Latency, errors, saturation and durability of learner and replicas."

ASKED = f'{MODEL},route=~".+/(batches|labels|infer)|/v1/ingest/.+"'
"""Requests that lines wait for; the same as in the recording rules."""

RECORDED = 'model=~"$model"'


def rows() -> list[tuple[str, list[Builder[Panel]]]]:
    """Titles of the rows and the panels in each."""
    return [
        ("Objectives", objectives()),
        ("Latency and errors", requests()),
        ("Saturation", saturation()),
        ("Durability", durability()),
        ("Replicas", replicas()),
    ]


def objectives() -> list[Builder[Panel]]:
    return [
        figure(
            "Ready",
            "Processes that say they are ready, of those that are scraped.",
            "none",
            (f"sum(apical_ready{{{PROCESS}}})", "ready"),
            (f"count(apical_build_info{{{PROCESS}}})", "scraped"),
            decimals=0,
        ),
        figure(
            "Bad requests, 1 h",
            "Requests of lines that ended with 5xx or 429. The objective: at most 0.1 percent.",
            "percentunit",
            (f"max(job_model:apical_requests_bad:ratio_rate1h{{{RECORDED}}})", "bad"),
            steps=[(0.001, YELLOW), (0.006, RED)],
            decimals=2,
        ),
        figure(
            "Slow requests, 1 h",
            "Requests of lines that took more than 100 ms. The objective: at most 1 percent.",
            "percentunit",
            (f"max(job_model:apical_requests_slow:ratio_rate1h{{{RECORDED}}})", "slow"),
            steps=[(0.01, YELLOW), (0.06, RED)],
            decimals=2,
        ),
        figure(
            "Requests per second",
            "Of lines: batches, labels and inference.",
            "reqps",
            (rate("apical_requests_total", ASKED), "requests"),
        ),
        figure(
            "p99 latency",
            "From a request's arrival to its reply, over requests of lines.",
            "s",
            (quantile(0.99, "apical_request_seconds", ASKED), "p99"),
            steps=[(0.1, YELLOW), (0.5, RED)],
        ),
        figure(
            "Least free disk",
            "Of the disks that hold log and store. At 0 labelled requests are answered 503.",
            "percentunit",
            (f"min(apical_disk_free_ratio{{{PROCESS}}})", "free"),
            steps=[(0.1, YELLOW), (0.2, GREEN)],
            base=RED,
        ),
    ]


def requests() -> list[Builder[Panel]]:
    return [
        graph(
            "Latency of lines' requests",
            "Labelled requests wait for one durable commit; others do not wait for learning.",
            "s",
            *quantiles("apical_request_seconds", ASKED),
            steps=[(0.1, YELLOW)],
        ),
        graph(
            "p99 latency by route",
            "All routes that were asked.",
            "s",
            (quantile(0.99, "apical_request_seconds", PROCESS, by="route"), "{{route}}"),
            steps=[(0.1, YELLOW)],
        ),
        graph(
            "Requests per second by code",
            "429: the queue is full. 503: the log cannot be written, or the process is starting.",
            "reqps",
            (rate("apical_requests_total", PROCESS, by="code"), "{{code}}"),
        ),
        graph(
            "Requests per second by route",
            "All routes that were asked.",
            "reqps",
            (rate("apical_requests_total", PROCESS, by="route"), "{{route}}"),
        ),
        graph(
            "Where the time goes",
            "Mean time of lines' requests by stage: decode, queue, compute, commit, encode. Only "
            "labelled requests wait in the queue and for a commit.",
            "s",
            (
                f"{rate('apical_stage_seconds_sum', MODEL, by='stage')} "
                f"/ {rate('apical_stage_seconds_count', MODEL, by='stage')}",
                "{{stage}}",
            ),
        ),
        graph(
            "Requests refused per second by reason",
            "no_key, unknown_key, revoked_key, role, model, line: by a key, or the want of one. "
            "Others: what was wrong with the request.",
            "reqps",
            # A reason's counter begins to exist with its first refusal.
            (
                f"{rate('apical_refusals_total', PROCESS, by='reason')} "
                f"or 0 * sum(apical_ready{{{PROCESS}}})",
                "{{reason}}",
            ),
        ),
        graph(
            "Bytes per second",
            "Of requests' and replies' bodies.",
            "Bps",
            (rate("apical_received_bytes_total", PROCESS), "in"),
            (rate("apical_sent_bytes_total", PROCESS), "out"),
        ),
        graph(
            "Error budget burn",
            "Bad requests as a multiple of what the objective (0.1 percent in 30 days) allows; "
            "14.4 over an hour pages, 1 spends exactly the budget.",
            "none",
            (
                f"max by (model) (job_model:apical_requests_bad:ratio_rate5m{{{RECORDED}}}) "
                "/ 0.001",
                "{{model}} 5 min",
            ),
            (
                f"max by (model) (job_model:apical_requests_bad:ratio_rate1h{{{RECORDED}}}) "
                "/ 0.001",
                "{{model}} 1 h",
            ),
            steps=[(1, YELLOW), (14.4, RED)],
        ),
        graph(
            "Latency budget burn",
            "Requests over 100 ms as a multiple of what the objective (1 percent in 30 days) "
            "allows.",
            "none",
            (
                f"max by (model) (job_model:apical_requests_slow:ratio_rate5m{{{RECORDED}}}) "
                "/ 0.01",
                "{{model}} 5 min",
            ),
            (
                f"max by (model) (job_model:apical_requests_slow:ratio_rate1h{{{RECORDED}}}) "
                "/ 0.01",
                "{{model}} 1 h",
            ),
            steps=[(1, YELLOW), (14.4, RED)],
        ),
    ]


def saturation() -> list[Builder[Panel]]:
    return [
        graph(
            "Events that wait for the writer",
            "At `queued_events` (1,024 by default) requests are answered 429.",
            "none",
            (f"apical_queue_depth{{{PROCESS}}}", "{{instance}}"),
            steps=[(512, YELLOW), (1024, RED)],
        ),
        graph(
            "Requests in flight",
            "Came, and are not answered yet; the scrape itself is one.",
            "none",
            (f"apical_requests_in_flight{{{PROCESS}}}", "{{instance}}"),
        ),
        graph(
            "Time in the queue",
            "How long an event waited for the writer thread.",
            "s",
            *quantiles("apical_queue_seconds", PROCESS),
            steps=[(0.1, YELLOW)],
        ),
        graph(
            "How busy the writer is",
            "Part of each second spent in learning steps and in commits. Together near 1: the "
            "learner is at its limit.",
            "percentunit",
            (rate("apical_update_seconds_sum", PROCESS, by="instance"), "{{instance}} learning"),
            (rate("apical_commit_seconds_sum", PROCESS, by="instance"), "{{instance}} commits"),
            steps=[(0.7, YELLOW), (0.9, RED)],
        ),
    ]


def durability() -> list[Builder[Panel]]:
    return [
        graph(
            "Duration of a commit",
            "One transaction and one fsync for a group of events. It bounds labelled latency.",
            "s",
            *quantiles("apical_commit_seconds", PROCESS),
            steps=[(0.1, YELLOW)],
        ),
        graph(
            "Commits per second and failures",
            "A failed commit discards the step and answers 503: nothing is acknowledged that is "
            "not durable.",
            "ops",
            (rate("apical_commit_seconds_count", PROCESS), "commits"),
            (rate("apical_commit_failures_total", PROCESS), "failures"),
        ),
        graph(
            "Last durable event",
            "Sequence number: of the learner's log, and of what each replica serves.",
            "none",
            (f"apical_durable_seq{{{MODEL}}}", "{{model}} on {{instance}}"),
            least=None,
        ),
        graph(
            "Size of the log",
            "What retention keeps, on the learner's disk.",
            "bytes",
            (f"apical_log_bytes{{{PROCESS}}}", "{{instance}}"),
        ),
        graph(
            "Free disk",
            "Free part of the disks that hold log and store.",
            "percentunit",
            (f"apical_disk_free_ratio{{{PROCESS}}}", "{{instance}} {{volume}}"),
            most=1,
        ),
        graph(
            "Snapshots",
            "Events since the newest one, and snapshots so far by outcome.",
            "none",
            (f"apical_snapshot_events_since{{{MODEL}}}", "{{model}} events since"),
            (
                f"sum by (model, outcome) (apical_snapshots_total{{{MODEL}}})",
                "{{model}} {{outcome}}",
            ),
        ),
        graph(
            "Operations on the store, p99",
            "On a directory or a bucket; publishing writes whole snapshots.",
            "s",
            (quantile(0.99, "apical_store_seconds", PROCESS, by="operation"), "{{operation}}"),
            steps=[(2.5, YELLOW)],
        ),
        graph(
            "Operations on the store that failed",
            "Per second: the disk or the bucket did not do what it was asked.",
            "ops",
            # An operation's counter begins to exist with its first failure.
            (
                f"{rate('apical_store_failures_total', PROCESS, by='operation')} "
                f"or 0 * sum(apical_ready{{{PROCESS}}})",
                "{{operation}}",
            ),
            steps=[(0.1, YELLOW)],
        ),
        graph(
            "Duration of a snapshot",
            "To export, check against onnxruntime and store one. The writer does not wait.",
            "s",
            *quantiles("apical_snapshot_seconds"),
            steps=[(2.5, YELLOW)],
        ),
    ]


def replicas() -> list[Builder[Panel]]:
    return [
        graph(
            "Snapshots refused",
            "A snapshot whose bytes, graph or golden rows are wrong is refused; the replica goes "
            "on serving what it has.",
            "none",
            (f"apical_replica_load_failures_total{{{MODEL}}}", "{{model}} on {{instance}}"),
            steps=[(1, RED)],
            stepped=True,
        ),
        graph(
            "Looks at the store that failed",
            "Per second. The replica goes on serving, and does not see a new champion meanwhile.",
            "ops",
            (rate("apical_replica_poll_failures_total", PROCESS, by="instance"), "{{instance}}"),
            steps=[(0.1, YELLOW)],
        ),
        graph(
            "Events behind the learner",
            "How many events the learner has learned since the snapshot that a replica serves.",
            "none",
            (f"job_model_instance:apical_replica_lag:events{{{MODEL}}}", "{{model}} {{instance}}"),
        ),
        graph(
            "Time to swap in a version",
            "Fetch, check, load, run the golden rows, swap. Requests are served meanwhile.",
            "s",
            *quantiles("apical_replica_swap_seconds"),
            steps=[(2.5, YELLOW)],
        ),
        graph(
            "Generation of the champion alias",
            "As each replica last saw it; it only ever goes up.",
            "none",
            (f"apical_replica_alias_generation{{{MODEL}}}", "{{model}} on {{instance}}"),
            least=None,
            stepped=True,
        ),
    ]
