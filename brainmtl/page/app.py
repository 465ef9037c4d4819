"""``streamlit run brainmtl/page/app.py``: the page; docs/page.md says what it shows."""

from __future__ import annotations

import os

import streamlit as st

from brainmtl.page import batch_tab, model_tab, multitask_tab, patient_tab
from brainmtl.page.banner import show_absence, show_model, show_title, wait_for
from brainmtl.page.boxes import errors_as_boxes, show_error
from brainmtl.page.client import UP, Client, ServiceError
from brainmtl.page.sidebar import choose_options

TABS = {
    "multitask": ":material/image_search: Multi-Task",
    "batch": ":material/photo_library: Batch",
    "patient": ":material/person: Patient",
    "model": ":material/description: Model",
}
DRAWN = (multitask_tab.draw, batch_tab.draw, patient_tab.draw, model_tab.draw)


@st.cache_resource
def service() -> Client:
    """The client that all sessions share."""
    return Client.from_environment()


def main() -> None:
    """Draw the page once; Streamlit calls the script for every click."""
    st.set_page_config("brainmtl", page_icon=":material/neurology:", layout="centered")
    show_title()
    client = service()
    status = client.status()
    if status.state != UP:
        show_absence(status, client)
        wait_for(client, status)
        return
    try:
        model = client.model()
    except ServiceError as error:
        show_error(error, client.url)
        return
    show_model(model, client)
    options = choose_options(model)
    wanted = TABS.get(os.environ.get("BRAINMTL_PAGE", ""), TABS["multitask"])
    tabs = st.tabs(list(TABS.values()), default=wanted)
    for tab, draw in zip(tabs, DRAWN, strict=True):
        with tab, errors_as_boxes(client.url):
            draw(client, model, options)


if __name__ == "__main__":
    main()
