"""Every metric of a process, declared once. Prefix ``apical_``, base units, bounded labels."""

from __future__ import annotations

from service.metrics.registry import Registry

LATENCY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
FAST_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1)
DELAY_BUCKETS = (1, 10, 60, 600, 3600, 4 * 3600, 12 * 3600, 86400, 3 * 86400, 7 * 86400)


class Metrics(Registry):
    """The metrics of one process."""

    def __init__(self) -> None:
        super().__init__()
        self._requests()
        self._learning()
        self._durability()
        self._snapshots()
        self._gate_and_guard()
        self._network()
        self._drift()
        self._replica()
        self._process()

    def spent(self, model: str, stage: str, seconds: float) -> None:
        """Part of a line's request: decode, queue, compute, commit or encode."""
        self.child(self.stage_seconds, model, stage).observe(seconds)

    def stored(self, operation: str, seconds: float, failed: bool) -> None:
        """One operation on the store."""
        self.child(self.store_seconds, operation).observe(seconds)
        if failed:
            self.child(self.store_failures, operation).inc()

    def _requests(self) -> None:
        self.request_seconds = self._histogram(
            "apical_request_seconds",
            "Time from a request's arrival to its reply.",
            ["route", "model"],
            LATENCY_BUCKETS,
        )
        self.requests = self._counter(
            "apical_requests_total",
            "Requests by route, model and status code.",
            ["route", "model", "code"],
        )
        self.stage_seconds = self._summary(
            "apical_stage_seconds",
            "Time that lines' requests spent, by stage: decode (body to checked rows), queue (for "
            "the writer), compute (the network, learning, the answer as JSON), commit (made "
            "durable, with others), encode (the protocol's own form, and handing it to the "
            "socket).",
            ["model", "stage"],
        )
        self.in_flight = self._gauge(
            "apical_requests_in_flight", "Requests that came and are not answered yet."
        )
        self.received_bytes = self._counter(
            "apical_received_bytes_total",
            "Bytes of requests' bodies, packed as they came, by route and model.",
            ["route", "model"],
        )
        self.sent_bytes = self._counter(
            "apical_sent_bytes_total", "Bytes of replies' bodies.", ["route", "model"]
        )
        self.refusals = self._counter(
            "apical_refusals_total",
            "Requests refused, by reason: no_key, unknown_key, revoked_key, role, model or line of "
            "a key; else the problem's type, such as invalid-request or overloaded.",
            ["reason"],
        )
        self.rows = self._counter(
            "apical_rows_total",
            "Rows by outcome: predicted, learned or frozen.",
            ["model", "outcome"],
        )
        self.readings = self._counter(
            "apical_readings_total",
            "Readings that were replaced: missing or out_of_range; features beyond "
            "metrics_max_features are one, named other.",
            ["model", "kind", "feature"],
        )
        self.silent_rows = self._gauge(
            "apical_sensor_silent_rows",
            "Rows since the last good reading of a sensor that is always missing or out of its "
            "range; 0 once it speaks again.",
            ["model", "feature"],
        )
        self.queue_depth = self._gauge("apical_queue_depth", "Events that wait for the writer.")
        self.queue_seconds = self._histogram(
            "apical_queue_seconds", "Time that an event waited for the writer.", [], FAST_BUCKETS
        )

    def _learning(self) -> None:
        self.updates = self._counter(
            "apical_updates_total",
            "Label submissions by outcome: applied, late, duplicate, refused, frozen, "
            "quarantined or not_finite.",
            ["model", "outcome"],
        )
        self.update_seconds = self._histogram(
            "apical_update_seconds", "Time of one learning step.", ["model"], FAST_BUCKETS
        )
        self.label_delay_seconds = self._histogram(
            "apical_label_delay_seconds",
            "Time from the receipt of a batch to that of its late labels.",
            ["model"],
            DELAY_BUCKETS,
        )
        self.unlabelled_batches = self._gauge(
            "apical_unlabelled_batches",
            "Batches with a batch_id, of the latest 20,000, that no label has reached yet.",
            ["model"],
        )
        self.oldest_unlabelled = self._gauge(
            "apical_oldest_unlabelled_seconds",
            "How long the oldest of them waits; 0 where none does.",
            ["model"],
        )
        self.score = self._gauge(
            "apical_prequential_score",
            "Prequential score: accuracy, macro_f1, log_loss or calibration_error, and beside them "
            "last_label_accuracy, majority_accuracy and kappa_temporal; overall or over the "
            "window.",
            ["model", "score", "span"],
        )
        self.class_f1 = self._gauge(
            "apical_prequential_f1",
            "Prequential F1 of one class, overall or over the window.",
            ["model", "class", "span"],
        )
        self.frozen = self._gauge(
            "apical_frozen", "1 while labels are scored but not learned.", ["model"]
        )
        self.step_size = self._gauge("apical_step_size", "Step size in force.", ["model"])

    def _durability(self) -> None:
        self.commit_seconds = self._histogram(
            "apical_commit_seconds",
            "Time of one durable commit of a group of events.",
            [],
            FAST_BUCKETS,
        )
        self.commit_failures = self._counter(
            "apical_commit_failures_total", "Commits that the log could not make durable."
        )
        self.durable_seq = self._gauge(
            "apical_durable_seq",
            "Sequence number of the last durable event (learner) or of what is served (replica).",
            ["model"],
        )
        self.store_seconds = self._histogram(
            "apical_store_seconds",
            "Time of one operation on the store, also of one that failed.",
            ["operation"],
            LATENCY_BUCKETS,
        )
        self.store_failures = self._counter(
            "apical_store_failures_total",
            "Operations that the disk or the bucket failed.",
            ["operation"],
        )
        self.log_bytes = self._gauge("apical_log_bytes", "Size of the event log on its disk.")
        self.disk_free_ratio = self._gauge(
            "apical_disk_free_ratio", "Free part of the disk that holds log or store.", ["volume"]
        )

    def _snapshots(self) -> None:
        self.snapshots = self._counter(
            "apical_snapshots_total",
            "Snapshots by outcome: published or failed.",
            ["model", "outcome"],
        )
        self.snapshot_seconds = self._histogram(
            "apical_snapshot_seconds",
            "Time to export, check and store one snapshot.",
            ["model"],
            LATENCY_BUCKETS,
        )
        self.snapshot_version = self._gauge(
            "apical_snapshot_version", "Version of the newest snapshot.", ["model"]
        )
        self.snapshot_age = self._gauge(
            "apical_snapshot_age_seconds",
            "Seconds since the newest snapshot was taken.",
            ["model"],
        )
        self.snapshot_events = self._gauge(
            "apical_snapshot_events_since", "Events since the newest snapshot.", ["model"]
        )
        self.champion_version = self._gauge(
            "apical_champion_version", "Version that the champion alias names.", ["model"]
        )
        self.verbs = self._counter(
            "apical_verbs_total",
            "Verbs that took effect, by a person (automatic=false) or a detector (true).",
            ["model", "verb", "automatic"],
        )
        self.verbs_blocked = self._gauge(
            "apical_verbs_blocked",
            "1 while a committed verb could not be carried out, and later ones wait for a restart.",
            ["model"],
        )

    def _gate_and_guard(self) -> None:
        self.gate_verdicts = self._counter(
            "apical_gate_verdicts_total",
            "Verdicts of the gate: promoted or rejected.",
            ["model", "verdict"],
        )
        self.gate_statistic = self._gauge(
            "apical_gate_statistic",
            "Statistic of the gate's last paired test; positive: the candidate was worse.",
            ["model"],
        )
        self.gate_p_value = self._gauge(
            "apical_gate_p_value", "p-value of the gate's last paired test.", ["model"]
        )
        self.probation_rows = self._gauge(
            "apical_gate_probation_rows",
            "Labelled rows that the candidate was scored on so far.",
            ["model"],
        )
        self.shadow_error = self._gauge(
            "apical_shadow_error_ratio",
            "Part of the last labelled rows that the learner, champion or candidate got wrong.",
            ["model", "who"],
        )
        self.guard_suspicious = self._gauge(
            "apical_guard_suspicious", "1 while the guard suspects the labels.", ["model"]
        )
        self.guard_signals = self._counter(
            "apical_guard_signals_total",
            "Signals of the guard: guard, line, concept_changed, or grouped with one that is open.",
            ["model", "kind"],
        )
        self.alarms_open = self._gauge(
            "apical_alarms_open",
            "Alarms that nobody has acknowledged: guard, line, concept_changed or drift.",
            ["model", "kind"],
        )

    def _network(self) -> None:
        names = ["model", "member", "layer"]
        self.feedback_alignment = self._gauge(
            "apical_feedback_alignment",
            "cos(W, Θ) per layer: how far the feedback weights point where the forward ones do.",
            names,
        )
        self.weight_norm = self._gauge(
            "apical_weight_norm", "Euclidean norm of a layer's forward weights.", names
        )
        self.local_error = self._gauge(
            "apical_local_error_norm",
            "Root mean square of a layer's local error at the last learned batch.",
            names,
        )
        self.update_ratio = self._gauge(
            "apical_update_ratio",
            "Norm of a layer's last weight update, relative to the norm of its weights.",
            names,
        )
        self.gain_trace = self._gauge(
            "apical_gain_trace",
            "Trace of a layer's second moment P: how far its gain is open.",
            names,
        )
        self.mixture_weight = self._gauge(
            "apical_mixture_weight", "How much a member counts in the mixture.", ["model", "member"]
        )
        self.member_rows = self._counter(
            "apical_member_rows",
            "Labelled rows by whether a member by itself predicted them.",
            ["model", "member", "right"],
        )

    def _drift(self) -> None:
        names = ["model", "question", "kind", "series", "feature"]
        self.drift_statistic = self._gauge(
            "apical_drift_statistic", "Statistic of a drift detector.", names
        )
        self.drift_threshold = self._gauge(
            "apical_drift_threshold", "Threshold that its statistic is compared with.", names
        )
        self.drift_raised = self._gauge(
            "apical_drift_raised", "1 while the detector's alarm is raised.", names
        )
        self.drift_alarms = self._counter(
            "apical_drift_alarms_total",
            "Drift alarms by question (inputs, concept, predictions), kind and feature.",
            ["model", "question", "kind", "feature"],
        )
        self.drift_reference_rows = self._gauge(
            "apical_drift_reference_rows",
            "Rows in the reference that drift is measured against; 0 while it is collected.",
            ["model"],
        )
        self.drift_dropped = self._counter(
            "apical_drift_dropped_rows_total",
            "Rows that were not watched because the watcher lagged behind.",
            ["model"],
        )

    def _replica(self) -> None:
        self.untrained = self._gauge(
            "apical_champion_untrained",
            "1 while no champion has learned anything: what is served proves nothing yet.",
            ["model"],
        )
        self.replica_version = self._gauge(
            "apical_replica_version", "Version that the replica serves.", ["model"]
        )
        self.replica_generation = self._gauge(
            "apical_replica_alias_generation",
            "Generation of the champion alias as the replica last saw it.",
            ["model"],
        )
        self.replica_lag_seconds = self._gauge(
            "apical_replica_lag_seconds",
            "Age of the champion alias while the replica serves another version; else 0.",
            ["model"],
        )
        self.replica_load_failures = self._counter(
            "apical_replica_load_failures_total",
            "Snapshots that the replica refused to serve.",
            ["model"],
        )
        self.replica_poll_failures = self._counter(
            "apical_replica_poll_failures_total", "Looks at the store that failed."
        )
        self.replica_swap_seconds = self._histogram(
            "apical_replica_swap_seconds",
            "Time to fetch, check, load and swap in a new version.",
            ["model"],
            LATENCY_BUCKETS,
        )

    def _process(self) -> None:
        self.ready = self._gauge("apical_ready", "1 while the process is ready to serve.")
        self.build = self._gauge(
            "apical_build_info", "Version and role of the process; always 1.", ["version", "role"]
        )
        self.model_info = self._gauge(
            "apical_model_info",
            "What people call a model, its name where they call it nothing else; always 1.",
            ["model", "display_name"],
        )
