"""The few kinds of panel that the dashboards are made of, and how queries select and count."""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    LineInterpolation,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    Panel,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")

PROCESS = 'instance=~"$instance"'
MODEL = f'model=~"$model",{PROCESS}'

GREEN, YELLOW, RED = "green", "orange", "red"

Query = tuple[str, str]
"""A PromQL expression and the legend of its series."""

Steps = Sequence[tuple[float, str]]
"""From each value upward, a colour; below the first one green."""


def graph(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    steps: Steps = (),
    span: int = 8,
    least: float | None = 0,
    most: float | None = None,
    stepped: bool = False,
) -> Builder[Panel]:
    """Lines over time. ``stepped``: the value holds until it changes, such as a version."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(SOURCE)
        .height(8)
        .span(span)
        .line_width(1)
        .fill_opacity(6)
        .show_points(VisibilityMode.NEVER)
        .thresholds(thresholds(steps))
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .placement(LegendPlacement.BOTTOM)
            .display_mode(LegendDisplayMode.LIST)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        .targets(targets(queries))
    )
    if steps:
        panel.thresholds_style(
            common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
        )
    if least is not None:
        panel.min(least)
    if most is not None:
        panel.max(most)
    if stepped:
        panel.line_interpolation(LineInterpolation.STEP_AFTER)
    return panel


def figure(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    steps: Steps = (),
    base: str = GREEN,
    span: int = 4,
    words: dict[int, tuple[str, str]] | None = None,
    decimals: int | None = None,
) -> Builder[Panel]:
    """The present value, large. ``words``: what a value means, and its colour."""
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(SOURCE)
        .height(4)
        .span(span)
        .thresholds(thresholds(steps, base))
        .color_mode(BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.NONE if words else BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .targets(targets(queries))
    )
    if words:
        panel.mappings(mappings(words))
    if decimals is not None:
        panel.decimals(decimals)
    return panel


def lanes(
    title: str,
    description: str,
    *queries: Query,
    words: dict[int, tuple[str, str]],
    span: int = 12,
) -> Builder[Panel]:
    """One lane per series, coloured by what its value means."""
    return (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .unit("none")
        .datasource(SOURCE)
        .height(8)
        .span(span)
        .thresholds(thresholds([(1, RED)]))
        .mappings(mappings(words))
        .merge_values(True)
        .show_value(VisibilityMode.NEVER)
        .targets(targets(queries))
    )


def listing(
    title: str, description: str, unit: str, *queries: Query, span: int = 12, height: int = 8
) -> Builder[Panel]:
    """The present series as rows of a table."""
    tabled: list[Builder[Dataquery]] = [
        prometheus.Dataquery()
        .expr(expr)
        .legend_format(legend)
        .instant()
        .format(PromQueryFormat.TABLE)
        .ref_id(chr(ord("A") + i))
        for i, (expr, legend) in enumerate(queries)
    ]
    return (
        table.Panel()
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(SOURCE)
        .height(height)
        .span(span)
        .thresholds(thresholds(()))
        .with_transformation(DataTransformerConfig(id_val="merge", options={}))
        .targets(tabled)
    )


def targets(queries: Sequence[Query]) -> list[Builder[Dataquery]]:
    return [
        prometheus.Dataquery().expr(expr).legend_format(legend).range().ref_id(chr(ord("A") + i))
        for i, (expr, legend) in enumerate(queries)
    ]


def thresholds(steps: Steps, base: str = GREEN) -> dashboard.ThresholdsConfig:
    found = [Threshold(value=None, color=base)]
    found += [Threshold(value=value, color=colour) for value, colour in steps]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(found)


def mappings(words: dict[int, tuple[str, str]]) -> list[ValueMapping]:
    return [
        ValueMap(
            options={
                str(value): ValueMappingResult(text=text, color=colour)
                for value, (text, colour) in words.items()
            }
        )
    ]


def rate(metric: str, select: str = MODEL, by: str = "", window: str = "$__rate_interval") -> str:
    """Per second, summed."""
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({metric}{{{select}}}[{window}]))"


def quantile(q: float, metric: str, select: str = MODEL, by: str = "") -> str:
    """Of a histogram."""
    labels = f"le, {by}" if by else "le"
    return (
        f"histogram_quantile({q}, sum by ({labels}) "
        f"(rate({metric}_bucket{{{select}}}[$__rate_interval])))"
    )


def quantiles(metric: str, select: str = MODEL) -> list[Query]:
    return [(quantile(q, metric, select), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)]


def happened(metric: str, select: str, window: str = "1m") -> str:
    """Of a counter: the series that grew within the window.

    A labelled counter begins to exist with its first increment, which `increase` cannot see; that
    is what the second half is for.
    """
    series = f"{metric}{{{select}}}"
    return f"(increase({series}[{window}]) > 0 or ({series} unless {series} offset {window}))"
