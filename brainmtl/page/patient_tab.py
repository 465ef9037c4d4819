"""Tab Patient: a volume, its slices one by one, the verdict of the patient rule, the mask to take along."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import streamlit as st

from brainmtl.inference.operating.operating_point import OperatingPoint
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
from brainmtl.page.charts import slices_chart
from brainmtl.page.client import Client, Options
from brainmtl.page.pictures import show_row
from brainmtl.page.volume import ShownVolume, read_volume
from brainmtl.page.words import percent


def draw(client: Client, model: Mapping[str, Any], options: Options) -> None:
    """The tab: choose, ask, show."""
    upload = st.file_uploader("Volume as NIfTI (.nii or .nii.gz), FLAIR", key="patient_upload")
    example = st.checkbox(
        f"Or an example: {examples.VOLUME}", key="patient_example", disabled=upload is not None
    )
    if upload is None and not example:
        st.info("Upload one volume, or try the example.", icon=":material/upload_file:")
        return
    data = examples.volume() if upload is None else upload.getvalue()
    thresholds = (options.seg_threshold, options.cls_threshold)
    key = (digest(data), thresholds, model["model"]["weights_sha256"])
    with st.spinner("Asking the service: a volume takes some seconds ..."):
        answer = remembered("patient", key, lambda: client.volume(data, options, waiting))
    _show_metrics(answer)
    if answer["abstained"]:
        st.warning(
            f"**The model makes no statement.** {literal(answer['reason'])}",
            icon=":material/block:",
        )
    else:
        shown = remembered("patient_shown", key, lambda: read_volume(data, answer))
        _show_rule(answer, shown, model)
        _show_slices(answer, shown)
    show_warnings(answer)
    show_timings(answer)
    _show_downloads(answer)


def _show_metrics(answer: Mapping[str, Any]) -> None:
    left, middle, right = st.columns(3)
    show_metric(left, "gavel", "Patient", answer["label"] or "no statement")
    millilitres = answer["volume_ml"]
    volume = "–" if millilitres is None else f"{millilitres:.1f} ml"
    told = "Of the mask, on all slices that were segmented"
    show_metric(middle, "deployed_code", "Volume", volume, None, told)
    told = "The largest calibrated probability among the slices"
    show_metric(right, "percent", "Highest probability", percent(answer["probability"]), None, told)


def _show_rule(answer: Mapping[str, Any], shown: ShownVolume, model: Mapping[str, Any]) -> None:
    called = [one for one in answer["slices"] if one["label"] == "tumour"]
    point = OperatingPoint.from_dict(model["operating_point"])
    rule = point.patient_rule(sum(one["area_px"] or 0 for one in called), shown.voxel_ml)
    digits = 2 if rule.unit == "ml" else 0
    st.caption(
        ":material/rule: Patient rule: tumour where more than "
        f"{rule.limit:.{digits}f} {rule.unit} are outlined on the slices called tumour. Here "
        f"{rule.volume:.{digits}f} {rule.unit} on {len(called)} of {len(answer['slices'])} slices."
    )


@st.fragment
def _show_slices(answer: Mapping[str, Any], shown: ShownVolume) -> None:
    """Moving the slider draws this part of the page alone."""
    slices = {one["index"]: one for one in answer["slices"]}
    first, last = min(shown.positions), max(shown.positions)
    largest = max(answer["slices"], key=lambda one: (one["area_px"] or 0, one["probability"]))
    selected = largest["index"]
    if first < last:
        selected = st.slider(
            "Slice (index in the file)", first, last, selected, key=f"slice_{shown.key}"
        )
    pictures = {"Original": shown.plane(selected)}
    if slices.get(selected, {}).get("segmented"):
        pictures["Outline of the mask"] = shown.outlined(selected)
    show_row(pictures)
    st.caption(_slice_words(selected, slices.get(selected)))
    st.altair_chart(slices_chart(answer["slices"], answer["thresholds"], selected), width="stretch")


def _slice_words(index: int, one: Mapping[str, Any] | None) -> str:
    if one is None:
        return f"Slice {index} shows too little brain: the model did not look at it."
    area = f"{one['area_px']:,} px outlined" if one["segmented"] else "not segmented"
    return f"Slice {index}: P {percent(one['probability'])}, {one['label']}, {area}."


def _show_downloads(answer: Mapping[str, Any]) -> None:
    plain = {name: value for name, value in answer.items() if name != "mask_nifti_gz"}
    with st.container(horizontal=True):
        mask = answer["mask_nifti_gz"]
        if mask is not None:
            download("Mask (NIfTI)", base64.b64decode(mask), "mask.nii.gz", "application/gzip")
        download_json("Answer (JSON)", plain, "patient.json")
