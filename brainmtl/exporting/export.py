"""``export(ckpt, out_dir)``: a checkpoint becomes a model folder that can be served."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainmtl import __version__
from brainmtl.errors import ConfigError, check_count
from brainmtl.exporting.export_card import bare_card, find_card
from brainmtl.files import sha256, write_json, write_text
from brainmtl.inference import model_folder
from brainmtl.inference.operating.operating_point import (
    OperatingPoint,
    operating_point_path,
    read_operating_point,
)
from brainmtl.training.continuation.command_line import word

if TYPE_CHECKING:
    from brainmtl.inference.ood import OodDetector
    from brainmtl.models.multitask import MultiTaskModel

OOD_CHOICES = ("auto", True, False)


def export(
    ckpt: str | Path,
    out_dir: str | Path | None = None,
    *,
    data_dir: str | Path | None = None,
    name: str | None = None,
    ood: bool | str = "auto",
    onnx: bool = False,
    int8: bool = False,
    device: str = "auto",
    batch_size: int = 16,
    progress: bool = False,
) -> Path:
    """Write the model folder of a checkpoint; notes on what it lacks are printed.

    Args:
        ckpt: checkpoint of this project; its operating point is read from beside it.
        out_dir: the folder; default ``outputs/models/<name>``. A model folder is replaced.
        data_dir: prepared folder for the check for unlike images and for ``int8``; default: that of
            training.
        name: what the model is called; default ``<stage>-<first digits of the checkpoint's hash>``.
        ood: True fits that check, False leaves it out, "auto" fits it where the data is there.
        onnx: also write ``encoder_head.onnx`` and ``decoder.onnx``.
        int8: also write both in int8, calibrated on training images of ``data_dir``, and what they
            cost on its validation images: printed, and in the model card.

    Returns:
        The folder.

    Raises:
        ConfigError: a path or option that cannot work, or an extra that is not installed.
        DataError: a broken checkpoint, operating point or data folder.
    """
    from brainmtl.evaluation.selection import load_checkpoint
    from brainmtl.exporting.int8_export import add_int8
    from brainmtl.inference.device import choose_device

    ckpt = Path(ckpt)
    _check_options(ood, onnx, int8, batch_size)
    model, meta = load_checkpoint(ckpt)
    _warn_of_modalities(model)
    digest = sha256(ckpt)
    name = name or f"{meta.get('stage')}-{digest[:8]}"
    target = Path(out_dir) if out_dir else model_folder.MODELS_DIR / name
    _check_target(target)
    point = _operating_point(ckpt)
    network = {"device": choose_device(device), "batch_size": batch_size, "progress": progress}
    data = _data_folder(data_dir, meta)
    if int8 and data is None:
        raise ConfigError(f"int8=true needs {_training_folder(meta)}: give data_dir=...")
    detector = _detector(ood, data, model, meta, network)
    with _replacing(target) as folder:
        config, price = _config(name, meta, digest), None
        if onnx:
            config["onnx"] = _write_onnx(folder, model)
        if int8:
            found = add_int8(
                folder, model, data, meta, point, detector, batch_size=batch_size, progress=progress
            )
            config["onnx"]["int8"] = {"calibration_images": found.calibration_images}
            price = found.price
            _write_detector(folder / model_folder.OOD_INT8, found.detector)
        write_json(folder / model_folder.CONFIG, config)
        _write_weights(folder, model)
        _write_detector(folder / model_folder.OOD, detector)
        write_json(folder / model_folder.OPERATING_POINT, point.to_dict())
        _write_card(folder, ckpt, digest, meta, point, price)
        model_folder.seal(folder)
        model_folder.read_model_folder(folder)  # what cannot be read again is not put in place
    return target


def _check_options(ood: bool | str, onnx: bool, int8: bool, batch_size: int) -> None:
    check_count("batch_size", batch_size)
    if ood not in OOD_CHOICES:
        raise ConfigError(f"ood={ood!r} is unknown: choose auto, true or false")
    if int8 and not onnx:
        raise ConfigError("int8=true makes int8 graphs of the ONNX graphs: give onnx=true too")


def _warn_of_modalities(model: MultiTaskModel) -> None:
    if (channels := model.encoder.in_channels) != 1:
        print(
            f"warning: the model takes {channels} modalities. It is exported, but predict, the service and the page "
            "take models of one and will refuse it"
        )


def _config(name: str, meta: dict[str, Any], digest: str) -> dict[str, Any]:
    return {
        "format": model_folder.FORMAT,
        "format_version": model_folder.FORMAT_VERSION,
        "name": name,
        "version": __version__,
        "model": dict(meta["config"]["model"]),
        "preprocessing_version": meta["preprocessing_version"],
        "stage": meta.get("stage"),
        "training_sources": list(meta.get("sources") or []),
        "synthetic_training": bool(meta.get("synthetic_training")),
        "checkpoint_sha256": digest,
        "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }


def _operating_point(ckpt: Path) -> OperatingPoint:
    if operating_point_path(ckpt).is_file():
        return read_operating_point(ckpt)
    print(
        f"warning: {operating_point_path(ckpt)} is missing. The model is exported with an operating "
        "point that is not fitted: P is not calibrated, and the threshold is 0.5. "
        f"`python evaluate.py {word('ckpt', ckpt)}` fits it"
    )
    return OperatingPoint.default()


def _detector(
    ood: bool | str,
    folder: Path | None,
    model: MultiTaskModel,
    meta: dict[str, Any],
    network: dict[str, Any],
) -> OodDetector | None:
    if ood is False:
        return None
    if folder is None:
        where = _training_folder(meta)
        if ood is True:
            raise ConfigError(f"ood=true needs {where}, which is not there: give data_dir=...")
        print(
            f"warning: {where} is not there and data_dir is not given. The model is exported without "
            "its check for images that are unlike those of training: it will answer on anything"
        )
        return None
    from brainmtl.exporting.ood_fit import fit_detector

    return fit_detector(model, folder, meta, **network)


def _data_folder(data_dir: str | Path | None, meta: dict[str, Any]) -> Path | None:
    """``data_dir``, else the folder of training where it is still there."""
    from brainmtl.evaluation.selection import require_prepared, training_folder

    if data_dir is not None:
        return require_prepared(data_dir)
    trained_in = training_folder(meta)
    return trained_in if trained_in and trained_in.is_dir() else None


def _training_folder(meta: dict[str, Any]) -> str:
    from brainmtl.evaluation.selection import training_folder

    trained_in = training_folder(meta)
    return f"the folder of training ({trained_in})" if trained_in else "a folder of training"


def _write_onnx(folder: Path, model: MultiTaskModel) -> dict[str, Any]:
    from brainmtl.exporting.onnx_export import OPSET, export_onnx

    difference = export_onnx(model.cpu(), folder)
    print(f"ONNX: largest difference of a logit to PyTorch {difference:.1e}")
    return {"opset": OPSET, "max_abs_difference": difference}


def _write_weights(folder: Path, model: MultiTaskModel) -> None:
    import safetensors.torch

    # As bytes: save_file() makes files that only their owner may read.
    state = {key: value.cpu().contiguous() for key, value in model.state_dict().items()}
    (folder / model_folder.WEIGHTS).write_bytes(safetensors.torch.save(state))


def _write_detector(path: Path, detector: OodDetector | None) -> None:
    import safetensors.numpy

    if detector is not None:
        path.write_bytes(safetensors.numpy.save(detector.to_arrays()))


def _write_card(
    folder: Path,
    ckpt: Path,
    digest: str,
    meta: dict[str, Any],
    point: OperatingPoint,
    price: dict[str, Any] | None,
) -> None:
    found = find_card(ckpt, digest, point)
    if found is None:
        print(
            "warning: no evaluation of this checkpoint with this operating point lies beside it, so "
            f"the model card has no figures. `python evaluate.py {word('ckpt', ckpt)}` makes one"
        )
    card, text = found or bare_card(ckpt, digest, meta, point)
    if price is not None:
        from brainmtl.exporting.int8_price import price_markdown

        card, text = card | {"int8": price}, f"{text.rstrip()}\n\n{price_markdown(price)}"
        print(price_markdown(price))
    write_json(folder / model_folder.CARD, card)
    write_text(folder / "model_card.md", text)


def _check_target(target: Path) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not target.is_dir() or not model_folder.is_model_folder(target):
        raise ConfigError(
            f"out_dir={target} exists and is no model folder, so it is not overwritten: choose "
            "another out_dir, or remove it"
        )
    if foreign := model_folder.foreign_files(target):
        raise ConfigError(
            f"out_dir={target} is a model folder that also holds {', '.join(foreign)}; replacing it "
            "would delete that: move it away, or choose another out_dir"
        )


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A temporary folder beside ``target`` that takes its place on success, and goes on error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    workspace = Path(tempfile.mkdtemp(prefix=".tmp-", dir=target.parent))
    try:
        new, old = workspace / "new", workspace / "old"
        new.mkdir()
        yield new
        if target.exists():
            os.replace(target, old)
        try:
            os.replace(new, target)
        except OSError:
            if old.exists():
                os.replace(old, target)
            raise
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
