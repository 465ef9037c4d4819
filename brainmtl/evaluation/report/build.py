"""The whole report as one plain dict, and the files made of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from brainmtl.evaluation.report import plots_classification, plots_segmentation
from brainmtl.evaluation.report.bands import observed
from brainmtl.evaluation.report.classification import classification
from brainmtl.evaluation.report.closing import NOTICE, limits, provenance, software
from brainmtl.evaluation.report.document import (
    Block,
    Chapter,
    Picture,
    Pictures,
    Section,
    bullets,
    chapter,
    figures,
    paragraph,
    ready,
)
from brainmtl.evaluation.report.html import to_html
from brainmtl.evaluation.report.markdown import nested, to_markdown
from brainmtl.evaluation.report.operating import bands_chapter, operating_point
from brainmtl.evaluation.report.overview import (
    Lines,
    count_sources,
    headline,
    opening,
    verdicts,
)
from brainmtl.evaluation.report.segmentation import literature, patient, segmentation
from brainmtl.evaluation.report.sites import sites
from brainmtl.files import write_json, write_text
from brainmtl.inference.operating.bands import Band

REPORT_VERSION = "1"


def write_report(
    out_dir: str | Path,
    result: Mapping[str, Any],
    run: Mapping[str, Any],
    rows: Lines,
    cases: Lines,
    pictures: Pictures,
    sections: Sequence[Section],
    bands: Sequence[Band],
    *,
    draw: bool = True,
) -> dict[str, Path]:
    """Write ``report.json``, ``report.md``, ``report.html`` and the report's own ``figures/*.png``.

    Args:
        out_dir: folder of the evaluation.
        result: contents of metrics.json.
        run: contents of run.json.
        rows: lines of predictions.csv.
        cases: lines of cases.csv.
        pictures: per source, pictures of cases that were drawn before: (caption, path), the path
            absolute or relative to ``out_dir``.
        sections: chapters that other parts of the evaluation have written.
        bands: from :func:`brainmtl.inference.operating.bands.load_bands`.
        draw: False leaves out the figures that the report draws itself.

    Returns:
        The paths under ``json``, ``markdown`` and ``html``.
    """
    out_dir = Path(out_dir).absolute()
    drawn = {
        source: draw_figures(values, run, rows, cases, source, out_dir / "figures")
        for source, values in result.items()
        if draw
    }
    report = build_report(out_dir, result, run, rows, pictures, sections, bands, drawn)
    paths = {
        "json": out_dir / "report.json",
        "markdown": out_dir / "report.md",
        "html": out_dir / "report.html",
    }
    write_json(paths["json"], report)
    write_text(paths["markdown"], to_markdown(report))
    write_text(paths["html"], to_html(report, out_dir))
    return paths


def draw_figures(
    values: Mapping[str, Any],
    run: Mapping[str, Any],
    rows: Lines,
    cases: Lines,
    source: str,
    folder: Path,
) -> dict[str, list[Picture]]:
    """One source's figures under ``classification`` and ``segmentation``, written to ``folder``."""
    name = run["display_names"][source]
    own_rows = [row for row in rows if row["source"] == source]
    own_cases = [case for case in cases if case["source"] == source]
    return {
        "classification": plots_classification.classification_figures(
            own_rows, values, name, folder, source
        ),
        "segmentation": plots_segmentation.segmentation_figures(
            own_cases, values, name, folder, source
        ),
    }


def build_report(
    out_dir: Path,
    result: Mapping[str, Any],
    run: Mapping[str, Any],
    rows: Lines,
    pictures: Pictures,
    sections: Sequence[Section],
    bands: Sequence[Band],
    drawn: Mapping[str, Mapping[str, Sequence[Picture]]],
) -> dict[str, Any]:
    """The contents of ``report.json``: plain values, paths of pictures relative to ``out_dir``.

    Keys: ``report_version, title, notice, alerts, findings, remarks`` (sentences), ``opening``
    (blocks), ``chapters`` (each ``title`` and ``blocks``), ``bands`` (the advice) and ``observed``
    (per source, what each band meant). See docs/evaluation.md for the blocks.
    """
    names = run["display_names"]
    counted = count_sources(result, run, rows)
    seen = {
        source: observed([row for row in rows if row["source"] == source], bands)
        for source in result
    }
    alerts, findings = verdicts(result, run, sections)
    chapters = [
        chapter("Headline, per source", headline(result, run)),
        chapter("What to do with a probability", bands_chapter(seen, bands, names)),
        *(
            chapter(names[source], _source(values, drawn.get(source, {}), out_dir))
            for source, values in result.items()
        ),
        chapter("Operating point", operating_point(run)),
        *(_section(section, out_dir) for section in sections),
        *_gallery(pictures, out_dir),
        chapter("What these figures do not show", [bullets(limits(result, run, counted))]),
        chapter("Where this comes from", provenance(run, software())),
    ]
    return {
        "report_version": REPORT_VERSION,
        "title": _title(run),
        "notice": NOTICE,
        "alerts": alerts,
        "findings": findings,
        "remarks": list(run["remarks"]),
        "opening": opening(run, counted),
        "chapters": chapters,
        "bands": [asdict(band) for band in bands],
        "observed": seen,
    }


def _title(run: Mapping[str, Any]) -> str:
    if run["folds"]:
        return f"Cross-validation of stage {run['stage']}"
    return f"Evaluation of stage {run['stage']} on split {run['split']}"


def _source(
    values: Mapping[str, Any], drawn: Mapping[str, Sequence[Picture]], out_dir: Path
) -> list[Block]:
    return [
        *classification(values, figures(_relative(drawn.get("classification", ()), out_dir))),
        *segmentation(
            values, figures(_relative(drawn.get("segmentation", ()), out_dir), wide=True)
        ),
        *patient(values),
        *sites(values),
        *literature(values),
    ]


def _section(section: Section, out_dir: Path) -> Chapter:
    pictures = figures(_relative(section.pictures, out_dir), wide=True)
    text = nested(section.markdown, section.title)
    return chapter(section.title, [ready(text), *pictures])


def _gallery(pictures: Pictures, out_dir: Path) -> list[Chapter]:
    shown = [picture for own in pictures.values() for picture in own]
    if not shown:
        return []
    text = "Chosen by rule, not by hand: each caption says how."
    return [
        chapter(
            "Cases to look at", [paragraph(text), *figures(_relative(shown, out_dir), wide=True)]
        )
    ]


def _relative(pictures: Sequence[Picture], out_dir: Path) -> list[tuple[str, str]]:
    """Paths as the report links them: from its own folder, with forward slashes."""
    return [
        (caption, Path(os.path.relpath(out_dir / path, out_dir)).as_posix())
        for caption, path in pictures
    ]
