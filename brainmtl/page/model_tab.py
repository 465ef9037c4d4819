"""Tab Model: identity, figures per source, operating point and the whole card of what answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from brainmtl.data.manifest import all_synthetic
from brainmtl.evaluation.report.card import LABELS, card_markdown
from brainmtl.evaluation.report.markdown import nested
from brainmtl.evaluation.report.operating import LABELS as SETTINGS
from brainmtl.evaluation.report.text import METHODS, fraction, number
from brainmtl.page.boxes import download_json, literal, show_metric
from brainmtl.page.charts import intervals_chart
from brainmtl.page.client import Client, Options

# Figures that lie in [0, 1] and of which more is better: those that one chart can show together.
SCORES = (
    *(f"classification.{name}" for name in ("balanced_accuracy", "sensitivity", "specificity")),
    *("classification.roc_auc", "classification.pr_auc"),
    *("segmentation.per_patient.dice", "segmentation.per_patient.nsd"),
    *("patient.sensitivity", "patient.specificity"),
)
SHOWN_SETTINGS = (
    *("threshold", "seg_gate", "seg_threshold", "temperature", "limit_ml", "limit_voxels", "tta"),
    *("fitted", "split"),
)


def draw(client: Client, model: Mapping[str, Any], options: Options) -> None:
    """The tab; it asks nothing of the service beyond what the page knows already."""
    card = model["card"]
    _show_identity(model)
    for remark in card.get("remarks") or []:
        st.info(literal(remark), icon=":material/info:")
    _show_figures(card)
    _show_settings(model)
    _show_use(card)
    _show_hashes(model)
    with st.expander("The whole card", icon=":material/description:"):
        st.markdown(nested(card_markdown(card), "", top=4))
    download_json("Card (JSON)", card, "model_card.json")


def _show_identity(model: Mapping[str, Any]) -> None:
    told = model["model"]
    left, middle, right = st.columns(3)
    show_metric(left, "tag", "Model", told["name"])
    show_metric(middle, "school", "Stage", model["stage"])
    kind = "real images"
    if told["synthetic_training"]:
        alone = all_synthetic(model["training_sources"])
        kind = "synthetic images" if alone else "real and synthetic images"
    show_metric(right, "database", "Trained on", kind)
    sources = ", ".join(model["training_sources"]) or "unknown"
    st.caption(f":material/database: Sources of training: {literal(sources)}.")


def _show_figures(card: Mapping[str, Any]) -> None:
    """One table and one chart per source: label and source go together, so nothing is pooled."""
    st.subheader("Figures per source")
    if not card["eval_metrics"]:
        st.info(
            "This model was not evaluated: nothing is known of how well it works.",
            icon=":material/help:",
        )
        return
    st.caption(f"Split {card['split']}, at the operating point below. Never pooled over sources.")
    names = {source: card["data"][source]["display_name"] for source in card["eval_metrics"]}
    for tab, (source, figures) in zip(
        st.tabs(list(names.values())), card["eval_metrics"].items(), strict=True
    ):
        with tab:
            _show_source(card["data"][source], figures)
    st.caption(
        "Exported models carry these figures and no curves: ROC, reliability and training curves are "
        "in the report of the evaluation (`evaluation_<split>/report.html` beside the checkpoint)."
    )


def _show_source(data: Mapping[str, Any], figures: Mapping[str, Mapping[str, Any]]) -> None:
    st.markdown(
        f"{'**Synthetic**' if data['synthetic'] else 'Real'} images: {data['n_images']:,}, with tumour "
        f"{number(data['n_with_tumour'])}, without {number(data['n_without_tumour'])}; "
        f"{'seen' if data['seen_in_training'] else 'not seen'} in training as a source."
    )
    scores = [
        {"figure": LABELS[key], **{name: figures[key][name] for name in ("value", "low", "high")}}
        for key in SCORES
        if key in figures and figures[key]["value"] is not None
    ]
    if scores:
        st.altair_chart(intervals_chart(scores), width="stretch")
    lines = [
        {
            "figure": LABELS[key],
            "value": number(entry["value"]),
            "95 % interval": _interval(entry),
            "counts": fraction(entry["counts"]),
            "interval by": _basis(entry),
        }
        for key, entry in figures.items()
    ]
    st.dataframe(
        pd.DataFrame(lines),
        hide_index=True,
        width="stretch",
        height="content",
    )


def _interval(entry: Mapping[str, Any]) -> str:
    if entry["low"] is None:
        return entry["note"] or ""
    return f"{number(entry['low'])} to {number(entry['high'])}"


def _basis(entry: Mapping[str, Any]) -> str:
    if entry["low"] is None:
        return ""
    return f"{METHODS.get(entry['method'], entry['method'])}, n = {entry['n']}"


def _show_settings(model: Mapping[str, Any]) -> None:
    st.subheader("Operating point")
    point = model["operating_point"]
    lines = [
        {"setting": SETTINGS[name], "value": _plain(point[name])}
        for name in SHOWN_SETTINGS
        if name in point
    ]
    st.dataframe(pd.DataFrame(lines), hide_index=True, width="stretch", height="content")


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _show_use(card: Mapping[str, Any]) -> None:
    st.subheader("Use")
    st.markdown(literal(card["intended_use"]))
    st.markdown("**Out of scope**")
    st.markdown("\n".join(f"- {literal(text)}" for text in card["out_of_scope_use"]))
    with st.expander("What the figures do not show", icon=":material/report:"):
        st.markdown("\n".join(f"- {literal(text)}" for text in card["limits"]))


def _show_hashes(model: Mapping[str, Any]) -> None:
    st.subheader("Hashes (SHA-256)")
    card, told = model["card"], model["model"]
    st.code(
        f"weights     {told['weights_sha256']}\n"
        f"checkpoint  {card['checkpoint_sha256']}\n"
        f"data        {card['manifest_sha256'] or 'not known'}\n"
        f"brainmtl {told['version']}, preprocessing version {told['preprocessing_version']}",
        language=None,
    )
