"""The main choices of a run, flat: for status.json, the overview of runs and TensorBoard."""

from __future__ import annotations

from typing import Any

from hydra.core.hydra_config import HydraConfig

from brainmtl.training.stages import StageConfig

Settings = dict[str, Any]
CHANGED = "*"  # behind the name of a choice of which single values were overridden


def run_settings(options: dict[str, Any]) -> Settings:
    """Plain values of the resolved ``conf/train.yaml``; lists as text, what is not set as None.

    Config groups stand with the name of their choice, and an asterisk where single values of it were
    overridden; called from Python, they are described by their values.
    """
    model, data, loader = options["model"], options["data"], options["loader"]
    return {
        "model": _choice("model") or f"base {model['base_filters']}, depth {model['depth']}",
        "augmentation": _choice("augmentation") or _augmentation(options["augmentation"]),
        "optimizer": _choice("optimizer") or _target(options["optimizer"]),
        "loss": _choice("loss"),
        "lambda_cls": options["loss"].get("lambda_cls"),
        "balance": _choice("balance") or _target(options["balance"]),
        "adversary": _choice("adversary") or _target(options["adversary"]),
        "seed": options["seed"],
        "fold": data.get("fold"),
        "loader": loader.get("loader"),
        "mixed_ratio": loader.get("mixed_ratio"),
        "balance_labels": loader.get("balance_labels"),
        "balance_sources": data.get("balance_sources"),
        "batch_size": data.get("batch_size"),
        "images_per_epoch": data.get("images_per_epoch"),
        "lr_scale": options["optimizer"].get("lr_scale"),
        "weight_decay": options["optimizer"].get("weight_decay"),
        "norm": model.get("norm"),
        "dropout": model.get("dropout"),
        "ema_decay": options["ema_decay"],
        "members": options["members"],
        "precision": options["precision"]["value"],
        "seg_sources": _text(data.get("seg_sources")),
        "cls_sources": _text(data.get("cls_sources")),
    }


def stage_settings(options: dict[str, Any], stage: StageConfig) -> Settings:
    """:func:`run_settings` with what this stage has of its own: loader, learning rates, epochs."""
    own = {name: stage.loader.get(name) for name in ("loader", "mixed_ratio", "balance_labels")}
    rates = {
        f"lr_{part}": rate if part in stage.train else None
        for part, rate in stage.learning_rates.items()
    }
    return {
        "stage": stage.name,
        **run_settings(options),
        **own,
        **rates,
        "max_epochs": stage.max_epochs,
    }


def _choice(group: str) -> str | None:
    """The name of a config group's choice; None where Hydra does not run this."""
    if not HydraConfig.initialized():
        return None
    hydra = HydraConfig.get()
    name = hydra.runtime.choices.get(group)
    changed = any(text.lstrip("+~").startswith(f"{group}.") for text in hydra.overrides.task)
    return f"{name}{CHANGED}" if name and changed else name


def _target(values: dict[str, Any] | None) -> str | None:
    return values["_target_"].rsplit(".", 1)[-1] if values else None


def _augmentation(values: dict[str, Any] | None) -> str:
    steps = [step for name, step in (values or {}).items() if not name.startswith("_")]
    return "by hand" if any(steps) else "none"


def _text(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list) else value
