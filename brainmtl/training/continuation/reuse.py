"""Finished stages: of this run, taken up again; of other runs with the same key, linked."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from filelock import Timeout

from brainmtl.config import PROJECT_ROOT
from brainmtl.files import write_json
from brainmtl.training.continuation.checkpoint_io import BEST, LAST
from brainmtl.training.continuation.resume import is_whole
from brainmtl.training.run_folder.locks import held
from brainmtl.training.run_folder.records import RECORD
from brainmtl.training.run_folder.run_record import changed_surroundings, find_record, show
from brainmtl.training.runner import StageResult
from brainmtl.training.stages import StageConfig

log = logging.getLogger(__name__)
CHECKPOINTS = (BEST, LAST)


def own_stage(key: str, stage: StageConfig, directory: Path) -> StageResult | None:
    """The stage that this run finished before it was interrupted; None where it did not."""
    path = directory / RECORD
    if not path.is_file():
        return None
    values = json.loads(path.read_text(encoding="utf-8"))
    if values["key"] != key or not _are_whole(directory):
        return None
    log.info("stage %s: finished already", stage.name)
    return _result(stage, directory, values, values.get("reused_from"))


def reused_stage(
    key: str, stage: StageConfig, directory: Path, run_dir: Path
) -> StageResult | None:
    """The finished stage with this key, linked into ``directory``; None where there is none."""
    origin = finished_stage(key, run_dir)
    if origin is None or not _are_whole(origin):
        return None
    values = json.loads((origin / RECORD).read_text(encoding="utf-8"))
    if origin != directory:
        _take(origin, directory, values | {"reused_from": str(origin)})
    log.info("stage %s: same config and data as %s, reused", stage.name, origin)
    record = find_record(origin.parent)
    if record is not None and (changed := changed_surroundings(record)):
        log.warning(
            "stage %s was trained in other surroundings (%s): reuse_stages=false trains it anew",
            stage.name,
            show(changed),
        )
    return _result(stage, directory, values, str(origin))


def remember_stage(key: str, directory: Path, run_dir: Path) -> None:
    """Let other runs find the finished stage in ``directory``."""
    write_json(_index(key, run_dir), {"directory": str(directory)})


def finished_stage(key: str, run_dir: Path) -> Path | None:
    """Folder of the finished stage with this key; None where there is none, or it was deleted."""
    index = _index(key, run_dir)
    if not index.is_file():
        return None
    origin = Path(json.loads(index.read_text(encoding="utf-8"))["directory"])
    files = (origin / RECORD, *(origin / "checkpoints" / name for name in CHECKPOINTS))
    return origin if all(path.is_file() for path in files) else None


@contextmanager
def stage_lock(key: str, run_dir: Path, name: str) -> Iterator[None]:
    """Runs of a sweep side by side share stages: one trains it, the others wait and take it."""
    path = _index(key, run_dir).with_suffix(".lock")
    with ExitStack() as stack:
        try:
            stack.enter_context(held(path, timeout=0))
        except Timeout:
            log.info("stage %s: another run trains the same, waiting for it", name)
            stack.enter_context(held(path, timeout=-1))
        yield


def _index(key: str, run_dir: Path) -> Path:
    """Where a finished stage is remembered: beside the experiments, in ``outputs/.stages``."""
    outputs = PROJECT_ROOT / "outputs"
    root = outputs if run_dir.is_relative_to(outputs) else run_dir.parent
    return root / ".stages" / f"{key}.json"


def _take(origin: Path, directory: Path, record: dict[str, Any]) -> None:
    """Checkpoints and record of another run's stage; what has been taken before stays untouched."""
    own = directory / RECORD
    files = [directory / "checkpoints" / name for name in CHECKPOINTS]
    whole = all(path.is_file() for path in (own, *files))
    if whole and json.loads(own.read_text(encoding="utf-8")) == record:
        return
    for path in files:
        _link(origin / "checkpoints" / path.name, path)
    write_json(own, record)


def _link(origin: Path, target: Path) -> None:
    """A hard link costs no space and outlives the older run; a copy where links are not possible."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(origin, target)
    except OSError:
        shutil.copy2(origin, target)


def _are_whole(directory: Path) -> bool:
    return all(is_whole(directory / "checkpoints" / name) for name in CHECKPOINTS)


def _result(
    stage: StageConfig, directory: Path, values: dict[str, Any], origin: str | None
) -> StageResult:
    best, last = (directory / "checkpoints" / name for name in CHECKPOINTS)
    score, seconds = values["score"], values["seconds"]
    return StageResult(stage.name, directory, best, last, values["monitor"], score, seconds, origin)
