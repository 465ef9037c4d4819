"""Is it up? Asked of the service and of the page over HTTP, as any client would."""

from __future__ import annotations

import logging

from brainmtl.errors import BrainMTLError

TIMEOUT_S = 1.0

# It reports every request, and the commands' log is on the terminal.
logging.getLogger("httpx").setLevel(logging.WARNING)


def api_is_ready(url: str) -> bool:
    """Whether the service at ``url`` has a model that is loaded and warmed up.

    Raises:
        BrainMTLError: it will never have one; the message is the reason that it gives.
    """
    import httpx

    try:
        answer = httpx.get(f"{url}/ready", timeout=TIMEOUT_S, trust_env=False)
    except httpx.TransportError:
        return False
    if answer.status_code == 200:
        return True
    try:
        reason, detail = answer.json()["reason"], answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return False  # somebody else on this port
    if reason == "no_model":
        raise BrainMTLError(detail)
    return False


def page_is_ready(url: str) -> bool:
    """Whether Streamlit at ``url`` says that it can run the page."""
    import httpx

    try:
        answer = httpx.get(f"{url}/_stcore/health", timeout=TIMEOUT_S, trust_env=False)
    except httpx.TransportError:
        return False
    return answer.status_code == 200
