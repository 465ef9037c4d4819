"""One line per run of an outputs folder, from small JSON files alone."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainmtl.errors import ConfigError
from brainmtl.training.run_folder.records import RECORD, Run, read_run
from brainmtl.training.run_folder.status import STATUS
from brainmtl.words import duration, quantity

if TYPE_CHECKING:
    from rich.table import Table

Line = dict[str, Any]
# Key of sort=... -> key of a line, and whether large values come first.
SORTS = {
    "date": ("date", True),
    "name": ("name", False),
    "state": ("state", False),
    "model": ("model", False),
    "lambda": ("lambda_cls", False),
    "seed": ("seed", False),
    "score": ("score", True),
    "minutes": ("minutes", True),
}
MAX_DEPTH = 4  # outputs/<experiment>/<date>/<job>
LEGEND = (
    "stage: the last finished one, and how many are; below it, how many epochs of the next. "
    "score: best validation monitor of the stage; Dice per patient and balanced accuracy (bal.) of "
    "the last evaluated stage; *: values of the choice were changed; -: not evaluated or not recorded."
)


def overview(folder: str | Path, sort: str = "date", split: str = "test") -> list[Line]:
    """One line per run below ``folder``, ordered by ``sort`` (:data:`SORTS`; ``-KEY``: reversed).

    Raises:
        ConfigError: no such folder, or an unknown order.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ConfigError(f"dir={folder} does not exist: give a folder with runs, such as outputs")
    reverse, name = str(sort).startswith("-"), str(sort).removeprefix("-")
    if name not in SORTS:
        raise ConfigError(f"sort={sort} is unknown: choose one of {', '.join(SORTS)}, or -KEY")
    key, largest_first = SORTS[name]
    lines = [_line(read_run(path), root, split) for path in _run_folders(root)]
    known = sorted(
        (line for line in lines if line[key] is not None),
        key=lambda line: line[key],
        reverse=largest_first != reverse,
    )
    if key == "score":  # an unfinished run's score is of an earlier stage, with another monitor
        known.sort(key=lambda line: line["state"] != "finished")
    return known + [line for line in lines if line[key] is None]


def overview_table(lines: Sequence[Line], folder: str | Path) -> Table:
    """For the terminal: one row per run, two columns of figures per source."""
    from rich import box
    from rich.table import Table

    finished = sum(line["state"] == "finished" for line in lines)
    table = Table(
        title=f"{quantity(len(lines), 'runs')} in {folder}, {finished} finished",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        caption=LEGEND,
    )
    sources = _sources(lines)
    for head in ("run", "started", "state", "stage", "model", "augm."):
        table.add_column(head, overflow="fold", no_wrap=head in ("started", "stage"))
    for head in ("lambda", "seed", "score", "min"):
        table.add_column(head, justify="right", no_wrap=True)
    for name in sources.values():
        head = name.replace(" (", "\n(")
        table.add_column(f"{head}\nDice  bal.", justify="right", no_wrap=True)
    for line in lines:
        figures = [_figures(line, source) for source in sources]
        left = line["minutes_left"]
        texts = [
            line["name"],
            line["started"],
            line["state"] + (f", {duration(60 * left)} left" if left else ""),
            "\n".join(filter(None, (line["stage"], line["epoch"]))),
            line["model"],
            line["augmentation"],
        ]
        numbers = [line["lambda_cls"], line["seed"], line["score"], line["minutes"]]
        formats = ("{:g}", "{}", "{:.3f}", "{:.1f}")
        cells = [
            "-" if value is None else text.format(value)
            for value, text in zip(numbers, formats, strict=True)
        ]
        table.add_row(*(str(text or "-").replace("[", "\\[") for text in texts), *cells, *figures)
    return table


def overview_csv(lines: Sequence[Line], path: Path) -> None:
    """Write all columns, the figures of every source among them."""
    names = list(dict.fromkeys(name for line in lines for name in line["figures"]))
    columns = [name for name in (lines[0] if lines else {}) if name not in ("figures", "names")]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([*columns, *names])
        for line in lines:
            writer.writerow(
                [*(line[c] for c in columns), *(line["figures"].get(name) for name in names)]
            )


def _run_folders(root: Path) -> Iterator[Path]:
    """Folders of runs below ``root``, each once; nothing below a run is looked at."""

    def walk(folder: Path, depth: int) -> Iterator[Path]:
        with os.scandir(folder) as entries:
            children = sorted((e for e in entries if not e.name.startswith(".")), key=_name)
        folders = [Path(e.path) for e in children if e.is_dir(follow_symlinks=False)]
        if any(e.name == STATUS for e in children) or any(
            (path / RECORD).is_file() for path in folders
        ):
            yield folder
        elif depth < MAX_DEPTH:
            for path in folders:
                yield from walk(path, depth + 1)

    yield from walk(root, 0)


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _line(run: Run, root: Path, split: str) -> Line:
    settings = run.status.get("settings") or {}
    planned = run.status.get("stages") or list(run.stages)
    last = next(reversed(run.stages), None)
    record = run.stages.get(last) if last else None
    evaluated, figures, names = _evaluation(run, split)
    seconds, left = run.training_seconds, run.seconds_left
    relative = run.directory.relative_to(root)
    return {
        "name": str(relative) if relative.parts else run.directory.name,
        "date": _date(run),
        "started": _date(run)[5:16].replace("T", " "),
        "state": run.state,
        "stage": f"{last or '-'} {len(run.stages)}/{len(planned)}",
        "epoch": ", ".join(f"{name} {p.epoch}/{p.epochs}" for name, p in run.now.items()) or None,
        "model": settings.get("model"),
        "augmentation": settings.get("augmentation"),
        "lambda_cls": settings.get("lambda_cls"),
        "seed": settings.get("seed"),
        "fold": settings.get("fold"),
        "monitor": record["monitor"] if record else None,
        "score": record["score"] if record else None,
        "minutes": round(seconds / 60, 2),
        "minutes_left": None if left is None else round(left / 60, 3),
        "evaluated_stage": evaluated,
        "error": run.status.get("error"),
        "figures": figures,
        "names": names,
    }


def _evaluation(run: Run, split: str) -> tuple[str | None, dict[str, float | None], dict[str, str]]:
    """(stage, ``{"<source> dice": ...}``, display names) of the last stage that was evaluated."""
    for stage, record in reversed(run.stages.items()):
        origin = record.get("reused_from")
        for place in (run.directory / stage, *([Path(origin)] if origin else [])):
            folder = place / f"evaluation_{split}"
            if (folder / "run.json").is_file():
                metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
                names = json.loads((folder / "run.json").read_text(encoding="utf-8"))
                figures = {}
                for source, values in metrics.items():
                    masks, labels = values["segmentation"] or {}, values["classification"] or {}
                    figures[f"{source} dice"] = masks.get("per_patient", {}).get("dice")
                    for name in ("balanced_accuracy", "roc_auc"):
                        figures[f"{source} {name}"] = labels.get(name)
                return stage, figures, names["display_names"]
    return None, {}, {}


def _date(run: Run) -> str:
    """When it started; of runs without status.json, when their folder changed last."""
    changed = datetime.fromtimestamp(run.directory.stat().st_mtime).astimezone()
    return str(run.status.get("started") or changed.isoformat(timespec="seconds"))


def _sources(lines: Sequence[Line]) -> dict[str, str]:
    return {source: name for line in lines for source, name in line["names"].items()}


def _figures(line: Line, source: str) -> str:
    values = [line["figures"].get(f"{source} {name}") for name in ("dice", "balanced_accuracy")]
    return " ".join("    -" if value is None else f"{value:.3f}" for value in values)
