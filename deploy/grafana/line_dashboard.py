"""Dashboard *Line*: is it learning, has the line drifted, what is live?"""

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
    lanes,
    listing,
    quantiles,
    rate,
)

TITLE = "Apical · Line"
UID = "apical-line"
DESCRIPTION = "Is the network learning, has the line drifted, what is live?"


def rows() -> list[tuple[str, list[Builder[Panel]]]]:
    """Titles of the rows and the panels in each."""
    return [
        ("At a glance", glance()),
        ("Is it learning?", learning()),
        ("Has the line drifted?", drift()),
        ("What is live?", live()),
    ]


def glance() -> list[Builder[Panel]]:
    return [
        figure(
            "Accuracy",
            "Prequential accuracy over the score window: each label is scored by the prediction "
            "that was made before it was learned. Judge it against the line's own usual value.",
            "percentunit",
            (f'apical_prequential_score{{{MODEL},score="accuracy",span="window"}}', "{{model}}"),
            steps=[(0.6, YELLOW), (0.8, GREEN)],
            base=RED,
            decimals=1,
        ),
        figure(
            "Learning",
            "Whether labels are learned. While frozen they are logged and scored only; "
            "`apical snapshots thaw` goes on, a rebase can learn them later.",
            "none",
            (f"apical_frozen{{{MODEL}}}", "{{model}}"),
            words={0: ("learning", GREEN), 1: ("frozen", RED)},
            steps=[(1, RED)],
        ),
        figure(
            "Labels",
            "What the guard thinks of the labels. While it suspects them the gate's verdicts wait.",
            "none",
            (f"apical_guard_suspicious{{{MODEL}}}", "{{model}}"),
            words={0: ("trusted", GREEN), 1: ("suspect", YELLOW)},
            steps=[(1, YELLOW)],
        ),
        figure(
            "Open alarms",
            "What guard and drift noticed and nobody has acknowledged: `apical alarms`. What is "
            "noticed again meanwhile is counted into it.",
            "none",
            (f"sum by (model) (apical_alarms_open{{{MODEL}}})", "{{model}}"),
            steps=[(1, RED)],
            decimals=0,
        ),
        figure(
            "Champion",
            "Version of the snapshot that replicas serve.",
            "none",
            (f"max by (model) (apical_champion_version{{{MODEL}}})", "{{model}}"),
            decimals=0,
        ),
        figure(
            "Age of the newest snapshot",
            "What a crash costs in time to replay, and how old what replicas serve is at least.",
            "s",
            (f"apical_snapshot_age_seconds{{{MODEL}}}", "{{model}}"),
            steps=[(1800, YELLOW), (3600, RED)],
        ),
    ]


def learning() -> list[Builder[Panel]]:
    score = f'apical_prequential_score{{{MODEL},span="window"'
    return [
        graph(
            "Prequential score",
            "Accuracy and macro F1 over the score window, predictions made before learning, and "
            "beside them what repeating the last label and what the commonest class would have "
            "scored: below those, it does not pay. Marks show snapshots, verbs and alarms.",
            "percentunit",
            (f'{score},score="accuracy"}}', "{{model}} accuracy"),
            (f'{score},score="macro_f1"}}', "{{model}} macro F1"),
            (f'{score},score="last_label_accuracy"}}', "{{model}} last label repeated"),
            (f'{score},score="majority_accuracy"}}', "{{model}} commonest class"),
            steps=[(0.8, YELLOW)],
            most=1,
        ),
        graph(
            "Learner, champion and candidate on the same labels",
            "Part of the last labelled rows that each got wrong. The learner below the champion: "
            "learning pays. The champion jumps and the learner does not follow down: bad labels.",
            "percentunit",
            (f"apical_shadow_error_ratio{{{MODEL}}}", "{{model}} {{who}}"),
            steps=[(0.2, YELLOW), (0.5, RED)],
        ),
        graph(
            "F1 per class",
            "Over the score window. A class that nobody labels keeps no score.",
            "percentunit",
            (f'apical_prequential_f1{{{MODEL},span="window"}}', "{{model}} {{class}}"),
            steps=[(0.8, YELLOW)],
            most=1,
        ),
        graph(
            "Rows per second",
            "Rows that were predicted, and rows that taught.",
            "rowsps",
            (rate("apical_rows_total", by="model, outcome"), "{{model}} {{outcome}}"),
        ),
        graph(
            "Label submissions per second",
            "By outcome: applied and late taught; duplicate, refused and frozen did not.",
            "ops",
            (rate("apical_updates_total", by="model, outcome"), "{{model}} {{outcome}}"),
        ),
        graph(
            "Label delay",
            "From the receipt of a batch to that of its late labels. Detectors that need labels "
            "are as late as these.",
            "s",
            *quantiles("apical_label_delay_seconds"),
            steps=[(86400, YELLOW)],
        ),
    ]


def drift() -> list[Builder[Panel]]:
    names = "model, question, kind, feature"
    return [
        graph(
            "Statistic over threshold",
            "How near each detector is to its alarm, which is at 1; the ten nearest. Thresholds "
            "are calibrated on the line's own reference.",
            "none",
            (
                f"topk(10, max by ({names}) (apical_drift_statistic{{{MODEL}}} "
                f"/ (apical_drift_threshold{{{MODEL}}} > 0)))",
                "{{question}} {{kind}} {{feature}}",
            ),
            steps=[(0.7, YELLOW), (1, RED)],
            span=12,
        ),
        lanes(
            "Alarms raised",
            "One lane per question, kind and feature that a detector watches.",
            (
                f"max by ({names}) (apical_drift_raised{{{MODEL}}})",
                "{{question}} {{kind}} {{feature}}",
            ),
            words={0: ("well", GREEN), 1: ("drifted", RED)},
        ),
        graph(
            "Alarms so far",
            "Counted since the process began, by question, kind and feature.",
            "none",
            (
                f"sum by ({names}) (apical_drift_alarms_total{{{MODEL}}})",
                "{{question}} {{kind}} {{feature}}",
            ),
            steps=[(1, YELLOW)],
            stepped=True,
        ),
        graph(
            "Readings replaced per second",
            "Missing readings are imputed by the running mean; readings outside the declared "
            "range are treated as the configuration says. A sensor that fails shows here first.",
            "ops",
            (
                f"topk(10, {rate('apical_readings_total', by='model, kind, feature')})",
                "{{model}} {{kind}} {{feature}}",
            ),
            steps=[(1, YELLOW)],
        ),
        graph(
            "Labels that came",
            "Part of the predicted rows that was labelled, over an hour. Without labels it learns "
            "nothing.",
            "percentunit",
            (
                'max by (model) (job_model:apical_label_coverage:ratio_rate1h{model=~"$model"})',
                "{{model}}",
            ),
            most=1,
        ),
        graph(
            "Oldest batch without a label",
            "How long it waits, of those that can be labelled later. Labels that come after "
            "`idempotency_days` are refused.",
            "s",
            (f"max by (model) (apical_oldest_unlabelled_seconds{{{MODEL}}})", "{{model}}"),
        ),
        graph(
            "Reference and rows not watched",
            "Rows that drift is measured against (0 while they are collected), and rows per second "
            "that the watcher had to skip.",
            "none",
            (f"max by (model) (apical_drift_reference_rows{{{MODEL}}})", "{{model}} reference"),
            (
                # The counter begins to exist when a row is skipped.
                f"{rate('apical_drift_dropped_rows_total', by='model')} "
                f"or 0 * max by (model) (apical_drift_reference_rows{{{MODEL}}})",
                "{{model}} skipped per second",
            ),
        ),
    ]


def live() -> list[Builder[Panel]]:
    return [
        graph(
            "Versions",
            "The newest snapshot, the champion, and what each replica serves.",
            "none",
            (f"apical_snapshot_version{{{MODEL}}}", "{{model}} newest"),
            (f"apical_champion_version{{{MODEL}}}", "{{model}} champion"),
            (f"apical_replica_version{{{MODEL}}}", "{{model}} on {{instance}}"),
            least=None,
            stepped=True,
        ),
        graph(
            "How far a replica is behind",
            "Age of the champion alias while the replica serves another version; else 0.",
            "s",
            (f"apical_replica_lag_seconds{{{MODEL}}}", "{{model}} on {{instance}}"),
            steps=[(60, YELLOW), (300, RED)],
        ),
        graph(
            "Probation",
            "Labelled rows that the candidate was scored on so far; the gate's verdict comes at "
            "`probation_rows`.",
            "none",
            (f"apical_gate_probation_rows{{{MODEL}}}", "{{model}}"),
        ),
        graph(
            "The gate's last test",
            "p-value of candidate against champion on the same rows; a small one: it was worse.",
            "none",
            (f"apical_gate_p_value{{{MODEL}}}", "{{model}} p-value"),
            (f"apical_gate_statistic{{{MODEL}}}", "{{model}} statistic"),
            least=None,
        ),
        listing(
            "Verbs and verdicts",
            "Since the process began: rollbacks, freezes, promotions and rebases, by people and "
            "by detectors, and what the gate said. `apical snapshots audit` names whose hand.",
            "none",
            (f"sum by (model, verb, automatic) (apical_verbs_total{{{MODEL}}})", ""),
            (f"sum by (model, verdict) (apical_gate_verdicts_total{{{MODEL}}})", ""),
            (f"sum by (model, kind) (apical_guard_signals_total{{{MODEL}}})", ""),
            span=8,
        ),
        listing(
            "Processes",
            "Version and role of each process that is scraped.",
            "none",
            (f"sum by (instance, role, version) (apical_build_info{{{PROCESS}}})", ""),
            span=8,
        ),
    ]
