"""The head of the page: is there a service, which model answers, and what it must not be used for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from brainmtl.data.manifest import all_synthetic
from brainmtl.inference.results import DISCLAIMER
from brainmtl.page.boxes import literal
from brainmtl.page.client import DOWN, LOADING, Client, Status, start_command

POLL_S = 2.0


def show_title() -> None:
    """What this is, and what it must not be used for: there in every state."""
    st.title("brainmtl")
    st.caption(f"Brain tumour in MRI: is there one, and where? **{DISCLAIMER}**")


def show_model(model: Mapping[str, Any], client: Client) -> None:
    """Which service and which model answer, and whether that is one to be taken for real."""
    told = model["model"]
    st.success(
        f"**API up** · model **{literal(told['name'])}** {literal(told['version'])}"
        f" · weights `{told['weights_sha256'][:12]}` · {client.url}",
        icon=":material/check_circle:",
    )
    if told["synthetic_training"]:
        st.warning(
            "**SYNTHETIC**: this model was trained on synthetic data, drawn by a computer. It shows "
            "how the software works; what it says about real images means nothing."
            if all_synthetic(model["training_sources"])
            else "**SYNTHETIC** images, drawn by a computer, are among those that this model was trained "
            "on. Its figures on real images stand under Model.",
            icon=":material/science:",
        )


def show_absence(status: Status, client: Client) -> None:
    """Why there is nothing to ask yet, and the command that mends it."""
    if status.state == LOADING:
        st.info(f"**API loading**: {literal(status.detail)}", icon=":material/hourglass_top:")
    elif status.state == DOWN:
        st.error(
            f"**API down**: {literal(status.detail)} Start it as follows; this page goes on by "
            "itself as soon as it answers.",
            icon=":material/cloud_off:",
        )
        st.code(start_command(client.url), language="bash")
    else:
        st.error(f"**API without a model**: {literal(status.detail)}", icon=":material/error:")


@st.fragment(run_every=POLL_S)
def wait_for(client: Client, before: Status) -> None:
    """Run the page again as soon as the service is in another state than ``before``."""
    if client.status().state != before.state:
        st.rerun()
