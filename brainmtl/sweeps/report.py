"""``sweep_report.md`` and its CSV, and the table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from brainmtl.markdown import markdown_table
from brainmtl.sweeps.jobs import Job
from brainmtl.sweeps.settings import (
    FIGURES,
    RULE,
    Result,
    Setting,
    option_names,
    reasons,
    spread_text,
)

if TYPE_CHECKING:
    from rich.table import Table

READING = (
    "± is the SD over seeds: how far luck moves a figure. It is no interval over patients, who are "
    "the same in every run; those stand in each run's evaluation. Every source stands by itself, "
    "nothing is pooled. n/d: not defined, or the source has no such annotation."
)
PARETO = (
    "Up is better at masks, right is better at telling whether there is a tumour. A setting on the "
    "front is beaten by no other at both; which of them is best depends on what the two are worth, "
    "which the monitor's weights (`combined_weights`) say."
)
TEXT = (0, 3)  # columns of words
Rows = list[list[str]]


def table_rows(
    settings: Sequence[Setting], names: Mapping[str, str], chosen: Setting | None
) -> tuple[list[str], Rows]:
    """(headings, one row per setting and source)."""
    monitor = settings[0].results[0].monitor
    heads = [option_names(settings), "runs", f"{monitor} (validation)", "source"]
    heads += [title for title, _ in FIGURES.values()]
    rows: Rows = []
    for setting in settings:
        name = ", ".join(setting.values.values()) or setting.name
        runs = f"{len(setting.results)}/{setting.planned}"
        mark = " (chosen)" if setting is chosen else ""
        for k, (source, title) in enumerate(names.items()):
            first = [f"{name}{mark}", runs, _short(setting.score())] if not k else [""] * 3
            spreads = [setting.spread(source, figure) for figure in FIGURES]
            rows.append([*first, title, *map(_short, spreads)])
    return heads, rows


def report_text(
    jobs: Sequence[Job],
    settings: Sequence[Setting],
    names: Mapping[str, str],
    chosen: Setting | None,
    about: Mapping[str, str],
    picture: str | None,
) -> str:
    """The report as Markdown; ``about`` has ``stage``, ``split`` and ``folder``."""
    heads, rows = table_rows(settings, names, chosen)
    finished = sum(job.state == "finished" for job in jobs)
    lines = [
        f"# Sweep over {option_names(settings)}",
        "",
        f"`{about['folder']}`, stage {about['stage']}, split {about['split']}; {finished} of "
        f"{len(jobs)} runs finished.",
        "",
        "## Chosen",
        "",
        " ".join(reasons(settings, chosen)),
        "",
        f"Rule: {RULE}",
        "",
        *missing_lines(jobs, about["stage"]),
        "## Figures",
        "",
        *markdown_table(heads, rows, TEXT),
        "",
        READING,
        "",
    ]
    if picture:
        lines += ["## Trade-off of the two tasks", "", f"![Pareto plot]({picture})", "", PARETO, ""]
    runs = [f"- {job.directory.name}: {job.label}, {job.state}" for job in jobs]
    return "\n".join([*lines, "## Runs", "", *runs, ""])


def missing_lines(jobs: Sequence[Job], stage: str) -> list[str]:
    """What is not in the figures, why, and how to run it; empty where all runs are there."""
    lost = [job for job in jobs if stage not in job.run.stages]
    if not lost:
        return []
    lines = [f"## Missing: {len(lost)} of {len(jobs)} runs", ""]
    for job in lost:
        lines += [f"- {job.directory.name} ({job.label}), {job.error}: `{job.rerun()}`"]
    return [*lines, ""]


def terminal_table(heads: Sequence[str], rows: Rows) -> Table:
    """The same cells for the terminal."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, caption=READING)
    for k, head in enumerate(heads):
        text = k in TEXT
        table.add_column(
            head.replace(" ", "\n") if not text else head,
            justify="left" if text else "right",
            no_wrap=not text,
        )
    for row in rows:
        if row[0] and table.row_count:
            table.add_section()
        table.add_row(*(cell.replace("[", "\\[") for cell in row))
    return table


def csv_lines(
    jobs: Sequence[Job], results: Sequence[Result], names: Mapping[str, str]
) -> list[dict[str, Any]]:
    """One line per run and source; a run without figures has one line with its state."""
    by_number = {result.job.number: result for result in results}
    lines: list[dict[str, Any]] = []
    for job in jobs:
        first = {"run": job.number, "state": job.state, **job.values}
        result = by_number.get(job.number)
        if result is None:
            lines.append(first | _line(None, None, names))
        else:
            lines += [first | _line(result, source, names) for source in names]
    return lines


def _line(result: Result | None, source: str | None, names: Mapping[str, str]) -> dict[str, Any]:
    known = result is not None and source is not None
    return {
        "monitor": result.monitor if known else None,
        "validation": result.score if known else None,
        "source": source,
        "display_name": names[source] if known else None,
        **{figure: result.figure(source, figure) if known else None for figure in FIGURES},
        "evaluation": str(result.evaluation["out_dir"]) if known else None,
    }


def _short(values: Mapping[str, Any]) -> str:
    return spread_text(dict(values)).partition(" (")[0]
