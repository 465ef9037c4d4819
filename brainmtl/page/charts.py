"""Charts (Vega-Lite through Altair, drawn in the browser): probabilities, slices, intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

# Colour-blind safe, and legible on light and dark ground: tumour in the colour of the outlines.
TUMOUR, NO_TUMOUR, GATE, THRESHOLD = "#ff7f0e", "#7f9fbf", "#8c8c8c", "#d62728"
UNIT = alt.Scale(domain=[0, 1])
# Streamlit fits the axis and some space around into the height as well.
PROBABILITY_HEIGHT, SLICES_HEIGHT = 135, 300


def probability_chart(probability: float, thresholds: Mapping[str, float]) -> alt.LayerChart:
    """One bar from 0 to the calibrated P, and the two thresholds that decide, each named in its row."""

    def row(name: str) -> alt.Y:
        return alt.Y(f"{name}:Q", scale=alt.Scale(domain=[0, 3]), axis=None)

    called = TUMOUR if probability >= thresholds["cls"] else NO_TUMOUR
    axis = alt.Axis(tickCount=5)
    bar = (
        alt.Chart(pd.DataFrame([{"P": probability, "from": 0, "low": 0.15, "high": 0.95}]))
        .mark_rect(color=called)
        .encode(
            x=alt.X("from:Q", scale=UNIT, title="calibrated P(tumour)", axis=axis),
            x2="P:Q",
            y=row("low"),
            y2="high:Q",
            tooltip=alt.Tooltip("P:Q", format=".4f"),
        )
    )
    layers = [bar]
    label, gate = _thresholds(thresholds)
    # The gate is never above the threshold, so that words on these sides stay clear of both lines.
    sides = ((2.5, label, label[1] < 0.8), (1.5, gate, gate[1] < 0.2))
    for middle, (text, value, colour), right in sides:
        entry = {"at": value, "text": text, "low": 0, "middle": middle, "high": middle + 0.4}
        base = alt.Chart(pd.DataFrame([entry])).encode(x=alt.X("at:Q", scale=UNIT))
        words = {"align": "left" if right else "right", "dx": 6 if right else -6, "fontSize": 12}
        line = base.mark_rule(color=colour, strokeWidth=2, strokeDash=[5, 3])
        layers.append(line.encode(y=row("low"), y2="high:Q"))
        layers.append(base.mark_text(color=colour, **words).encode(text="text", y=row("middle")))
    return alt.layer(*layers).properties(height=PROBABILITY_HEIGHT)


def slices_chart(
    slices: Sequence[Mapping[str, Any]], thresholds: Mapping[str, float], selected: int
) -> alt.LayerChart:
    """P per slice; slices called tumour in another colour, ``selected`` (a file index) marked."""
    frame = pd.DataFrame(slices)[["index", "probability", "label", "area_px"]]
    bars = (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            x=alt.X("index:O", title="slice (index in the file)", axis=alt.Axis(labelOverlap=True)),
            y=alt.Y("probability:Q", scale=UNIT, title="calibrated P"),
            color=alt.Color(
                "label:N",
                scale=alt.Scale(domain=["tumour", "no tumour"], range=[TUMOUR, NO_TUMOUR]),
                legend=alt.Legend(title=None, orient="top"),
            ),
            stroke=alt.condition(
                alt.datum.index == selected, alt.value("#000000"), alt.value(None)
            ),
            tooltip=[
                alt.Tooltip("index:O", title="slice"),
                alt.Tooltip("probability:Q", title="P", format=".3f"),
                alt.Tooltip("label:N"),
                alt.Tooltip("area_px:Q", title="outlined px"),
            ],
        )
    )
    return alt.layer(bars, *_level_lines(thresholds)).properties(height=SLICES_HEIGHT)


def intervals_chart(lines: Sequence[Mapping[str, Any]]) -> alt.LayerChart:
    """Figures in [0, 1] with their intervals: lines of ``figure, value, low, high``."""
    frame = pd.DataFrame(lines)
    figure = alt.Y(
        "figure:N", sort=list(frame["figure"]), title=None, axis=alt.Axis(labelLimit=320)
    )
    base = alt.Chart(frame).encode(
        y=figure,
        tooltip=[
            "figure:N",
            *(alt.Tooltip(f"{c}:Q", format=".3f") for c in ("value", "low", "high")),
        ],
    )
    rule = base.mark_rule(strokeWidth=2, color=NO_TUMOUR).encode(
        x=alt.X("low:Q", scale=UNIT, title="value and 95 % interval"), x2="high:Q"
    )
    point = base.mark_point(filled=True, size=70, color=TUMOUR).encode(x="value:Q")
    return alt.layer(rule, point).properties(height=28 * len(frame) + 60)


def _level_lines(thresholds: Mapping[str, float]) -> list[alt.Chart]:
    """A horizontal line per threshold, named at its right end."""
    marks = []
    for baseline, (text, value, colour) in zip(
        ("bottom", "top"), _thresholds(thresholds), strict=True
    ):
        base = alt.Chart(pd.DataFrame({"at": [value], "text": [text]})).encode(
            y=alt.Y("at:Q", scale=UNIT)
        )
        marks.append(base.mark_rule(color=colour, strokeWidth=2, strokeDash=[5, 3]))
        marks.append(
            base.mark_text(color=colour, align="left", baseline=baseline, dx=6, fontSize=12).encode(
                text="text:N", x=alt.value("width")
            )
        )
    return marks


def _thresholds(thresholds: Mapping[str, float]) -> list[tuple[str, float, str]]:
    """(words, value, colour) of the threshold of the label and of the gate of the mask."""
    return [
        (f"tumour from {thresholds['cls']:.2f}", thresholds["cls"], THRESHOLD),
        (f"mask from {thresholds['seg_gate']:.2f}", thresholds["seg_gate"], GATE),
    ]
