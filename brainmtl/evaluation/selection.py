"""What is evaluated: rows of the manifest, the checkpoint, and whether the two fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainmtl.data.manifest import (
    SPLITS,
    Manifest,
    all_synthetic,
    display_name,
    read_manifest,
    source_hashes,
)
from brainmtl.data.selection import assign_splits
from brainmtl.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pandas as pd

    from brainmtl.data.samples import Sample


def read_frame(
    data_dir: str | Path, fold: int | None = None, *, manifest: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The manifest with the splits of ``fold`` (None: its own), slices of a case together.

    ``manifest``: ``read_manifest(data_dir)``, where it was read already.

    Raises:
        ConfigError: a fold that was not prepared.
        DataError: no prepared folder.
    """
    frame = read_manifest(data_dir) if manifest is None else manifest
    frame = frame.assign(split=assign_splits(frame, fold))
    return frame.sort_values(["source", "case_id", "position"], kind="stable")


def rows_of_sources(
    frame: pd.DataFrame, sources: Sequence[str] | None, data_dir: str | Path
) -> pd.DataFrame:
    """Rows of ``sources`` (None: of all).

    Raises:
        ConfigError: a source that the folder does not hold.
    """
    present = sorted(frame["source"].astype(str).unique())
    unknown = sorted(set(sources or ()) - set(present))
    if unknown:
        raise ConfigError(f"sources={unknown} are not in {data_dir}: it holds {present}")
    return frame[frame["source"].isin(list(sources or present))]


def trained_sources(frame: pd.DataFrame, meta: Mapping[str, Any]) -> list[str]:
    """Those of the sources of training that have rows in ``frame``."""
    return sorted(set(frame["source"].astype(str)) & set(meta.get("sources") or []))


def select_rows(frame: pd.DataFrame, split: str, data_dir: str | Path) -> pd.DataFrame:
    """Rows of ``split`` (train, val, test, all) of a frame from :func:`read_frame`.

    Raises:
        ConfigError: unknown split, or a split without rows (names what there is).
    """
    if split not in (*SPLITS, "all"):
        raise ConfigError(f"split={split} is unknown: choose {', '.join(SPLITS)} or all")
    chosen = frame if split == "all" else frame[frame["split"] == split]
    if chosen.empty:
        if not frame["split"].isin(SPLITS).any():
            raise ConfigError(
                f"split={split} of {data_dir} is empty: these sources have no folds, and the splits are those of a "
                "fold. Take their own splits with fold=null, or prepare with split.folds=K"
            )
        raise ConfigError(
            f"split={split} of {data_dir} is empty: it holds {_inventory(frame)}. Choose one of "
            "these splits, or prepare with split.test > 0"
        )
    return chosen


def trained_here(manifest: Manifest, meta: Mapping[str, Any]) -> bool:
    """Whether the sources that a checkpoint was trained on are in this folder as they were then.

    Sources that were added later do not matter: the older ones keep their splits and folds.
    """
    if meta.get("manifest_sha256") == manifest.sha256:
        return True
    then = meta.get("source_sha256") or {}
    now = source_hashes(manifest.frame) if then else {}
    return bool(then) and all(now.get(name) == digest for name, digest in then.items())


def choose_fold(fold: Any, meta: Mapping[str, Any], *, same_data: bool) -> int | None:
    """The cross-validation fold whose splits count: "auto" takes the one of the checkpoint's training.

    Where the checkpoint was not trained on this data (:func:`trained_here`), "auto" means none: its own
    splits. Another word than "auto" is refused by :func:`read_frame`.
    """
    if fold != "auto":
        return fold
    trained = (meta["config"].get("data") or {}).get("fold")
    return trained if same_data else None


def check_unchanged(manifest: pd.DataFrame, data_dir: Path, meta: dict[str, Any]) -> None:
    """Refuse the folder of training when its trained sources are no longer those of training.

    Called where :func:`trained_here` says no of its manifest, read as ``manifest``.
    """
    trained_in = (meta["config"].get("data") or {}).get("data_dir")
    if trained_in is None or Path(trained_in).resolve() != data_dir.resolve():
        return  # another folder, which the remarks say
    now, then = source_hashes(manifest), meta.get("source_sha256") or {}
    changed = [name for name in meta.get("sources") or [] if now.get(name) != then.get(name)]
    if changed:
        raise DataError(
            f"{data_dir} has changed since this checkpoint was trained on it (sources "
            f"{', '.join(changed)}): samples of its test split may have been trained on. Train "
            "again, or evaluate on a copy of the folder as it was, or on other data"
        )


def _inventory(frame: pd.DataFrame) -> str:
    parts = []
    for source, rows in frame.groupby(frame["source"].astype(str)):
        counts = rows["split"].astype(str).value_counts()
        splits = ", ".join(f"{name} {counts[name]}" for name in SPLITS if name in counts)
        parts.append(f"{source} ({splits})")
    return "; ".join(parts) if parts else "no samples"


def load_checkpoint(path: Path) -> tuple[Any, dict[str, Any]]:
    """``(model in eval mode, metadata)`` of a checkpoint of this project and preprocessing version.

    Raises:
        ConfigError: the file is missing.
        DataError: it is no checkpoint of ours, or of another preprocessing version.
    """
    from brainmtl.data.preprocessing.preprocess import PREPROCESSING_VERSION
    from brainmtl.training.continuation.checkpoints import load_model

    if not path.is_file():
        raise ConfigError(
            f"ckpt={path} does not exist: give a checkpoint such as "
            "outputs/latest/joint/checkpoints/best.ckpt"
        )
    model, meta = load_model(path)
    if meta["preprocessing_version"] != PREPROCESSING_VERSION:
        raise DataError(
            f"{path} was trained on preprocessing version {meta['preprocessing_version']}, this "
            f"code is version {PREPROCESSING_VERSION}: its inputs would differ. Train again, or "
            "use the release that the checkpoint comes from"
        )
    return model, meta


def unfit_sources(firsts: Mapping[str, tuple[str, Sample]], meta: dict[str, Any]) -> list[str]:
    """Sources whose images have other channels than the model takes; ``firsts`` of :func:`first_samples`.

    None of those of training, and none where nothing else would remain: :func:`check_samples` refuses them.
    """
    expected = _channels(meta)
    others = sorted(set(firsts) - set(meta.get("sources") or []))
    unfit = [name for name in others if firsts[name][1].image.shape[0] != expected]
    return unfit if len(unfit) < len(firsts) else []


def check_samples(
    firsts: Mapping[str, tuple[str, Sample]], data_dir: Path, meta: dict[str, Any]
) -> None:
    """Preprocessing version and channels of one sample per source must be the model's."""
    expected = _channels(meta)
    for path, sample in firsts.values():
        version = sample.metadata.get("preprocessing_version")
        if version != meta["preprocessing_version"]:
            raise DataError(
                f"{path} was prepared with preprocessing version {version}, the checkpoint "
                f"needs {meta['preprocessing_version']}: prepare {data_dir} again"
            )
        if sample.image.shape[0] != expected:
            raise DataError(
                f"{path} has {sample.image.shape[0]} channels, the checkpoint takes "
                f"{expected}: choose sources=[...] or prepare with the modalities of training"
            )


def _channels(meta: Mapping[str, Any]) -> int:
    return (meta["config"].get("model") or {}).get("in_channels", 1)


def remarks(
    frame: pd.DataFrame,
    meta: dict[str, Any],
    split: str,
    fold: int | str | None,
    *,
    same_data: bool,
    left_out: Sequence[str] = (),
) -> list[str]:
    """Sentences that a reader must know before the figures; they open the report.

    ``frame`` are the evaluated rows, with their ``role`` in the training; ``split`` and ``fold`` are what
    was asked for; ``left_out`` are :func:`unfit_sources`.
    """
    notes = []
    if left_out:
        notes.append(
            f"Not evaluated: {', '.join(left_out)}, whose images have other channels than the model takes."
        )
    if not same_data:
        notes.append(
            "The data folder is not the one of training (other samples or splits): a fair test only if no "
            "patient or image of it was trained on, which cannot be checked here."
        )
    present = frame.groupby(frame["source"].astype(str))["synthetic"].max()
    known = trained_sources(frame, meta) if same_data else []
    rows = f"split={split}"
    if fold != "auto":
        rows += f" of fold={'null' if fold is None else fold}"
    used = frame[frame["source"].isin(known)].groupby("role", observed=True)["source"].unique()
    names = {
        role: ", ".join(display_name(name, bool(present[name])) for name in sorted(map(str, own)))
        for role, own in used.items()
    }
    if "train" in names:
        notes.append(
            f"{rows} holds samples that the model was trained on ({names['train']}): not a test."
        )
    elif "val" in names:
        notes.append(f"{rows} chose the checkpoint: the figures of {names['val']} are optimistic.")
    notes += _untrained(meta)
    made_up = [display_name(name, True) for name, flag in present.items() if flag]
    if made_up:
        notes.append(
            f"Synthetic test data: {', '.join(made_up)}. Such figures say that the pipeline works, "
            "nothing about patients."
        )
    if meta.get("synthetic_training"):
        alone = all_synthetic(meta.get("sources") or [])
        kind = "synthetic images only" if alone else "real and synthetic images mixed"
        notes.append(f"The model was trained on {kind}.")
    return notes


def _untrained(meta: dict[str, Any]) -> list[str]:
    """A sentence per task whose part neither this stage nor one before it trained."""
    tasks = {"decoder": "segmentation", "head": "classification"}
    return [
        f"No stage up to {meta.get('stage')} has trained the {part}: the {task} figures are those of "
        "random weights."
        for part, task in tasks.items()
        if part not in meta["trained_parts"]
    ]


def default_out_dir(ckpt: Path, split: str) -> Path:
    """``<stage dir>/evaluation_<split>``: beside the checkpoints folder that holds ``ckpt``."""
    folder = ckpt.resolve().parent
    return (folder.parent if folder.name == "checkpoints" else folder) / f"evaluation_{split}"


def require_prepared(data_dir: str | Path) -> Path:
    """``data_dir`` if it is a folder, told before torch is imported; DataError otherwise."""
    data_dir = Path(data_dir)
    if not data_dir.is_dir():
        raise DataError(
            f"data_dir={data_dir} does not exist: make it with "
            f"`python -m brainmtl.prepare source=... raw_dir=... out_dir={data_dir}`"
        )
    return data_dir


def training_folder(meta: Mapping[str, Any]) -> Path | None:
    """Where a checkpoint was trained; None for the built-in weights, which do not tell."""
    found = (meta["config"].get("data") or {}).get("data_dir")
    return Path(found) if found else None


def require_training_folder(meta: Mapping[str, Any]) -> Path:
    """:func:`training_folder`; ConfigError where it is not there."""
    trained_in = training_folder(meta)
    if trained_in is None or not trained_in.is_dir():
        where = "a folder that it does not tell" if trained_in is None else trained_in
        raise ConfigError(
            f"the checkpoint was trained on {where}, which is not there: give data_dir=..."
        )
    return trained_in
