"""What several tabs show alike: errors, warnings and timings of answers, remembered answers."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import streamlit as st

from brainmtl.errors import BrainMTLError
from brainmtl.page.client import ServiceError, start_command

LOG = logging.getLogger(__name__)
Value = TypeVar("Value")


@contextmanager
def errors_as_boxes(url: str) -> Iterator[None]:
    """Show an error of the block as a box with its remedy; nobody sees a traceback."""
    try:
        yield
    except ServiceError as error:
        show_error(error, url)
    except BrainMTLError as error:
        st.error(literal(str(error)), icon=":material/error:")
    except Exception as error:
        LOG.exception("the page failed")
        st.error(
            f"The page itself failed ({type(error).__name__}): the log of the page has the details. "
            "Reload it, and report this if it stays.",
            icon=":material/bug_report:",
        )


def show_error(error: ServiceError, url: str) -> None:
    """The service's own sentence; where there is no service, the command that starts it."""
    lines = [literal(error.detail)]
    if error.reason == "api_key":
        lines.append("Start this page with the same key in `BRAINMTL_API_KEY`.")
    told = f"Reason: {error.reason}"
    if error.request_id:
        told += f", request {error.request_id}"
    st.error("\n\n".join([*lines, f":small[{told}]"]), icon=":material/error:")
    if error.reason == "unreachable":
        st.code(start_command(url), language="bash")


def literal(text: str) -> str:
    """``text`` so that Streamlit's Markdown shows it as it is."""
    from brainmtl.evaluation.report.markdown import escape

    return escape(text).replace("$", "\\$").replace(":", "\\:")


def show_warnings(answer: Mapping[str, Any]) -> None:
    """The warnings of an answer, in one box."""
    if answer["warnings"]:
        text = "\n\n".join(literal(one) for one in answer["warnings"])
        st.warning(text, icon=":material/warning:")


def show_timings(answer: Mapping[str, Any]) -> None:
    """One line: how long it took, and which steps that were."""
    timings = dict(answer["timings_ms"])
    total = timings.pop("total", None)
    steps = ", ".join(f"{step} {value:.0f}" for step, value in timings.items())
    took = "" if total is None else f"Computed in {total:.0f} ms. "
    st.caption(f":material/timer: {took}Steps in ms: {steps}.")


def show_metric(
    column: Any, icon: str, label: str, value: Any, note: str | None = None, told: str | None = None
) -> None:
    """A figure with its icon (a name of Material Symbols), a ``note`` under it, and help."""
    column.metric(
        f":material/{icon}: {label}",
        value,
        note,
        delta_color="off",
        delta_arrow="off",
        help=told,
        border=True,
        height="stretch",
    )


def download(
    label: str,
    data: bytes | str,
    name: str,
    mime: str,
    icon: str = "download",
    key: str | None = None,
) -> None:
    """A button that saves ``data`` as a file; the page is not drawn again for it."""
    st.download_button(
        label, data, name, mime, icon=f":material/{icon}:", on_click="ignore", key=key
    )


def download_json(label: str, values: Mapping[str, Any], name: str) -> None:
    """As :func:`download`, of plain values; the key keeps buttons of one label in two tabs apart."""
    text = json.dumps(values, indent=2)
    download(label, text, name, "application/json", "data_object", key=f"download_{name}")


def waiting(seconds: int) -> None:
    """Tell that a busy service is asked again in ``seconds``."""
    st.toast(f"The service is busy: asked again in {seconds} s.", icon=":material/hourglass_top:")


def remembered(slot: str, key: Hashable, compute: Callable[[], Value]) -> Value:
    """``compute()``, once per ``key``: a session keeps the last value of each slot.

    Every click runs the whole page; the service is not to compute, and log, the same again.
    """
    found = st.session_state.get(slot)
    if found is None or found[0] != key:
        found = (key, compute())
        st.session_state[slot] = found
    return found[1]


def digest(data: bytes) -> str:
    """SHA-256 of an upload."""
    return hashlib.sha256(data).hexdigest()
