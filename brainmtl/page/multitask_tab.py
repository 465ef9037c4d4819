"""Tab Multi-Task: one picture, what the service says of it, and where it looked."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import streamlit as st

from brainmtl.inference.operating.bands import band_range
from brainmtl.page import examples
from brainmtl.page.boxes import (
    digest,
    download,
    download_json,
    literal,
    remembered,
    show_metric,
    show_timings,
    show_warnings,
    waiting,
)
from brainmtl.page.charts import probability_chart
from brainmtl.page.client import Client, Options
from brainmtl.page.pictures import Shown, heated, outlined, read_shown, show_row
from brainmtl.page.words import area_words, bands_of, percent

UPLOADS, EXAMPLE = "multitask_uploads", "multitask_example"


def draw(client: Client, model: Mapping[str, Any], options: Options) -> None:
    """The tab: choose, ask, show."""
    data = _choose()
    if data is None:
        st.info(
            "Upload one axial slice (PNG, JPEG, TIFF, BMP, GIF, WebP or PPM), or try an example.",
            icon=":material/upload_file:",
        )
        return
    key = (digest(data), options, model["model"]["weights_sha256"])
    with st.spinner("Asking the service ..."):
        answer = remembered("multitask", key, lambda: client.picture(data, options, waiting))
    shown = remembered("multitask_shown", key[0], lambda: read_shown(data))
    _show(shown, answer, model)


def _choose() -> bytes | None:
    """The upload or the example, whichever was chosen last."""
    state = st.session_state
    generation = state.setdefault(UPLOADS, 0)

    def forget_upload() -> None:  # a file uploader is emptied by becoming another one
        if state[EXAMPLE] is not None:
            state[UPLOADS] += 1

    def forget_example() -> None:
        state[EXAMPLE] = None

    upload = st.file_uploader(
        "Picture of one slice", key=f"multitask_upload_{generation}", on_change=forget_example
    )
    name = st.pills("Or an example", examples.PICTURES, key=EXAMPLE, on_change=forget_upload)
    if upload is not None:
        return upload.getvalue()
    return None if name is None else examples.picture(name)


def _show(shown: Shown, answer: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    segmentation = answer["segmentation"]
    pictures = {"Original": shown.pixels}
    if segmentation["mask_png"] is not None:
        pictures["Outline of the mask"] = outlined(shown, segmentation["mask_png"])
    if answer["gradcam_png"] is not None:
        pictures["Heat map (LayerCAM)"] = heated(shown, answer["gradcam_png"])
    show_row(pictures)
    _show_metrics(answer)
    if answer["abstained"]:
        st.warning(
            f"**The model makes no statement.** {literal(answer['reason'])}",
            icon=":material/block:",
        )
    else:
        st.altair_chart(
            probability_chart(answer["tumour_probability"], answer["thresholds"]), width="stretch"
        )
        if not segmentation["performed"]:
            st.info(
                f"**No mask.** {literal(segmentation['reason'])}", icon=":material/layers_clear:"
            )
    show_warnings(answer)
    if answer["confidence_band"] is not None:
        _show_band(answer["confidence_band"], model)
    show_timings(answer)
    _show_downloads(answer)


def _show_metrics(answer: Mapping[str, Any]) -> None:
    segmentation = answer["segmentation"]
    left, middle, right = st.columns(3)
    told = "Calibrated probability of tumour in this picture"
    show_metric(left, "percent", "Probability", percent(answer["tumour_probability"]), None, told)
    show_metric(middle, "gavel", "Verdict", answer["label"] or "no statement")
    area, mm2 = area_words(segmentation)
    told = None if mm2 else "In mm² where the file states its spacing; pictures do not"
    show_metric(right, "square_foot", "Area", area, mm2, told)


def _show_band(band: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    with st.expander(
        f"Interpretation: **{literal(band['name'])}** ({band_range(band['low'], band['high'])})",
        icon=":material/menu_book:",
    ):
        st.markdown(literal(band["advice"]))
        others = [other for other in bands_of(model) if other["name"] != band["name"]]
        for other in others:
            st.caption(
                f"{literal(other['name'])} ({band_range(other['low'], other['high'])}): {literal(other['advice'])}"
            )


def _show_downloads(answer: Mapping[str, Any]) -> None:
    with st.container(horizontal=True):
        mask = answer["segmentation"]["mask_png"]
        if mask is not None:
            download("Mask (PNG)", base64.b64decode(mask), "mask.png", "image/png")
        download_json("Answer (JSON)", answer, "answer.json")
