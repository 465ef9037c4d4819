"""The model card: what a model is for, what it was measured on, and what it must not be used for.

The entries follow the metadata of MONAI's model zoo and the sections of Mitchell et al. 2019, "Model
Cards for Model Reporting".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from brainmtl.data.preprocessing.preprocess import IMAGE_SIZE
from brainmtl.evaluation.report.card import card_markdown
from brainmtl.evaluation.report.closing import NOTICE, command, limits, software
from brainmtl.evaluation.report.text import counts_of, lookup
from brainmtl.files import write_json, write_text
from brainmtl.inference.operating.bands import Band

CARD_VERSION = "1"
INTENDED_USE = (
    "Research on joint segmentation and classification of brain tumours in two-dimensional MRI "
    "slices: development, comparison and teaching of methods, on data like those of its training."
)
OUT_OF_SCOPE = (
    "Diagnosis, triage, treatment or any other decision about a patient.",
    "Ruling a tumour out: a low probability is no finding, not a healthy brain.",
    "Other diseases, other organs, computed tomography, or MRI sequences that it was not trained on.",
    "Children, images after surgery, and scanners or hospitals on which it was not evaluated.",
    "Telling kinds or grades of tumours apart: it knows one class, tumour.",
)
METRICS = (
    *(f"classification.{name}" for name in ("balanced_accuracy", "accuracy", "majority_baseline")),
    *(f"classification.{name}" for name in ("sensitivity", "specificity", "roc_auc", "pr_auc")),
    *(f"classification.{name}" for name in ("brier", "ece")),
    *(f"segmentation.per_patient.{name}" for name in ("dice", "gated_dice", "nsd", "hd95")),
    "segmentation.per_patient.volume_error_ml",
    *(f"segmentation.{name}" for name in ("dice", "nsd", "hd95")),
    *(f"patient.{name}" for name in ("sensitivity", "specificity")),
)
REFERENCES = (
    "Mitchell et al. 2019, Model Cards for Model Reporting, doi:10.1145/3287560.3287596",
    "Ronneberger et al. 2015, U-Net, doi:10.1007/978-3-319-24574-4_28",
)


def build_card(
    result: Mapping[str, Any], run: Mapping[str, Any], bands: Sequence[Band]
) -> dict[str, Any]:
    """The contents of ``model_card.json``, plain JSON values; docs/evaluation.md lists the keys.

    Args:
        result: contents of metrics.json.
        run: contents of run.json.
        bands: the advice per band of the calibrated probability.
    """
    versions = software()
    return {
        "card_version": CARD_VERSION,
        "name": f"brainmtl {run['stage']}",
        "version": versions["brainmtl"],
        "task": "Segmentation of brain tumour in MRI slices, and classification of whether there is one",
        "notice": NOTICE,
        "medical_device": False,
        "license": "MIT",
        "intended_use": INTENDED_USE,
        "out_of_scope_use": list(OUT_OF_SCOPE),
        "stage": run["stage"],
        "checkpoint": run["checkpoint"],
        "checkpoint_sha256": run["checkpoint_sha256"],
        "folds": run["folds"],
        "training_sources": list(run["training_sources"]),
        "synthetic_training": run["synthetic_training"],
        "pretrained": run.get("pretrained"),
        "trainings": run.get("trainings", 1),
        "evaluation_sources": list(result),
        "synthetic_evaluation": [name for name, values in result.items() if values["synthetic"]],
        "split": run["split"],
        "data": {source: _data(source, values, run) for source, values in result.items()},
        "manifest_sha256": run["manifest_sha256"],
        "preprocessing_version": run["preprocessing_version"],
        "image_size": [IMAGE_SIZE, IMAGE_SIZE],
        "network_data_format": _data_format(),
        "operating_point": dict(run["operating_point"]),
        "bands": [asdict(band) for band in bands],
        "eval_metrics": {source: _metrics(values) for source, values in result.items()},
        "limits": limits(result, run, _counted(result, run)),
        "remarks": list(run["remarks"]),
        "command": command(run),
        "software": versions,
        "references": list(REFERENCES),
    }


def write_card(folder: str | Path, card: Mapping[str, Any]) -> dict[str, Path]:
    """Write ``model_card.json`` and ``model_card.md``; their paths under ``json`` and ``markdown``."""
    folder = Path(folder)
    paths = {"json": folder / "model_card.json", "markdown": folder / "model_card.md"}
    write_json(paths["json"], card)
    write_text(paths["markdown"], card_markdown(card))
    return paths


def _counted(result: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """As :func:`.report.overview.count_sources`, from the figures alone: every labelled group takes
    part in the accuracy, so the n of its interval is their number."""
    found = {}
    for source, values in result.items():
        patients = values["patient"] is not None
        found[source] = {
            "name": run["display_names"][source],
            "synthetic": values["synthetic"],
            "unit": "patients" if patients else "patients or duplicate groups",
            "groups": (values["intervals"].get("classification.accuracy") or {}).get("n"),
        }
    return found


def _data(source: str, values: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    """What one source contributed; counts of what it lacks are None."""
    return {
        "display_name": run["display_names"][source],
        "synthetic": values["synthetic"],
        "seen_in_training": source in run["training_sources"],
        "n_images": values["n_images"],
        "n_labelled": lookup(values, "classification.n"),
        "n_with_tumour": lookup(values, "classification.n_positive"),
        "n_without_tumour": lookup(values, "classification.n_negative"),
        "n_patients_with_tumour_mask": lookup(values, "segmentation.per_patient.n"),
        "n_cases_with_mask": lookup(values, "segmentation.per_patient.n_cases"),
    }


def _metrics(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted key of metrics.json -> value, interval (None with a note where there is none), counts.

    Figures of a task that the source has no annotation for are left out.
    """
    found = {}
    for key in METRICS:
        if values[key.partition(".")[0]] is None:
            continue
        interval = values["intervals"].get(key) or {}
        found[key] = {
            "value": lookup(values, key),
            **{name: interval.get(name) for name in ("low", "high", "method", "n", "note")},
            "counts": counts_of(values, key),
        }
    return found


def _data_format() -> dict[str, Any]:
    """Inputs and outputs in the words of the MONAI model zoo."""
    return {
        "inputs": {
            "image": {
                "type": "image",
                "format": "magnitude",
                "modality": "MR",
                "spatial_shape": [IMAGE_SIZE, IMAGE_SIZE],
                "dtype": "float32",
                "is_patch_data": False,
                "description": "One slice, prepared by brainmtl.data.preprocessing.preprocess of the version named here",
            }
        },
        "outputs": {
            "seg": {
                "type": "logits",
                "format": "segmentation",
                "spatial_shape": [IMAGE_SIZE, IMAGE_SIZE],
                "dtype": "float32",
                "num_channels": 1,
                "channel_def": {"0": "tumour"},
            },
            "cls": {
                "type": "logits",
                "format": "classification",
                "dtype": "float32",
                "num_channels": 2,
                "channel_def": {"0": "no tumour", "1": "tumour"},
            },
        },
    }
