"""Dashboard *Learning*: the network from inside."""

from __future__ import annotations

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel
from panels import MODEL, RED, YELLOW, graph, quantiles, rate

TITLE = "Apical · Learning"
UID = "apical-learning"
DESCRIPTION = "Dendritic Localized Learning from inside: errors, updates and alignment per layer."

LAYER = "{{model}} {{member}} layer {{layer}}"


def rows() -> list[tuple[str, list[Builder[Panel]]]]:
    """Titles of the rows and the panels in each."""
    return [("Members", members()), ("Layers", layers()), ("Score", score()), ("Steps", steps())]


def members() -> list[Builder[Panel]]:
    hits = f'rate(apical_member_rows_total{{{MODEL},right="true"}}[$__rate_interval])'
    all_ = f"rate(apical_member_rows_total{{{MODEL}}}[$__rate_interval])"
    return [
        graph(
            "Weight in the mixture",
            "How much each member counts. One that falls to 0 does not help on this line, and is "
            "out; it goes on learning and can come back.",
            "none",
            (f"apical_mixture_weight{{{MODEL}}}", "{{model}} {{member}}"),
        ),
        graph(
            "Accuracy of each member by itself",
            "Of the labelled rows that came in the interval. The mixture should be above all of "
            "them, or level with the best.",
            "percentunit",
            (
                f"sum by (model, member) ({hits}) / sum by (model, member) ({all_})",
                "{{model}} {{member}}",
            ),
            most=1,
        ),
        graph(
            "Trace of the second moments",
            "tr P per layer: how far a gain is open. It is bounded; at the bound the gain takes "
            "what comes as news, far below it the network has settled.",
            "none",
            (f"apical_gain_trace{{{MODEL}}}", LAYER),
        ),
    ]


def layers() -> list[Builder[Panel]]:
    return [
        graph(
            "Alignment of feedback and forward weights",
            "cos(W, Θ) per layer. Local learning works while it is above 0; the closer to 1, the "
            "closer a layer's local error is to the gradient. Fixed feedback aligns by itself, "
            "slowly; learned feedback fast.",
            "none",
            (f"apical_feedback_alignment{{{MODEL}}}", LAYER),
            least=-1,
            most=1,
            span=12,
        ),
        graph(
            "Local error",
            "Root mean square of a layer's local error at the last learned batch. Near 0 in all "
            "layers: nothing left to learn. Near 0 in a lower layer only: nothing reaches it.",
            "none",
            (f"apical_local_error_norm{{{MODEL}}}", LAYER),
            span=12,
        ),
        graph(
            "Relative size of an update",
            "Norm of a layer's last update over the norm of its weights. Around 0.001 is usual; "
            "0.1 and more for long is a step size too large.",
            "none",
            (f"apical_update_ratio{{{MODEL}}}", LAYER),
            steps=[(0.1, YELLOW), (0.5, RED)],
            span=12,
        ),
        graph(
            "Norm of the weights",
            "Euclidean norm of a layer's forward weights. Growth without end asks for decay.",
            "none",
            (f"apical_weight_norm{{{MODEL}}}", LAYER),
            span=12,
        ),
    ]


def score() -> list[Builder[Panel]]:
    metric = "apical_prequential_score"
    return [
        graph(
            "Log-loss",
            "Prequential, over the window and since the beginning. It sees overconfidence, which "
            "accuracy does not. log(number of classes) is a guess.",
            "none",
            (f'{metric}{{{MODEL},score="log_loss"}}', "{{model}} {{span}}"),
        ),
        graph(
            "Accuracy",
            "Prequential, over the window and since the beginning.",
            "percentunit",
            (f'{metric}{{{MODEL},score="accuracy"}}', "{{model}} {{span}}"),
            most=1,
        ),
        graph(
            "Macro F1",
            "Prequential, over the window and since the beginning; every class counts the same.",
            "percentunit",
            (f'{metric}{{{MODEL},score="macro_f1"}}', "{{model}} {{span}}"),
            most=1,
        ),
        graph(
            "Calibration error",
            "How far what it says and how often it is right are apart, in the mean. At 0.03 and "
            "below a probability can be taken at its word.",
            "percentunit",
            (f'{metric}{{{MODEL},score="calibration_error"}}', "{{model}} {{span}}"),
        ),
    ]


def steps() -> list[Builder[Panel]]:
    return [
        graph(
            "Step size in force",
            "As configured, or raised for a while by a drift alarm.",
            "none",
            (f"apical_step_size{{{MODEL}}}", "{{model}}"),
            stepped=True,
        ),
        graph(
            "Learning steps per second",
            "Requests that taught, each a step for every labelled row unless configured otherwise.",
            "ops",
            (rate("apical_update_seconds_count", by="model"), "{{model}}"),
        ),
        graph(
            "Duration of a step",
            "Forward pass, local errors, update.",
            "s",
            *quantiles("apical_update_seconds"),
            steps=[(0.05, YELLOW)],
        ),
    ]
