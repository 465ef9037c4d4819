"""The folder that a model is served from: plain data, every file hashed, nothing to unpickle.

``weights.safetensors``, ``config.json``, ``operating_point.json``, ``model_card.json`` and ``.md``,
where there is an OOD check ``ood.safetensors``, where asked for two ONNX graphs and the same two in
int8 (with ``ood_int8.safetensors``), and ``manifest.json`` with the SHA-256 of all others.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainmtl.config import PROJECT_ROOT
from brainmtl.errors import BrainMTLError, DataError
from brainmtl.files import home_path, sha256, write_json

if TYPE_CHECKING:
    from brainmtl.inference.ood import OodDetector
    from brainmtl.inference.operating.operating_point import OperatingPoint
    from brainmtl.models.multitask import MultiTaskModel

FORMAT, FORMAT_VERSION = "brainmtl-model", 1
MANIFEST, CONFIG, WEIGHTS = "manifest.json", "config.json", "weights.safetensors"
OPERATING_POINT, CARD = "operating_point.json", "model_card.json"
OOD, OOD_INT8 = "ood.safetensors", "ood_int8.safetensors"
GRAPH = ".onnx"
OPTIONAL = (OOD, OOD_INT8, GRAPH)
REQUIRED = (CONFIG, WEIGHTS, OPERATING_POINT, CARD)
CONFIG_KEYS = (
    *("format", "format_version", "name", "version", "model", "preprocessing_version", "stage"),
    *("training_sources", "synthetic_training", "checkpoint_sha256", "created"),
)
MODELS_DIR = PROJECT_ROOT / "outputs" / "models"
ENVIRONMENT = "BRAINMTL_MODEL_DIR"
EXPORT = "python -m brainmtl.export ckpt=PATH"


@dataclass(frozen=True, eq=False)
class ModelFolder:
    """The checked contents of a model folder; ``model`` is in eval mode, on the CPU.

    ``ood`` is None where the model was exported without that check, ``ood_int8``, which is that of
    the int8 graphs, also where there are none; ``graphs`` are its ONNX files by name.
    """

    path: Path
    config: dict[str, Any]
    model: MultiTaskModel
    weights_sha256: str
    operating_point: OperatingPoint
    card: dict[str, Any]
    ood: OodDetector | None
    ood_int8: OodDetector | None = None
    graphs: Mapping[str, bytes] = field(default_factory=dict, repr=False)


def read_model_folder(folder: str | Path) -> ModelFolder:
    """Read and check a model folder.

    Raises:
        DataError: no model folder; of another format or preprocessing version; a file that is
            missing, left over, changed or unreadable. The message names the file and the remedy.
    """
    from brainmtl.data.preprocessing.preprocess import PREPROCESSING_VERSION
    from brainmtl.inference.operating.operating_point import OperatingPoint

    folder = Path(folder)
    hashes = _check_manifest(folder)
    contents = {
        name: _checked_bytes(folder / name, hashes[name])
        for name in (*REQUIRED, *(name for name in hashes if name.endswith(OPTIONAL)))
    }
    for name in sorted(set(hashes) - set(contents)):
        _require_hash(folder / name, sha256(folder / name), hashes[name])
    config = _json(folder / CONFIG, contents[CONFIG])
    _check_config(folder / CONFIG, config)
    if config["preprocessing_version"] != PREPROCESSING_VERSION:
        raise DataError(
            f"{folder} was exported for preprocessing version {config['preprocessing_version']}, "
            f"this code is version {PREPROCESSING_VERSION}: its inputs would differ. Train and "
            "export again, or use the release that the model comes from"
        )
    try:
        point = OperatingPoint.from_dict(_json(folder / OPERATING_POINT, contents[OPERATING_POINT]))
    except BrainMTLError as error:
        raise DataError(f"{folder / OPERATING_POINT}: {error}") from error
    return ModelFolder(
        path=folder,
        config=config,
        model=_build(folder, config["model"], contents[WEIGHTS]),
        weights_sha256=hashes[WEIGHTS],
        operating_point=point,
        card=_json(folder / CARD, contents[CARD]),
        ood=_ood(folder / OOD, contents.get(OOD)),
        ood_int8=_ood(folder / OOD_INT8, contents.get(OOD_INT8)),
        graphs={name: content for name, content in contents.items() if name.endswith(GRAPH)},
    )


def seal(folder: str | Path) -> None:
    """Write ``manifest.json`` over all files of ``folder``: the last step of an export."""
    folder = Path(folder)
    hashes = {name: sha256(folder / name) for name in sorted(_files(folder))}
    write_json(folder / MANIFEST, {"files": hashes})


def is_model_folder(folder: str | Path) -> bool:
    """Whether ``folder`` says of itself that it is one; its files are not checked."""
    try:
        config = json.loads((Path(folder) / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("format") == FORMAT


def foreign_files(folder: str | Path) -> list[str]:
    """Files in a model folder that its manifest does not list; all of them without a manifest."""
    folder = Path(folder)
    try:
        listed = set(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        listed = set()
    return sorted(_files(folder) - listed)


def newest_model_folder(root: str | Path = MODELS_DIR) -> Path:
    """The model folder of the latest export directly below ``root`` (``outputs/models``).

    Raises:
        DataError: there is none.
    """
    root = Path(root)
    found = []
    for folder in root.iterdir() if root.is_dir() else ():
        if not folder.name.startswith(".") and is_model_folder(folder):
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            found.append((str(config.get("created", "")), folder))
    if not found:
        raise DataError(f"{root} holds no model: export one with `{EXPORT}`")
    return max(found)[1]


def chosen_model_folder() -> Path:
    """The folder that the environment variable BRAINMTL_MODEL_DIR names, else the newest export."""
    named = os.environ.get(ENVIRONMENT)
    return home_path(ENVIRONMENT, named) if named else newest_model_folder()


def _check_manifest(folder: Path) -> dict[str, str]:
    path = folder / MANIFEST
    if not path.is_file():
        what = (
            "lacks manifest.json, so it is no model folder" if folder.is_dir() else "is no folder"
        )
        raise DataError(f"{folder} {what}: export a model with `{EXPORT} out_dir={folder}`")
    content = _json(path, path.read_bytes())
    hashes = content.get("files")
    digest = re.compile("[0-9a-f]{64}")
    if not isinstance(hashes, dict) or not all(
        isinstance(value, str) and digest.fullmatch(value) for value in hashes.values()
    ):
        raise DataError(f"{path} lists no SHA-256 per file: export the model again")
    present = _files(folder)
    if missing := sorted({*hashes, *REQUIRED} - present):
        raise DataError(f"{folder} lacks {', '.join(missing)}: copy or export the model again")
    if extra := sorted(present - set(hashes)):
        raise DataError(
            f"{folder} holds {', '.join(extra)}, which manifest.json does not list: remove what does "
            "not belong there, or export the model again"
        )
    return hashes


def _files(folder: Path) -> set[str]:
    paths = (path for path in folder.rglob("*") if not path.is_dir())
    return {path.relative_to(folder).as_posix() for path in paths} - {MANIFEST}


def _checked_bytes(path: Path, expected: str) -> bytes:
    """What was hashed is what is read: the file is not opened a second time."""
    content = path.read_bytes()
    _require_hash(path, hashlib.sha256(content).hexdigest(), expected)
    return content


def _require_hash(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise DataError(
            f"{path} is not the file that was exported (SHA-256 {found[:12]}..., manifest.json says "
            f"{expected[:12]}...): it was changed or damaged. Copy the folder or export the model again"
        )


def _json(path: Path, content: bytes) -> dict[str, Any]:
    try:
        values = json.loads(content)
    except ValueError as error:
        raise DataError(f"{path} is no JSON ({error}): export the model again") from error
    if not isinstance(values, dict):
        raise DataError(f"{path} holds no JSON object: export the model again")
    return values


def _check_config(path: Path, config: dict[str, Any]) -> None:
    if config.get("format") != FORMAT or config.get("format_version") != FORMAT_VERSION:
        raise DataError(
            f"{path} has format {config.get('format')!r}, version {config.get('format_version')!r}, "
            f"this code reads {FORMAT!r}, version {FORMAT_VERSION}: use the release that exported the "
            "model, or export it again"
        )
    if missing := sorted(set(CONFIG_KEYS) - set(config)):
        raise DataError(f"{path} lacks {', '.join(missing)}: export the model again")


def _build(folder: Path, options: dict[str, Any], weights: bytes) -> MultiTaskModel:
    from safetensors import SafetensorError
    from safetensors.torch import load

    from brainmtl.models import create_multi_task_model

    try:
        model = create_multi_task_model(**options)
        model.load_state_dict(load(weights))
    except (TypeError, BrainMTLError) as error:
        raise DataError(
            f"{folder / CONFIG} describes no model ({error}): export it again"
        ) from error
    except (SafetensorError, RuntimeError) as error:
        raise DataError(
            f"{folder / WEIGHTS} does not fit {CONFIG} ({str(error).splitlines()[0]}): export the "
            "model again"
        ) from error
    return model.eval()


def _ood(path: Path, content: bytes | None) -> OodDetector | None:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    from brainmtl.inference.ood import OodDetector

    if content is None:
        return None
    try:
        return OodDetector.from_arrays(load(content))
    except (SafetensorError, DataError) as error:
        raise DataError(f"{path}: {error}") from error
