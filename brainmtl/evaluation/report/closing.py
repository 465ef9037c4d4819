"""What the figures do not show, drawn from the facts of the run, and where they come from."""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from brainmtl.data.manifest import all_synthetic
from brainmtl.evaluation.options import EvaluationOptions
from brainmtl.evaluation.report.document import Block, table
from brainmtl.evaluation.report.overview import UNNAMED, training_names
from brainmtl.evaluation.report.text import number
from brainmtl.evaluation.sites import unseen_sites
from brainmtl.training.continuation.command_line import word
from brainmtl.words import quantity

FEW_GROUPS = 30
PACKAGES = (
    "brainmtl",
    "torch",
    "monai",
    "pytorch-lightning",
    "numpy",
    "scipy",
    "scikit-learn",
    "statsmodels",
)
NOTICE = "Research software, not a medical device, and not for decisions about patients."


def limits(
    result: Mapping[str, Any], run: Mapping[str, Any], counted: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Sentences on what these figures do not show; each follows from the data at hand.

    ``counted`` is what :func:`.overview.count_sources` returns; of it, ``name, synthetic, unit`` and
    ``groups`` (None: not known) are used.
    """
    found = []
    for source, values in result.items():
        found += _source_limits(values, counted[source])
    unseen = [counted[s]["name"] for s in result if s not in run["training_sources"]]
    if unseen:
        found.append(
            f"Never trained on: {', '.join(unseen)}. Such figures say how far the model carries over "
            "to another collection, and only to this one."
        )
    apart = unseen_sites(result)
    for source, names in apart.items():
        found.append(
            f"{counted[source]['name']}: no patient of {', '.join(names)} was trained on, so these figures "
            "say how the model carries over to another institution; who annotated and prepared the images "
            "is the same as in training."
        )
    known = [
        counted[source]["name"]
        for source, values in result.items()
        if source in run["training_sources"]
        and apart.get(source) != list(values.get("sites") or ())  # some were trained on
    ]
    if known:
        found.append(
            f"{', '.join(known)}: other cases of the very collections of training. Nothing here says how "
            "the model does on other scanners, sequences, hospitals or age groups."
        )
    if run["folds"]:
        found.append(
            f"The figures merge {len(run['folds'])} models, one per fold. They say what training in "
            "this way gives; no single checkpoint was measured on all of these cases, and the models "
            "share most of their training data, so that the intervals are somewhat too narrow."
        )
    return [*found, *_readers(counted), *_training(run)]


def _source_limits(values: Mapping[str, Any], counted: Mapping[str, Any]) -> list[str]:
    name, found = counted["name"], []
    if counted["groups"] is not None and counted["groups"] < FEW_GROUPS:
        found.append(
            f"{name}: only {quantity(counted['groups'], counted['unit'])}. One more or one less difficult case "
            "would move these figures; read the intervals, not the values."
        )
    if counted["unit"] == UNNAMED and not counted["synthetic"]:
        found.append(
            f"{name}: where pictures name no patient, near-duplicates are kept together, but two "
            "different pictures of one person may count as two."
        )
    if values["classification"] is None:
        found.append(f"{name}: no labels, so nothing is said about calling an image tumour.")
    elif values["classification"]["balanced_accuracy"] is None:
        found.append(f"{name}: labels of one class only, so sensitivity or specificity is unknown.")
    if values["segmentation"] is None:
        found.append(
            f"{name}: no reference masks, so nothing is said about the outlines drawn there."
        )
    patient = values["patient"]
    if patient is not None and not patient["n_negative"]:
        found.append(
            f"{name}: no healthy patients. Negative slices come from patients with a tumour, whose "
            "other slices may give it away; healthy people may be called ill more often."
        )
    return found


def _readers(counted: Mapping[str, Mapping[str, Any]]) -> list[str]:
    real = [s["name"] for s in counted.values() if not s["synthetic"]]
    made_up = [s["name"] for s in counted.values() if s["synthetic"]]
    found = []
    if real:
        found.append(
            f"{', '.join(real)}: one set of reference masks and labels is taken as the truth. How far "
            "two human readers would agree on these images is not known, nor whether the model lies "
            "within that range."
        )
    if made_up:
        found.append(
            f"{', '.join(made_up)}: synthetic images have exact masks and simple tumours. Their figures "
            "show that the pipeline works and are no estimate for patients."
        )
    return found


def _training(run: Mapping[str, Any]) -> list[str]:
    found = [
        "No reader study: whether a reader with this model does better than without was not measured."
    ]
    if run["synthetic_training"]:
        found.append(
            "The model has learnt from synthetic images only."
            if all_synthetic(run["training_sources"])
            else "The model has learnt from synthetic images too."
        )
    if run.get("pretrained"):
        found.append(f"Its first weights were trained on {run['pretrained']}.")
    if run.get("trainings", 1) > 1:
        found.append(
            f"Its weights are the mean of {run['trainings']} trainings from the same start."
        )
    return found


def software() -> dict[str, str]:
    """Versions of Python and of the packages that decide figures."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a checkout that was never installed
            found[name] = "not installed"
    return found


def command(run: Mapping[str, Any]) -> str:
    """The command line that gives these figures again."""
    given = run.get("options", {})
    if run["folds"]:  # <dir>/<job>/<stage>/checkpoints/best.ckpt, one per fold
        folder = Path(run["checkpoint"].split(".ckpt, ")[0]).parents[3]
        options = {"dir": folder, "stage_name": run["stage"], "data_dir": run["data_dir"]}
        words = ["python", "-m", "brainmtl.crossval"]
    else:
        options = {"ckpt": run["checkpoint"], "data_dir": run["data_dir"], "split": run["split"]}
        words = ["python", "evaluate.py"]
    words += [word(key, value) for key, value in options.items()]
    return " ".join([*words, *map(shlex.quote, _changed(given))])


def _changed(given: Mapping[str, Any]) -> list[str]:
    """The options that are not at their defaults, as Hydra takes them."""
    usual = {"sources": None, "fold": "auto"} | EvaluationOptions().record()
    found = []
    for name, value in given.items():
        if isinstance(value, Mapping):
            found += [f"{name}.{key}={_hydra(inner)}" for key, inner in value.items()]
        elif value != usual.get(name):
            found.append(f"{name}={_hydra(value)}")
    return found


def _hydra(value: Any) -> str:
    """``null``, ``true``, ``[a,b]``: values as the command line writes them."""
    if isinstance(value, list):
        return f"[{','.join(map(_hydra, value))}]"
    return value if isinstance(value, str) else json.dumps(value)


def provenance(run: Mapping[str, Any], versions: Mapping[str, str]) -> list[Block]:
    """Hashes, versions, command and time."""
    rows = [
        ["Checkpoint", run["checkpoint"]],
        ["Checkpoint, SHA-256", run["checkpoint_sha256"]],
        ["Stage", run["stage"]],
        ["Trained on", training_names(run)],
        ["Data folder", run["data_dir"]],
        ["Manifest, SHA-256", run["manifest_sha256"]],
        ["Split", run["split"]],
        ["Folds", _folds(run)],
        ["Preprocessing version", run["preprocessing_version"]],
        [
            "Device, precision, batch size",
            f"{run['device']}, {run['precision']}, {run['batch_size']}",
        ],
        ["Command", command(run)],
        ["Software", ", ".join(f"{name} {found}" for name, found in versions.items())],
        *(
            [f"Seconds, {run['display_names'].get(source, source)}", number(seconds, 1)]
            for source, seconds in run["seconds"].items()
        ),
    ]
    return [
        table(
            ["", ""],
            [[label, "none" if value is None else value] for label, value in rows],
            text_columns=(0, 1),
        )
    ]


def _folds(run: Mapping[str, Any]) -> str:
    return ", ".join(map(str, run["folds"])) if run["folds"] else "none"
