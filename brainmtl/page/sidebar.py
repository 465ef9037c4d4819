"""The sidebar: what is asked for, with the model's own operating point as the default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from brainmtl.page.client import Options

STEP = 0.01


def choose_options(model: Mapping[str, Any]) -> Options:
    """Thresholds and heat map. A slider that is left alone leaves its threshold to the service: the
    operating point has more digits than a slider has steps."""
    point = model["operating_point"]
    identity = model["model"]["weights_sha256"]  # another model brings other defaults
    with st.sidebar:
        st.header("What is asked for")
        gate = _slider(
            "seg_threshold",
            point["seg_gate"],
            0.0,
            1.0,
            identity,
            "A mask is made from this calibrated probability on",
        )
        threshold = _slider(
            "cls_threshold",
            point["threshold"],
            STEP,
            1 - STEP,
            identity,
            "The verdict is tumour from this calibrated probability on; not below seg_threshold",
        )
        gradcam = st.checkbox(
            "Heat map", value=True, help="Show where the classification looked (pictures only)"
        )
        st.caption(
            f"Defaults are the operating point of the model: mask from {point['seg_gate']:.3g}, tumour "
            f"from {point['threshold']:.3g}. Figures of the model card hold for these alone."
        )
    return Options(gate, threshold, gradcam)


def _slider(
    name: str, default: float, low: float, high: float, identity: str, told: str
) -> float | None:
    shown = min(max(round(default, 2), low), high)
    value = st.slider(name, low, high, shown, STEP, key=f"{name}_{identity}", help=told)
    return None if value == shown else value
