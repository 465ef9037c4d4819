"""The table per stage and source, for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from brainmtl.markdown import markdown_table

if TYPE_CHECKING:
    from rich.table import Table

# Key of a row -> heading. `dice` is per patient in the original grid, the others are per slice.
COLUMNS = {
    "stage": "Stage",
    "source": "Source",
    "dice": "Dice\nper\npa-\ntient",
    "dice_slice": "Dice\nper\nslice",
    "iou": "IoU\nper\nslice",
    "n_seg": "n\nseg.",
    "accuracy": "Accu-\nracy",
    "majority_baseline": "Majo-\nrity\nbase-\nline",
    "balanced_accuracy": "Bal-\nanced\naccu-\nracy",
    "sensitivity": "Sensi-\ntivity",
    "specificity": "Speci-\nficity",
    "roc_auc": "ROC-\nAUC",
    "n": "n\ncls.",
    "seconds": "Sec-\nonds",
}
MIN_WIDTH = 120  # narrower, rich would cut figures
NOT_DEFINED = "n/d"
NOT_MEASURED = "-"
LEGEND = (
    "n seg.: patients / slices with reference tumour; n cls.: images or slices with a label; "
    "n/d: not defined (only one class, or nothing to divide by); "
    "-: the source has no such annotation."
)


def stage_rows(
    stage: str, evaluation: dict[str, Any], seconds: float | None = None
) -> list[dict[str, Any]]:
    """Table rows of one evaluation (what :func:`brainmtl.evaluation.run.evaluate` returned).

    ``seconds`` is what the column shows, the wall time of the stage's training for instance;
    by default the time that the evaluation of each source took.
    """
    rows = []
    for source, values in evaluation["metrics"].items():
        own = values["classification"] or {}
        mask = values["segmentation"] or {}
        patients = mask.get("per_patient", {})
        rows.append(
            {
                "stage": stage,
                "source": evaluation["run"]["display_names"][source],
                "source_key": source,
                "synthetic": values["synthetic"],
                "dice": _value(patients, "dice"),
                "dice_slice": _value(mask, "dice"),
                "iou": _value(mask, "iou"),
                "n_seg": f"{patients['n']}/{mask['n']}" if mask else NOT_MEASURED,
                **{
                    key: _value(own, key)
                    for key in (
                        "accuracy",
                        "majority_baseline",
                        "balanced_accuracy",
                        "sensitivity",
                        "specificity",
                        "roc_auc",
                        "n",
                    )
                },
                "seconds": evaluation["run"]["seconds"][source] if seconds is None else seconds,
            }
        )
    return rows


def stage_table(rows: Sequence[dict[str, Any]], title: str | None = None) -> tuple[Table, str]:
    """``(rich table, Markdown)`` of rows from :func:`stage_rows`, in the order given.

    The rich table needs about 110 columns: print it with :func:`print_table`.
    """
    from rich import box
    from rich.table import Table

    table = Table(
        title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, caption=LEGEND
    )
    for key, heading in COLUMNS.items():
        text = key in ("stage", "source")
        # Names may wrap, figures must stay whole.
        table.add_column(heading, justify="left" if text else "right", no_wrap=not text)
    shown: list[list[str]] = []
    previous = None
    for row in rows:
        cells = {key: _cell(row[key], key) for key in COLUMNS}
        shown.append(list(cells.values()))
        if previous == row["stage"]:
            cells["stage"] = ""  # named once per block
        elif previous is not None:
            table.add_section()
        previous = row["stage"]
        table.add_row(*cells.values())
    heads = list(map(_one_line, COLUMNS.values()))
    text = [k for k, key in enumerate(COLUMNS) if key in ("stage", "source")]
    return table, "\n".join([*markdown_table(heads, shown, text), "", LEGEND, ""])


def print_table(table: Table) -> None:
    """Print to stdout; in a log, or a terminal too narrow for it, MIN_WIDTH columns wide."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal or console.width < MIN_WIDTH:
        console = Console(width=MIN_WIDTH)
    console.print(table)


def _one_line(heading: str) -> str:
    """A heading without its line breaks and their hyphens; "ROC-AUC" keeps its own."""
    return heading.replace("ROC-\n", "ROC-").replace("-\n", "").replace("\n", " ")


def _value(values: dict[str, Any], key: str) -> Any:
    if key not in values:
        return NOT_MEASURED
    return NOT_DEFINED if values[key] is None else values[key]


def _cell(value: Any, key: str) -> str:
    if isinstance(value, float):
        return f"{value:.1f}" if key == "seconds" else f"{value:.3f}"
    return str(value)
