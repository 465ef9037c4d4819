"""One table per source, for the terminal and as Markdown: values, changes, paired tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from brainmtl.evaluation.comparison.figures import FIGURES
from brainmtl.evaluation.table import NOT_DEFINED
from brainmtl.markdown import markdown_table

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = {
    "figure": "Figure",
    "evaluation": "Evaluation",
    "value": "Value\n(95 % interval)",
    "sd": "SD over\nseeds",
    "baseline": "Against",
    "change": "Change",
    "difference": "Paired difference\n(95 % interval)",
    "p": "p",
    "p_holm": "p\n(Holm)",
    "verdict": "Verdict\n(margin)",
    "test": "Test",
}
TEXT = ("figure", "evaluation", "baseline", "verdict", "test")
OPTIONAL = ("sd", "verdict")  # where an evaluation has several seeds, where a margin is given
NARROW = ("p",)  # left to the files: the terminal has no room for it
# Nor for these, which stand there as a second line of another cell.
FOLDED = {"sd": ("value", "SD over seeds {}"), "verdict": ("difference", "{}")}
TESTS = {
    "Wilcoxon signed-rank": "Wilcoxon",
    "McNemar exact": "McNemar",
    "cluster bootstrap": "bootstrap",
}


def source_rows(values: Mapping[str, Any]) -> tuple[list[dict[str, str]], list[str]]:
    """(cells per line in the order of :data:`COLUMNS`, notes that the last cells number)."""
    rows: list[dict[str, str]] = []
    notes: list[str] = []
    for figure, entries in values["figures"].items():
        heading = f"{FIGURES[figure]}, n = {_size(values, figure)}"
        for k, entry in enumerate(entries):
            tests = [
                test
                for test in values["comparisons"]
                if test["figure"] == figure and test["evaluation"] == entry["evaluation"]
            ]
            for line, test in enumerate(tests or [None]):
                row = dict.fromkeys(COLUMNS, "")
                row["figure"] = heading if not k and not line else ""
                if not line:
                    sd = "" if entry["sd"] is None else f"{entry['sd']:.3f}"
                    row |= {"evaluation": entry["evaluation"], "value": _value(entry), "sd": sd}
                own_notes = [] if line else [entry["interval"].get("note")]
                if test is not None:
                    row |= _test_cells(test)
                    own_notes += [test["note"], test["verdict_note"]]
                numbers = _numbered([note for note in own_notes if note], notes)
                row["test"] = f"{row['test']} {numbers}".strip()
                rows.append(row)
    return rows, notes


def shown_columns(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Keys of :data:`COLUMNS`, the optional ones where a line has something to say in them."""
    return [key for key in COLUMNS if key not in OPTIONAL or any(row[key] for row in rows)]


def source_table(values: Mapping[str, Any]) -> Table:
    """For the terminal, at least 120 columns wide; notes stand below it."""
    from rich import box
    from rich.table import Table

    rows, notes = source_rows(values)
    caption = "\n".join(f"[{k}] {note}" for k, note in enumerate(notes, 1))
    table = Table(
        title=values["display_name"],
        caption=caption.replace("[", "\\["),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    shown = [key for key in shown_columns(rows) if key not in (*NARROW, *FOLDED)]
    for key in shown:
        text = key in TEXT  # names may wrap, figures must stay whole
        table.add_column(
            COLUMNS[key], justify="left" if text else "right", no_wrap=not text, overflow="fold"
        )
    for row in rows:
        if row["figure"] and table.row_count:
            table.add_section()
        cells = row | {
            place: f"{row[place]}\n{words.format(row[key])}"
            for key, (place, words) in FOLDED.items()
            if row[key]
        }
        table.add_row(*(cells[key].replace("[", "\\[") for key in shown))
    return table


def source_markdown(values: Mapping[str, Any]) -> list[str]:
    """The same cells as lines of Markdown."""
    rows, notes = source_rows(values)
    shown = shown_columns(rows)
    headings = [COLUMNS[key].replace("\n", " ") for key in shown]
    text = [k for k, key in enumerate(shown) if key in TEXT]
    cells = ([row[key] for key in shown] for row in rows)
    lines = [*markdown_table(headings, cells, text), ""]
    return lines + [line for k, note in enumerate(notes, 1) for line in (f"[{k}] {note}", "")]


def _size(values: Mapping[str, Any], figure: str) -> str:
    if figure == "dice":
        return str(values["n_patients_with_tumour"])
    images, groups = values["n_labelled_images"], values["n_groups"]
    return str(images) if images == groups else f"{images}/{groups}"


def _value(entry: Mapping[str, Any]) -> str:
    if entry["value"] is None:
        return NOT_DEFINED
    interval = entry["interval"]
    if interval["low"] is None:
        return f"{entry['value']:.3f}"
    return f"{entry['value']:.3f} ({interval['low']:.3f} to {interval['high']:.3f})"


def _test_cells(test: Mapping[str, Any]) -> dict[str, str]:
    change = test["change"]
    cells = {
        "baseline": test["baseline"],
        "change": NOT_DEFINED if change is None else f"{change:+.3f}",
        "verdict": f"{test['verdict']} ({test['margin']:g})" if test["verdict"] else "",
    }
    if test["p"] is None:
        return cells
    difference = f"{test['estimate']:+.3f}"
    if test["low"] is not None:
        difference += f" ({test['low']:+.3f} to {test['high']:+.3f})"
    return cells | {
        "difference": difference,
        "p": _p(test["p"]),
        "p_holm": _p(test["p_holm"]),
        "test": TESTS.get(test["test"], test["test"]),
    }


def _p(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _numbered(own: list[str], notes: list[str]) -> str:
    """References to ``own`` notes, which join ``notes`` where they are new."""
    own = list(dict.fromkeys(own))  # a test and its verdict may have the same reason
    notes += [note for note in own if note not in notes]
    return " ".join(f"[{notes.index(note) + 1}]" for note in own)
