"""Tab Batch: many pictures, one line each; a file that cannot be used is a line with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from brainmtl.errors import BrainMTLError
from brainmtl.page import examples
from brainmtl.page.boxes import digest, download, literal, show_metric, waiting
from brainmtl.page.client import Client, Options
from brainmtl.page.pictures import thumbnail
from brainmtl.words import quantity

OK, ABSTAINED, FAILED = "ok", "abstained", "failed"
COLUMNS = (
    *("file", "status", "label", "probability", "band", "segmented", "area_px", "area_mm2"),
    *("reason_code", "reason", "warnings", "input_sha256", "weights_sha256"),
    *("cls_threshold", "seg_threshold"),
)
Named = Sequence[tuple[str, bytes]]


def draw(client: Client, model: Mapping[str, Any], options: Options) -> None:
    """The tab: choose, ask, show."""
    uploads = st.file_uploader("Pictures", accept_multiple_files=True, key="batch_uploads")
    add = st.checkbox("Add the four examples", key="batch_examples")
    names = [upload.name for upload in uploads] + (list(examples.PICTURES) if add else [])
    if not names:
        st.info("Upload pictures, or add the examples.", icon=":material/upload_file:")
        return
    thresholds = (options.seg_threshold, options.cls_threshold)
    ids = tuple(upload.file_id for upload in uploads)
    key = (ids, add, thresholds, model["model"]["weights_sha256"])
    if st.button(
        f"Analyse {quantity(len(names), 'pictures')}", type="primary", icon=":material/play_arrow:"
    ):
        files = [(upload.name, upload.getvalue()) for upload in uploads]
        files += [(name, examples.picture(name)) for name in examples.PICTURES] if add else []
        st.session_state["batch"] = (key, _analyse(client, files, options))
    if "batch" not in st.session_state:
        return
    made_for, lines = st.session_state["batch"]
    if made_for != key:
        st.info(
            "Files, thresholds or model have changed since this table was made: analyse again.",
            icon=":material/update:",
        )
    _show(lines)


def _analyse(client: Client, files: Named, options: Options) -> list[dict[str, Any]]:
    """One line per file, in order, while a bar tells how far it is."""
    bar = st.progress(0.0, f"0 of {len(files)}")
    asked = Options(options.seg_threshold, options.cls_threshold)
    lines = []
    for (name, data), item in zip(
        files, client.batch([data for _, data in files], asked, waiting), strict=True
    ):
        lines.append(line_of(name, data, item))
        bar.progress(len(lines) / len(files), f"{len(lines)} of {len(files)}")
    bar.empty()
    return lines


def line_of(name: str, data: bytes, item: Mapping[str, Any]) -> dict[str, Any]:
    """The line of one file (COLUMNS and ``picture``, a data URL) of the service's item on it."""
    line: dict[str, Any] = dict.fromkeys(("picture", *COLUMNS)) | {
        "file": name,
        "input_sha256": digest(data),
    }
    if not item["ok"]:
        error = item["error"]
        failed = {"status": FAILED, "reason_code": error["reason"], "reason": error["detail"]}
        return line | failed
    result = item["result"]
    segmentation, band = result["segmentation"], result["confidence_band"]
    return line | {
        "picture": _thumbnail(data, result),
        "status": ABSTAINED if result["abstained"] else OK,
        "label": result["label"],
        "probability": result["tumour_probability"],
        "band": None if band is None else band["name"],
        "segmented": int(segmentation["performed"]),
        "area_px": segmentation["area_px"],
        "area_mm2": segmentation["area_mm2"],
        "reason_code": result["reason_code"],
        "reason": result["reason"] if result["abstained"] else segmentation["reason"],
        "warnings": " ".join(result["warnings"]),
        "weights_sha256": result["model"]["weights_sha256"],
        "cls_threshold": result["thresholds"]["cls"],
        "seg_threshold": result["thresholds"]["seg_gate"],
    }


def _thumbnail(data: bytes, result: Mapping[str, Any]) -> str | None:
    try:
        return thumbnail(data, result)
    except BrainMTLError:  # the answer counts, not its picture
        return None


def csv_of(lines: Sequence[Mapping[str, Any]]) -> str:
    """The lines as CSV with COLUMNS; what is not defined is an empty cell."""
    frame = pd.DataFrame(lines, columns=list(COLUMNS))
    return frame.astype({"segmented": "Int64", "area_px": "Int64"}).to_csv(index=False)


def _show(lines: Sequence[Mapping[str, Any]]) -> None:
    _show_counts(lines)
    config = {
        "picture": st.column_config.ImageColumn("picture", width="small"),
        "file": st.column_config.TextColumn("file", width="medium"),
        "probability": st.column_config.ProgressColumn(
            "probability", format="%.3f", min_value=0, max_value=1
        ),
        "area_px": st.column_config.NumberColumn("area (px)", format="%d"),
        "reason": st.column_config.TextColumn("reason", width="large"),
    }
    st.dataframe(
        pd.DataFrame(lines),
        column_order=("picture", "file", "status", "label", "probability", "area_px", "reason"),
        column_config=config,
        hide_index=True,
        row_height=72,
        width="stretch",
        placeholder="–",
    )
    download("All columns (CSV)", csv_of(lines), "batch.csv", "text/csv")
    if unanswered := [line for line in lines if line["status"] != OK]:
        with st.expander(
            f"Why {len(unanswered)} have no answer", expanded=True, icon=":material/help:"
        ):
            for line in unanswered:
                st.markdown(f"**{literal(line['file'])}**: {literal(line['reason'])}")


def _show_counts(lines: Sequence[Mapping[str, Any]]) -> None:
    labels, statuses = ([line[name] for line in lines] for name in ("label", "status"))
    figures = {
        "Tumour": ("add_circle", labels.count("tumour")),
        "No tumour": ("check_circle", labels.count("no tumour")),
        "No statement": ("block", statuses.count(ABSTAINED)),
        "Not usable": ("error", statuses.count(FAILED)),
    }
    for column, (name, (icon, count)) in zip(st.columns(4), figures.items(), strict=True):
        show_metric(column, icon, name, count)
