"""The text of ``summary.md``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from brainmtl.data.manifest import SYNTHETIC_PREFIX, display_name
from brainmtl.markdown import markdown_table
from brainmtl.training.continuation.command_line import word
from brainmtl.training.run_folder.records import FIGURES, Run, best_of, sources_of
from brainmtl.words import duration

PARTS = ("encoder", "decoder", "head")
NOTE = (
    "Figures of the epoch whose checkpoint is kept, on the **validation** split: they have chosen that "
    "epoch and flatter the model. Held-out figures: "
)


def summary_text(run: Run, picture: str | None) -> str:
    """Markdown of a run: how it went, its stages, validation figures by source, curves, choices."""
    lines = [
        f"# Run {'/'.join(run.directory.resolve().parts[-2:])}",
        "",
        *_course(run),
        *_stages(run),
        *_figures(run),
    ]
    if picture:
        lines += ["## Curves", "", f"![Losses, validation figures, learning rates]({picture})", ""]
    return "\n".join([*lines, *_choices(run)])


def _course(run: Run) -> list[str]:
    status = run.status
    planned = status.get("stages") or list(run.stages)
    state = run.state
    if len(run.stages) == len(planned) and state == "running":
        state = "finished"  # the last stage's end is this moment
    lines = [f"- {state}: {len(run.stages)} of {len(planned)} stages done"]
    if status.get("error"):
        lines.append(f"- failed with {' '.join(status['error'].split())}")
    if status.get("started"):
        ended = f", ended {_time(status['ended'])}" if status.get("ended") else ""
        lines.append(f"- started {_time(status['started'])}{ended}")
    if run.stages:
        lines.append(f"- {duration(run.training_seconds)} of training by this run itself")
    if status.get("command"):
        lines += ["", "```bash", status["command"], "```"]
    return [*lines, ""]


def _stages(run: Run) -> list[str]:
    if not run.stages:
        return []
    heads = ["Stage", "trains", "batches", "epochs", "best epoch", "monitor", "best value"]
    heads += ["duration", "s per epoch", "images/s", "origin"]
    rows = []
    for name, record in run.stages.items():
        history, stage, best = record["history"], record["stage"], best_of(record)
        mean = ", ".join(stage.get("mean_of") or [])
        rows.append(
            [
                name,
                ", ".join(stage["train"]),
                stage["loader"]["loader"],
                None if mean else f"{len(history)} of {stage['max_epochs']}",
                best["epoch"] + 1 if best and not mean else None,
                record["monitor"],
                record["score"],
                duration(record["seconds"]),
                _tenths(_mean(entry.get("seconds") for entry in history)),
                _tenths(images_per_second(history)),
                _origin(record, mean),
            ]
        )
    return ["## Stages", "", *_table(heads, rows, text=(0, 1, 2, 5, 10))]


def _origin(record: dict[str, Any], mean: str) -> str:
    if record.get("reused_from"):
        return f"reused from {record['reused_from']}"
    return f"mean of the weights of {mean}" if mean else "this run"


def _figures(run: Run) -> list[str]:
    rows = []
    for name, record in run.stages.items():
        best = best_of(record)
        for source in sources_of(record):
            values = [best.get(f"val/{key}/{source}") for key in FIGURES]
            if any(value is not None for value in values):
                title = display_name(source, source.startswith(SYNTHETIC_PREFIX))
                rows.append([name, title, *values])
    if not rows:
        return []
    last = run.directory / list(run.stages)[-1] / "checkpoints/best.ckpt"
    return [
        "## Validation figures",
        "",
        *_table(("Stage", "Source", *FIGURES.values()), rows, text=(0, 1)),
        f"{NOTE}`python evaluate.py {word('ckpt', last)}`",
        "",
    ]


def _choices(run: Run) -> list[str]:
    lines = []
    settings = {k: v for k, v in (run.status.get("settings") or {}).items() if v is not None}
    if settings:
        rows = [
            [name, f"{value:g}" if isinstance(value, float) else value]
            for name, value in settings.items()
        ]
        lines += ["## Main choices", "", *_table(("Option", "Value"), rows, text=(0, 1))]
        if any(str(value).endswith("*") for value in settings.values()):
            lines += ["\\*: with values changed on the command line.", ""]
    if run.stages:
        rows = [[name, *_rates(record["stage"])] for name, record in run.stages.items()]
        lines += [
            *_table(("Learning rate of", *PARTS), rows, text=(0,)),
            "A part without a rate is frozen. Everything: `.hydra/config.yaml`.",
            "",
        ]
    return lines


def _rates(stage: dict[str, Any]) -> list[str | None]:
    """Learning rate per part as text; None where the part is frozen."""
    return [f"{stage['learning_rates'][p]:g}" if p in stage["train"] else None for p in PARTS]


def images_per_second(history: Sequence[dict[str, Any]]) -> float | None:
    """Training images per second over all epochs, validation apart; None where nobody counted."""
    counted = [entry for entry in history if entry.get("train_seconds")]
    seconds = sum(entry["train_seconds"] for entry in counted)
    return sum(entry["images"] for entry in counted) / seconds if seconds else None


def _mean(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def _tenths(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[Any]], text: Sequence[int]) -> list[str]:
    return [*markdown_table(heads, (map(_cell, row) for row in rows), text), ""]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.3f}"
    return str(value).replace("|", "\\|")


def _time(text: str) -> str:
    return text[:16].replace("T", " ")
