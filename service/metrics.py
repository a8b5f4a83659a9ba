"""Every metric of a process, declared once. Prefix ``apical_``, base units, bounded labels."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

LATENCY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
FAST_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1)
DELAY_BUCKETS = (1, 10, 60, 600, 3600, 4 * 3600, 12 * 3600, 86400, 3 * 86400, 7 * 86400)


class Metrics:
    """The metrics of one process in a registry of its own, so that two can live in one test."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.request_seconds = Histogram(
            "apical_request_seconds",
            "Time from a request's arrival to its reply.",
            ["route", "model"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.requests = Counter(
            "apical_requests_total",
            "Requests by route, model and status code.",
            ["route", "model", "code"],
            registry=registry,
        )
        self.rows = Counter(
            "apical_rows_total",
            "Rows by outcome: predicted, learned, frozen or refused.",
            ["model", "outcome"],
            registry=registry,
        )
        self.readings = Counter(
            "apical_readings_total",
            "Readings that were replaced: missing or out_of_range.",
            ["model", "kind"],
            registry=registry,
        )
        self.updates = Counter(
            "apical_updates_total",
            "Label submissions by outcome: applied, late, duplicate, refused or frozen.",
            ["model", "outcome"],
            registry=registry,
        )
        self.update_seconds = Histogram(
            "apical_update_seconds",
            "Time of one learning step.",
            ["model"],
            buckets=FAST_BUCKETS,
            registry=registry,
        )
        self.score = Gauge(
            "apical_prequential_score",
            "Prequential score: accuracy, macro_f1 or log_loss, overall or over the window.",
            ["model", "score", "span"],
            registry=registry,
        )
        self.class_f1 = Gauge(
            "apical_prequential_f1",
            "Prequential F1 of one class, overall or over the window.",
            ["model", "class", "span"],
            registry=registry,
        )
        self.queue_depth = Gauge(
            "apical_queue_depth", "Events that wait for the writer.", registry=registry
        )
        self.queue_seconds = Histogram(
            "apical_queue_seconds",
            "Time that an event waited for the writer.",
            buckets=FAST_BUCKETS,
            registry=registry,
        )
        self.commit_seconds = Histogram(
            "apical_commit_seconds",
            "Time of one durable commit of a group of events.",
            buckets=FAST_BUCKETS,
            registry=registry,
        )
        self.commit_failures = Counter(
            "apical_commit_failures_total",
            "Commits that the log could not make durable.",
            registry=registry,
        )
        self.durable_seq = Gauge(
            "apical_durable_seq",
            "Sequence number of the last durable event.",
            ["model"],
            registry=registry,
        )
        self.snapshots = Counter(
            "apical_snapshots_total",
            "Snapshots by outcome: published or failed.",
            ["model", "outcome"],
            registry=registry,
        )
        self.snapshot_seconds = Histogram(
            "apical_snapshot_seconds",
            "Time to export, check and store one snapshot.",
            ["model"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.snapshot_version = Gauge(
            "apical_snapshot_version",
            "Version of the newest snapshot.",
            ["model"],
            registry=registry,
        )
        self.snapshot_timestamp = Gauge(
            "apical_snapshot_timestamp_seconds",
            "Unix time of the newest snapshot.",
            ["model"],
            registry=registry,
        )
        self.snapshot_events = Gauge(
            "apical_snapshot_events_since",
            "Events since the newest snapshot.",
            ["model"],
            registry=registry,
        )
        self.frozen = Gauge(
            "apical_frozen",
            "1 while labels are scored but not learned.",
            ["model"],
            registry=registry,
        )
        self.step_size = Gauge(
            "apical_step_size", "Step size in force.", ["model"], registry=registry
        )
        self.feedback_alignment = Gauge(
            "apical_feedback_alignment",
            "cos(W, Θ) per layer: how far the feedback weights point where the forward ones do.",
            ["model", "layer"],
            registry=registry,
        )
        self.weight_norm = Gauge(
            "apical_weight_norm",
            "Euclidean norm of a layer's forward weights.",
            ["model", "layer"],
            registry=registry,
        )
        self.replica_version = Gauge(
            "apical_replica_version",
            "Version that the replica serves.",
            ["model"],
            registry=registry,
        )
        self.replica_generation = Gauge(
            "apical_replica_alias_generation",
            "Generation of the champion alias as the replica last saw it.",
            ["model"],
            registry=registry,
        )
        self.replica_lag_seconds = Gauge(
            "apical_replica_lag_seconds",
            "Age of the champion alias while the replica serves another version; else 0.",
            ["model"],
            registry=registry,
        )
        self.replica_load_failures = Counter(
            "apical_replica_load_failures_total",
            "Snapshots that the replica refused to serve.",
            ["model"],
            registry=registry,
        )
        self.replica_poll_failures = Counter(
            "apical_replica_poll_failures_total",
            "Looks at the store that failed.",
            registry=registry,
        )
        self.replica_swap_seconds = Histogram(
            "apical_replica_swap_seconds",
            "Time to fetch, check, load and swap in a new version.",
            ["model"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self.ready = Gauge(
            "apical_ready", "1 while the process is ready to serve.", registry=registry
        )
        self.build = Gauge(
            "apical_build_info",
            "Version and role of the process; always 1.",
            ["version", "role"],
            registry=registry,
        )

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)
