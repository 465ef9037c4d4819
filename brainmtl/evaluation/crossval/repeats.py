"""Several cross-validations of one recipe: how much the figures move with the seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from brainmtl.errors import ConfigError
from brainmtl.evaluation.crossval.folds import find_folds
from brainmtl.evaluation.metrics import mean_sd
from brainmtl.files import write_json, write_text
from brainmtl.markdown import markdown_table
from brainmtl.training.run_folder.recipe import FOLD, SEEDS, recipe_differences
from brainmtl.training.run_folder.run_record import show

FIGURES = {
    "segmentation.per_patient.dice": "Dice per patient",
    "segmentation.per_patient.gated_dice": "Dice per patient, as served",
    "segmentation.dice": "Dice per slice",
    "classification.balanced_accuracy": "Balanced accuracy",
    "classification.roc_auc": "ROC-AUC",
    "classification.sensitivity": "Sensitivity",
    "classification.specificity": "Specificity",
}


def check_repeats(folders: Sequence[str | Path], stage: str) -> None:
    """Refuse what the SD over repeats would be wrong of.

    Raises:
        ConfigError: a folder that is given twice, or trainings that differ in more than seed and data;
            also as :func:`.folds.find_folds`.
    """
    places = [Path(folder).resolve() for folder in folders]
    for k, place in enumerate(places):
        if place in places[:k]:
            raise ConfigError(
                f"dir={folders[k]} is given twice: repeats are trainings of their own"
            )
    first, *others = [find_folds(Path(folder), stage)[0] for folder in folders]
    for other in others:
        if found := recipe_differences(first.meta["config"], other.meta["config"], (*SEEDS, *FOLD)):
            raise ConfigError(
                f"{first.checkpoint} and {other.checkpoint} were trained with different options "
                f"({show(found)}): repeats are of one recipe. Compare two recipes by "
                "`python -m brainmtl.compare`"
            )


def summarise_repeats(found: Sequence[dict[str, Any]]) -> Path:
    """Write ``repeats.json`` and ``repeats.md`` beside the first one's files; returns the latter.

    Args:
        found: what :func:`brainmtl.evaluation.crossval.run.cross_validate` gave for each.

    The SD is over repeats: the luck of seeds and splits. It is no interval over patients, who are
    the same in every repeat; those intervals stand in each repeat's own report.
    """
    sources = sorted({source for repeat in found for source in repeat["metrics"]})
    table = {source: {key: _spread(found, source, key) for key in FIGURES} for source in sources}
    folder = found[0]["out_dir"]
    write_json(
        folder / "repeats.json",
        {"repeats": [str(repeat["out_dir"]) for repeat in found], "sources": table},
    )
    path = folder / "repeats.md"
    write_text(path, _markdown(found, table))
    return path


def _spread(found: Sequence[dict[str, Any]], source: str, key: str) -> dict[str, Any]:
    values = [_value(repeat["metrics"].get(source), key) for repeat in found]
    defined = [value for value in values if value is not None]
    return {
        **mean_sd(values),
        "low": min(defined, default=None),
        "high": max(defined, default=None),
    }


def _value(tree: Any, key: str) -> float | None:
    for name in key.split("."):
        if tree is None:
            return None
        tree = tree.get(name)
    return tree


def _markdown(found: Sequence[dict[str, Any]], table: dict[str, dict[str, dict[str, Any]]]) -> str:
    names = found[0]["run"]["display_names"]
    lines = [
        f"# {len(found)} repeats of a cross-validation",
        "",
        "Mean and SD over repeats: how far seeds and splits move a figure. Intervals over patients are "
        "in the reports of the repeats.",
        "",
    ]
    rows = []
    for source, figures in table.items():
        for key, values in figures.items():
            if values["n"]:
                cells = [_number(values[name]) for name in ("mean", "sd", "low", "high")]
                title = FIGURES[key]
                rows.append([names.get(source, source), title, *cells, str(values["n"])])
    heads = ("Source", "Figure", "Mean", "SD", "Lowest", "Highest", "n")
    lines += markdown_table(heads, rows, text=(0, 1))
    return "\n".join([*lines, "", *(f"- {repeat['out_dir']}" for repeat in found), ""])


def _number(value: float | None) -> str:
    return "n/d" if value is None else f"{value:.3f}"
