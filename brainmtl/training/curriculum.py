"""``train``: one stage, or several in a row, each from the best checkpoint of the one before."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from brainmtl.config import PROJECT_ROOT
from brainmtl.data.loading.datamodule import MultiTaskDataModule
from brainmtl.data.manifest import load_manifest
from brainmtl.errors import ConfigError
from brainmtl.training.checks import check_members, check_stage, check_start, warn_of_few_draws
from brainmtl.training.continuation.reuse import (
    finished_stage,
    own_stage,
    remember_stage,
    reused_stage,
    stage_lock,
)
from brainmtl.training.continuation.stage_keys import stage_keys, stage_options
from brainmtl.training.continuation.start import starting_weights
from brainmtl.training.run_folder.records import read_run
from brainmtl.training.run_folder.run_record import (
    RUN,
    Record,
    changed_surroundings,
    find_record,
    require_same,
    show,
    write_record,
)
from brainmtl.training.run_folder.settings import run_settings
from brainmtl.training.run_folder.status import command, overrides, read_status, run_status
from brainmtl.training.runner import (
    Options,
    StageResult,
    Start,
    fit_stage,
    run_stage,
)
from brainmtl.training.stages import StageConfig, stage_configs
from brainmtl.training.team import follow, is_follower, team, team_size
from brainmtl.words import duration

log = logging.getLogger(__name__)
# Of a mean on validation data than each of its members; less is the noise of few cases.
MUCH_WORSE = 0.02


def train(options: Options) -> list[StageResult]:
    """Run the stages of ``options`` (the resolved ``conf/train.yaml``).

    All stages are checked before the first one trains. A finished stage with the same key is
    reused, so a sweep over ``loss.lambda_cls`` trains the one-task stages once. In a folder where
    the same run was interrupted, it goes on from its last checkpoint. A process that torchrun has
    started to train along with another one returns an empty list.

    Raises:
        ConfigError, DataError: bad options or data, or a folder that holds another run.
    """
    if is_follower():
        follow(options, fit_stage)
        return []
    team_size(options)  # what several devices cannot do is refused before anything trains
    stages = stage_configs(options["stage"], options["loader"])
    run_dir = Path(options["run_dir"])
    init_from = starting_weights(options)
    check_start(options, init_from)
    check_members(options, stages, init_from)
    manifest = load_manifest(options["data"]["data_dir"])
    record = find_record(run_dir)
    if record is not None:
        remedy = "choose another folder (hydra.run.dir=...)"
        require_same(run_dir, record, options, remedy, manifest.sha256)
    elif (run_dir / RUN).is_file():
        raise ConfigError(
            f"{run_dir} holds the {RUN} of another command, which would be lost: choose another folder "
            "(hydra.run.dir=...)"
        )
    keys = stage_keys(options, stages, init_from, manifest.sha256)
    if record is not None and (finished := _finished_run(run_dir, stages, keys)):
        return finished
    datamodules = {
        stage.name: check_stage(stage_options(options, stage), stage, manifest)
        for stage, key in zip(stages, keys, strict=True)
        if not (options["reuse_stages"] and finished_stage(key, run_dir))
    }
    if stages[-1].name in datamodules:
        warn_of_few_draws(stages[-1], datamodules[stages[-1].name])
    _point_latest(run_dir)
    results: list[StageResult] = []
    try:
        names = [stage.name for stage in stages]
        to_train = _images(stages, datamodules)
        with run_status(run_dir, names, run_settings(options), to_train):
            _begin(run_dir, options, record, manifest.sha256)
            with team(options, fit_stage):
                go_on = record is not None
                for result in _stage_results(options, stages, keys, init_from, datamodules, go_on):
                    results.append(result)
                    if result.name != stages[-1].name:
                        _summarise(options)
                        _say_how_long(run_dir)
    finally:
        _summarise(options)
    return results


def _stage_results(
    options: Options,
    stages: Sequence[StageConfig],
    keys: Sequence[str],
    init_from: Path | None,
    datamodules: dict[str, MultiTaskDataModule],
    go_on: bool,
) -> Iterator[StageResult]:
    """Each stage from the best checkpoint of the one before; members of a mean from the same one.

    Takes each of ``datamodules`` out: of a large cohort they are not kept longer than they are needed.
    """
    run_dir = Path(options["run_dir"])
    found: dict[str, StageResult] = {}
    for stage, key in zip(stages, keys, strict=True):
        own, datamodule = stage_options(options, stage), datamodules.pop(stage.name, None)
        members = [found[name] for name in stage.mean_of]
        start = tuple(member.best for member in members) or init_from
        result = _take_or_train(own, stage, run_dir, start, key, go_on, datamodule)
        if members:
            compare_with_members(stage, result, members)
        if stage.member_of is None:
            init_from = result.best
        found[stage.name] = result
        yield result


def compare_with_members(
    stage: StageConfig, result: StageResult, members: Sequence[StageResult]
) -> None:
    """Say what a mean is worth beside the trainings that it is made of."""
    sign = 1 if stage.mode == "max" else -1
    own = ", ".join(f"{member.name} {member.score:.4f}" for member in members)
    log.info("%s: mean %.4f; %s", result.monitor, result.score, own)
    if all(sign * (result.score - member.score) < -MUCH_WORSE for member in members):
        log.warning(
            "the mean of %s is worse on validation data than each of them: their weights may lie too far apart for a "
            "mean. Evaluate a member as well, and see whether members=1 or smaller learning rates (optimizer.lr_scale) "
            "do better",
            ", ".join(stage.mean_of),
        )


def _finished_run(
    run_dir: Path, stages: Sequence[StageConfig], keys: Sequence[str]
) -> list[StageResult]:
    """The results of a run that has come to its end; empty where it has not, or files are gone."""
    if read_status(run_dir).get("state") != "finished":
        return []
    found = [own_stage(k, s, run_dir / s.name) for k, s in zip(keys, stages, strict=True)]
    return [] if None in found else found


def _begin(run_dir: Path, options: Options, record: Record | None, manifest_sha256: str) -> None:
    if record is not None:
        for path in run_dir.rglob(".tmp-*"):  # what a killed process was writing
            path.unlink(missing_ok=True)
        if changed := changed_surroundings(record):
            log.warning("%s goes on in other surroundings (%s)", run_dir, show(changed))
    write_record(run_dir, options, command(), overrides(), manifest_sha256)


def _take_or_train(
    options: Options,
    stage: StageConfig,
    run_dir: Path,
    init_from: Start,
    key: str,
    go_on: bool,
    datamodule: MultiTaskDataModule | None,
) -> StageResult:
    directory = run_dir / stage.name
    with ExitStack() as stack:
        if options["reuse_stages"]:
            stack.enter_context(stage_lock(key, run_dir, stage.name))
        result = own_stage(key, stage, directory) if go_on else None
        if result is None and options["reuse_stages"]:
            result = reused_stage(key, stage, directory, run_dir)
        if result is None:
            result = run_stage(options, stage, directory, init_from, key, go_on, datamodule)
        if result.reused_from is None:
            remember_stage(key, directory, run_dir)
    return result


def _images(
    stages: Sequence[StageConfig], datamodules: Mapping[str, MultiTaskDataModule]
) -> dict[str, int]:
    """How many images each stage that is still to be trained will see, if it does not stop early."""
    return {
        stage.name: stage.max_epochs * sum(datamodules[stage.name].train_batches.images)
        for stage in stages
        if stage.name in datamodules and not stage.mean_of
    }


def _say_how_long(run_dir: Path) -> None:
    if left := read_run(run_dir).seconds_left:
        log.info("about %s to go, unless a stage stops early", duration(left))


def _summarise(options: Options) -> None:
    """``summary.md``; a picture that cannot be drawn must not cost a trained stage."""
    from brainmtl.training.summary import write_summary

    try:
        write_summary(Path(options["run_dir"]), picture=bool(options["callbacks"].get("panel")))
    except Exception:
        log.warning("%s has no summary", options["run_dir"], exc_info=True)


def _point_latest(run_dir: Path) -> None:
    """``outputs/latest`` -> the newest run."""
    outputs = PROJECT_ROOT / "outputs"
    if not run_dir.is_relative_to(outputs):
        return
    temporary = outputs / f".latest-{os.getpid()}"
    temporary.unlink(missing_ok=True)
    try:
        temporary.symlink_to(run_dir.relative_to(outputs))
        os.replace(temporary, outputs / "latest")
    except OSError as error:  # a file system without symbolic links
        log.warning("outputs/latest cannot point at %s: %s", run_dir, error)
