"""``resume=...`` and ``from_run=...`` on the command line of ``train.py``, before Hydra sees it.

Hydra makes a run's folder before any code of ours runs, so a run that goes on must be found first:
both options are replaced by what they stand for. A folder that holds an interrupted run is all that
:func:`brainmtl.training.curriculum.train` needs to go on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from brainmtl.errors import ConfigError
from brainmtl.training.continuation.command_line import (
    MULTIRUN_FLAGS,
    compose_words,
    key_of,
    literal,
)
from brainmtl.training.run_folder.run_record import (
    RUN,
    Options,
    Record,
    changed_surroundings,
    comparable,
    differences,
    find_record,
    identity,
    require_same,
    show,
)
from brainmtl.training.run_folder.status import read_status

ONE_RUN_ONLY = ("sweep", "launcher")  # groups that make many runs, and none of their settings
NO = ("false", "null", "none")  # what leaves an option out, as Hydra reads it
Words = list[str]


def expand(words: Sequence[str]) -> Words:
    """The command line without ``resume=`` and ``from_run=``: with the folder, or the options, meant.

    Raises:
        ConfigError: nothing to go on with or to repeat, or other conditions than the run's own.
    """
    words, resume = _take(list(words), "resume")
    # Flags first: after them and between options, argparse would not take what is added here.
    words.sort(key=lambda word: word not in MULTIRUN_FLAGS)
    words, origin = _take(words, "from_run")
    if origin is not None:
        words = _repeat(Path(origin), words)
    if resume is None:
        return words
    return _resume(words, None if resume.lower() == "true" else Path(resume))


def _take(words: Words, name: str) -> tuple[Words, str | None]:
    """(the other words, value of the last ``name=value``); of false and null, None."""
    value = None
    for word in words:
        if match := re.fullmatch(rf"\+{{0,2}}{name}=(.*)", word, re.DOTALL):
            value = match[1].strip("'\"")
            if value.lower() in NO:
                value = None
    return [word for word in words if not re.match(rf"\+{{0,2}}{name}=", word)], value


def _repeat(run_dir: Path, on_top: Words) -> Words:
    record = find_record(run_dir)
    if record is None:
        raise ConfigError(f"from_run={run_dir} holds no {RUN}: {_hint(run_dir)}")
    from brainmtl.data.preprocessing.preprocess import PREPROCESSING_VERSION

    code = (record["attempts"][0]["git"] or {}).get("revision") or "an older version"
    remedy = f"repeat it with the code of then ({code}), or train anew"
    if record["preprocessing_version"] != PREPROCESSING_VERSION:
        raise ConfigError(
            f"from_run={run_dir} was trained on data of preprocessing version "
            f"{record['preprocessing_version']}, and this code prepares version "
            f"{PREPROCESSING_VERSION}: {remedy}"
        )
    words = [word for word in record["overrides"] if word.split("=")[0] not in ONE_RUN_ONLY]
    then = record["config"]
    # Defaults may have changed since: what the run had is said explicitly, unless it is overridden.
    # An option that did not exist then keeps its default.
    # A {...} changes what it names, and nothing else of its section.
    free = {key_of(word) for word in on_top if not re.match(r"[^=]+=\s*\{", word)}
    now = comparable(compose_words(words)[0])
    found = differences(then, now)
    # The stages take their lengths from epochs.*: where those are said, what follows from them is not.
    said = {key: values for key, values in found.items() if key.startswith("epochs.")}
    lengths = [f"++{key}={literal(old)}" for key, (old, _) in said.items()]
    now = comparable(compose_words([*words, *lengths])[0])
    found = said | differences(then, now)
    # Other groups may have another choice by now, and take what that one has not; data has one shape.
    gone = [key for key in found if key.startswith("data.") and not _has(now, key)]
    if gone:
        raise ConfigError(
            f"from_run={run_dir} had options that this code has not ({', '.join(gone)}): {remedy}"
        )
    pins = [
        f"++{key}={literal(old)}"
        for key, (old, _) in found.items()
        if not {key.split(".")[0], key.split(".")[-1]} & free and _has(then, key)
    ]
    # Taking the old stages would repeat nothing.
    flags = [word for word in on_top if word in MULTIRUN_FLAGS]
    words = [*flags, *words, *pins, "reuse_stages=false", *on_top[len(flags) :]]
    _say_what_differs(run_dir, record, words)
    return words


def _say_what_differs(run_dir: Path, record: Record, words: Words) -> None:
    now = identity(compose_words(words)[0])
    print(f"from_run: repeats {run_dir}")
    changed = differences(record["config"], now["config"])
    changed.pop("reuse_stages", None)
    if changed:
        print(f"  with other options: {show(changed)}")
    if now["manifest_sha256"] != record["manifest_sha256"]:
        print("  on OTHER DATA (its manifest.csv differs): the figures will differ too")
    if now["init_from_sha256"] != record["init_from_sha256"]:
        print("  from OTHER WEIGHTS (init_from is another file now): the figures will differ too")
    if surroundings := changed_surroundings(record):
        print(f"  in other surroundings: {show(surroundings)}")


def _resume(words: Words, given: Path | None) -> Words:
    options, places = compose_words(words)
    if places.multirun:
        if places.storage:
            raise ConfigError(
                "resume=true: a search with hydra.sweeper.storage goes on by itself; repeat the "
                "command without resume"
            )
        folder = _find_sweep(words, places.sweep_dir, given)
        return [*_without(words, "hydra.sweep.dir"), f"hydra.sweep.dir={literal(str(folder))}"]
    folder = _find_run(options, places.run_dir, given)
    return [*_without(words, "hydra.run.dir"), f"hydra.run.dir={literal(str(folder))}"]


def _find_run(options: Options, target: Path, given: Path | None) -> Path:
    """The newest unfinished run with these options; ``given``, or beside ``target``, or that itself."""
    if given is not None and find_record(given) is None:
        raise ConfigError(f"resume={given} holds no {RUN}: {_hint(given)}")
    folders = [given] if given else _candidates(target, RUN)
    records = {folder: find_record(folder) for folder in folders}
    folders = [folder for folder in folders if records[folder]]  # without those of evaluations
    states = {folder: read_status(folder).get("state") for folder in folders}
    if given is not None and states[given] == "running":
        raise ConfigError(f"resume={given}: this run is still going on in another process")
    open_runs = [f for f in folders if given or states[f] not in ("running", "finished")]
    if not open_runs:
        raise ConfigError(f"resume=true: {_nothing(target, folders, 'run')}")
    wanted = comparable(options)
    same = [f for f in open_runs if not differences(records[f]["config"], wanted)]
    folder = (same or open_runs)[0]
    own = records[folder]["attempts"][-1]["command"]
    require_same(
        folder,
        records[folder],
        options,
        "give the options that it was begun with, or start anew without resume"
        + (f". It was begun with: {own}" if own else ""),
    )
    print(f"resume: goes on with {folder}")
    return folder


def _find_sweep(words: Words, target: Path, given: Path | None) -> Path:
    """As :func:`_find_run` for a sweep: one with the same options, each of its runs still the same."""
    from brainmtl.sweeps.jobs import MULTIRUN, find_jobs

    if given is not None and not (given / MULTIRUN).is_file():
        raise ConfigError(f"resume={given} is no sweep (it has no {MULTIRUN})")
    folders = [given] if given else _candidates(target, MULTIRUN)
    jobs = {folder: find_jobs(folder) for folder in folders}
    states = {folder: {job.state for job in jobs[folder]} for folder in folders}
    if given is not None and "running" in states[given]:
        raise ConfigError(f"resume={given}: this sweep is still going on in another process")
    open_sweeps = [f for f in folders if given or states[f] - {"finished"}]
    open_sweeps = [f for f in open_sweeps if "running" not in states[f]]
    if not open_sweeps:
        raise ConfigError(f"resume=true: {_nothing(target, folders, 'sweep')}")
    wanted = {w for w in words if not w.startswith(("-", "hydra.", "hydra/"))}
    begun = {f: set(OmegaConf.load(f / MULTIRUN).hydra.overrides.task) for f in open_sweeps}
    folder = next((f for f in open_sweeps if begun[f] == wanted), open_sweeps[0])
    if begun[folder] != wanted:
        lost, added = sorted(begun[folder] - wanted), sorted(wanted - begun[folder])
        raise ConfigError(
            f"{folder} was begun with other options (missing now: {lost}; new: {added}): give the "
            "options that it was begun with, or start anew without resume"
        )
    for job in jobs[folder]:
        record = find_record(job.directory)
        if record is not None:
            options = compose_words(record["overrides"])[0]
            require_same(job.directory, record, options, "start anew without resume")
    done = sum(job.state == "finished" for job in jobs[folder])
    print(f"resume: goes on with {folder}, {done} of {len(jobs[folder])} runs are finished")
    return folder


def _candidates(target: Path, mark: str) -> list[Path]:
    """Folders with the file ``mark``, the newest first: ``target`` itself, or those beside it."""
    if (target / mark).is_file():
        return [target]
    found = list(target.parent.glob(f"*/{mark}"))
    return [path.parent for path in sorted(found, key=lambda p: p.stat().st_mtime, reverse=True)]


def _nothing(target: Path, folders: Sequence[Path], what: str) -> str:
    if not folders:
        return f"no {what} was begun in {target.parent}: start it without resume"
    return (
        f"every {what} in {target.parent} is finished or still going on: start anew without resume"
    )


def _hint(folder: Path) -> str:
    if (folder / "multirun.yaml").is_file():
        return f"it is a sweep; give one of its runs, such as {folder / '0'}"
    other = "the one there is of another command; " if (folder / RUN).is_file() else ""
    return f"{other}give the folder of a run, outputs/EXPERIMENT/DATE_TIME"


def _without(words: Words, key: str) -> Words:
    return [word for word in words if word.startswith("-") or key_of(word) != key]


def _has(config: Options, key: str) -> bool:
    value: Any = config
    for name in key.split("."):
        if not isinstance(value, dict) or name not in value:
            return False
        value = value[name]
    return True
