"""Checkpoints: what they carry, and loading them strictly and without unpickling code."""

from __future__ import annotations

import pickle
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from brainmtl.errors import ConfigError, DataError
from brainmtl.models import create_multi_task_model
from brainmtl.models.multitask import MultiTaskModel

PREFIX = "model."
# What reading a damaged archive can raise, beside errors of values and of the system.
ZIP = (zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of this project with ``weights_only=True``, on the CPU.

    Raises:
        DataError: missing, damaged, or written by something else.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(
            f"{path}: no such checkpoint; give a best.ckpt or last.ckpt of a run in outputs/"
        )
    try:
        _verify(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError, *ZIP) as error:
        raise DataError(
            f"{path} cannot be read as a checkpoint ({str(error).splitlines()[0]})"
        ) from error
    if (
        not isinstance(checkpoint, dict)
        or "brainmtl" not in checkpoint
        or "state_dict" not in checkpoint
    ):
        raise DataError(f"{path} is no checkpoint of brainmtl: it lacks the run's description")
    return checkpoint


def _verify(path: Path) -> None:
    """Compare the file with the CRC-32 of its records, which torch writes and does not look at."""
    if not zipfile.is_zipfile(path):
        raise EOFError("it is no archive of torch, or cut off")
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise EOFError(f"its checksum does not hold: {damaged} is damaged")


def mean_checkpoint(paths: Sequence[Path]) -> dict[str, Any]:
    """The mean of the weights of several trainings that began with the same ones, described as the first.

    Wortsman et al. 2022, "Model soups". Counters (integers) are the first one's.

    Raises:
        DataError: as :func:`read_checkpoint`; or they are not of one architecture.
    """
    first, *others = [read_checkpoint(path) for path in paths]
    weights = first["state_dict"]
    for path, other in zip(paths[1:], others, strict=True):
        shapes = {key: value.shape for key, value in other["state_dict"].items()}
        if shapes != {key: value.shape for key, value in weights.items()}:
            raise DataError(f"{path} and {paths[0]} are not of one architecture: they have no mean")
    mean = dict(weights)
    for key, value in weights.items():
        if value.is_floating_point():
            values = [checkpoint["state_dict"][key].double() for checkpoint in (first, *others)]
            mean[key] = torch.stack(values).mean(0).to(value)
    return {"brainmtl": first["brainmtl"], "state_dict": mean}


def load_model(path: str | Path) -> tuple[MultiTaskModel, dict[str, Any]]:
    """The model of a checkpoint, in eval mode on the CPU, and the run's description.

    The description holds ``config`` (resolved), ``preprocessing_version``, ``manifest_sha256``,
    ``stage``, and ``sources``, ``trained_parts`` and ``synthetic_training`` of this and earlier stages.
    """
    checkpoint = read_checkpoint(path)
    metadata = checkpoint["brainmtl"]
    model = create_multi_task_model(**metadata["config"]["model"])
    load_weights(model, checkpoint["state_dict"], str(path))
    return model.eval(), metadata


def load_weights(model: MultiTaskModel, state_dict: dict[str, Any], origin: str) -> str:
    """Copy all weights into ``model``; returns what was loaded, in words.

    Raises:
        ConfigError: as :func:`check_fit`.
    """
    weights = check_fit(model, state_dict, origin)
    model.load_state_dict(weights)
    parts = sorted({key.split(".")[0] for key in weights})
    return f"{len(weights)} tensors ({', '.join(parts)}) from {origin}"


def check_fit(model: MultiTaskModel, state_dict: dict[str, Any], origin: str) -> dict[str, Any]:
    """The weights of ``model`` in a checkpoint's ``state_dict``; nothing is copied.

    Raises:
        ConfigError: any tensor missing, left over or of another shape; each is named.
    """
    weights = {
        key.removeprefix(PREFIX): value
        for key, value in state_dict.items()
        if key.startswith(PREFIX)
    }
    own = model.state_dict()
    problems = [f"{key} is missing" for key in own if key not in weights]
    problems += [f"{key} is left over" for key in weights if key not in own]
    problems += [
        f"{key} is {tuple(weights[key].shape)} there and {tuple(own[key].shape)} here"
        for key in own
        if key in weights and weights[key].shape != own[key].shape
    ]
    if problems:
        shown = "; ".join(problems[:5]) + (
            f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        )
        raise ConfigError(
            f"{origin} does not fit this model ({shown}): choose the model=... that it was trained with"
        )
    return weights
