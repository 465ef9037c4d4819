"""The report as one HTML file that needs no other file and no network."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainmtl.errors import DataError

if TYPE_CHECKING:
    from jinja2 import Environment
    from markdown_it import MarkdownIt

TEMPLATE = "report.html.j2"
JOINT = re.compile(r"(?<=\d) (to|±) (?=-?\d)")
MIME = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


def to_html(report: Mapping[str, Any], folder: Path) -> str:
    """HTML of what :func:`brainmtl.evaluation.report.build.build_report` returned.

    Pictures are read from below ``folder`` and embedded as data URIs.

    Raises:
        DataError: a picture is missing, or neither PNG nor JPEG.
    """
    page = _environment().get_template(TEMPLATE)
    return page.render(report=report, picture=lambda path: data_uri(folder / path), rich=rich)


def data_uri(path: Path) -> str:
    """The picture at ``path`` as a ``data:`` address."""
    mime = MIME.get(path.suffix.lower())
    if mime is None:
        raise DataError(f"{path} is no picture for the report: give one of {', '.join(MIME)}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be embedded in the report ({error})") from error
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"


def rich(markdown: str) -> str:
    """HTML of Markdown with tables; raw HTML, links and pictures in it are shown as text."""
    return _renderer().render(markdown)


@lru_cache(maxsize=1)
def _renderer() -> MarkdownIt:
    from markdown_it import MarkdownIt

    # No links and no pictures: the page must not point outside of itself.
    found = MarkdownIt("commonmark", {"html": False}).enable("table")
    found.disable(["link", "image", "autolink", "reference"])
    found.add_render_rule("table_open", lambda *_: '<div class="wide"><table>\n')
    found.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return found


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # An interval stays on one line where a narrow screen breaks the cell.
    found.filters["together"] = lambda text: JOINT.sub(
        "\N{NO-BREAK SPACE}\\1\N{NO-BREAK SPACE}", text
    )
    return found
