"""The model card of an export: that of the evaluation of this very checkpoint, or one that says there is none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from brainmtl.inference.operating.operating_point import OperatingPoint

# What decides about an answer: figures taken with other values are not those of what is served.
DECIDING = (
    *("temperature", "threshold", "seg_gate", "seg_threshold", "postprocess", "tta"),
    *("limit_ml", "limit_voxels"),
)


def find_card(
    ckpt: Path, checkpoint_sha256: str, point: OperatingPoint
) -> tuple[dict[str, Any], str] | None:
    """(card, its Markdown) of the newest finished evaluation beside ``ckpt`` of the test split, else
    of validation, else of any: what a model says of the images that it was trained on is no figure.

    Only of evaluations of this checkpoint with the deciding values of ``point``; None without one.
    """
    folder = ckpt.resolve().parent
    stage_dir = folder.parent if folder.name == "checkpoints" else folder
    # run.json is written last: without it the evaluation is not whole
    seals = sorted(
        stage_dir.glob("evaluation_*/run.json"), key=lambda p: p.stat().st_mtime_ns, reverse=True
    )
    found: list[tuple[dict[str, Any], str]] = []
    for seal in seals:
        try:
            card = json.loads((seal.parent / "model_card.json").read_text(encoding="utf-8"))
            text = (seal.parent / "model_card.md").read_text(encoding="utf-8")
        except (OSError, ValueError):
            continue
        if card.get("checkpoint_sha256") == checkpoint_sha256 and _same_point(card, point):
            found.append((card, text))
    ranks = {"test": 0, "val": 1}
    return min(found, key=lambda one: ranks.get(one[0].get("split"), 2), default=None)


def bare_card(
    ckpt: Path, checkpoint_sha256: str, meta: Mapping[str, Any], point: OperatingPoint
) -> tuple[dict[str, Any], str]:
    """(card, its Markdown) of a model without a fitting evaluation: no metrics, and a remark on that."""
    from brainmtl.evaluation.card import build_card
    from brainmtl.inference.operating.bands import load_bands

    remark = (
        "No evaluation of this checkpoint with this operating point was found beside it: nothing is "
        "known of how well it works. Run `python evaluate.py ckpt=...` and export again."
    )
    run = {
        "checkpoint": str(ckpt),
        "checkpoint_sha256": checkpoint_sha256,
        "stage": meta.get("stage"),
        "split": None,
        "data_dir": None,
        "manifest_sha256": None,
        "folds": None,
        "training_sources": list(meta.get("sources") or []),
        "synthetic_training": bool(meta.get("synthetic_training")),
        "pretrained": meta.get("pretrained"),
        "trainings": meta.get("trainings", 1),
        "preprocessing_version": meta["preprocessing_version"],
        "operating_point": point.to_dict(),
        "display_names": {},
        "remarks": [remark, *point.remarks],
    }
    card = build_card({}, run, load_bands()) | {"command": None}
    return card, _markdown(card)


def _same_point(card: Mapping[str, Any], point: OperatingPoint) -> bool:
    evaluated, served = card.get("operating_point"), point.to_dict()
    return isinstance(evaluated, dict) and all(
        evaluated.get(name) == served[name] for name in DECIDING
    )


def _markdown(card: Mapping[str, Any]) -> str:
    trained = ", ".join(card["training_sources"]) or "unknown sources"
    if card["synthetic_training"]:
        trained += " (synthetic images among them)"
    if card["pretrained"]:
        trained += f", from weights pretrained on {card['pretrained']}"
    lines = [
        f"# Model card: {card['name']}",
        *(f"> {text}" for text in (card["notice"], *card["remarks"])),
        f"{card['task']}. Stage {card['stage']}, trained on {trained}. "
        f"Checkpoint SHA-256 {card['checkpoint_sha256']}.",
        f"## Intended use\n\n{card['intended_use']}",
        "## Out of scope\n\n" + "\n".join(f"- {text}" for text in card["out_of_scope_use"]),
        "## Metrics\n\nNone: this model was not evaluated.",
        "## Caveats\n\n" + "\n".join(f"- {text}" for text in card["limits"]),
    ]
    return "\n\n".join(lines) + "\n"
