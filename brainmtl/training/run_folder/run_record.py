"""``run.json``: all that it takes to tell whether two runs are the same, and to repeat one."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from brainmtl import __version__
from brainmtl.config import PROJECT_ROOT
from brainmtl.errors import ConfigError, DataError
from brainmtl.files import sha256, write_json
from brainmtl.training.continuation.start import AUTO, starting_weights

RUN = "run.json"
PACKAGES = ("torch", "pytorch-lightning", "torchmetrics", "monai", "numpy", "scipy")
PACKAGES += ("scikit-learn", "hydra-core", "omegaconf", "pandas", "pillow")
# What must be the same beside the options of two runs that are to be one.
HASHES = ("manifest_sha256", "init_from_sha256", "preprocessing_version", "brainmtl_version")
SHOWN = 12
Options = dict[str, Any]
Record = dict[str, Any]


def comparable(options: Options) -> Options:
    """``options`` without the run's own folder, and with absolute paths: what makes two runs equal."""
    found = {name: value for name, value in options.items() if name != "run_dir"}
    found["data_dir"] = _absolute(found["data_dir"])
    if found["init_from"] != AUTO:
        found["init_from"] = _absolute(found["init_from"])
    found["data"] = found["data"] | {"data_dir": _absolute(found["data"]["data_dir"])}
    return found


def identity(options: Options, manifest_sha256: str | None = None) -> Record:
    """What must be the same when a run goes on: configuration, data, initial weights, version.

    ``manifest_sha256``: of the data, where it is known already.

    Raises:
        DataError: data or initial weights are not there.
    """
    from brainmtl.data.manifest import manifest_hash
    from brainmtl.data.preprocessing.preprocess import PREPROCESSING_VERSION

    init_from = starting_weights(options)
    if init_from and not init_from.is_file():
        raise DataError(f"init_from={init_from}: no such checkpoint")
    return {
        "config": comparable(options),
        "manifest_sha256": manifest_sha256 or manifest_hash(options["data"]["data_dir"]),
        "init_from_sha256": sha256(init_from) if init_from else None,
        "preprocessing_version": PREPROCESSING_VERSION,
        "brainmtl_version": __version__,
    }


def write_record(
    run_dir: Path,
    options: Options,
    command: str | None,
    words: list[str],
    manifest_sha256: str | None = None,
) -> None:
    """Write ``run.json`` of a run that begins, or note in it that the run goes on."""
    attempt = {
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": command,
        "git": git_state(),
        "versions": package_versions(),
        "machine": machine(),
    }
    found = find_record(run_dir)
    if found is None:
        about = {"overrides": words, "seeds": {"seed": options["seed"]}}
        found = {**identity(options, manifest_sha256), **about, "attempts": []}
    write_json(run_dir / RUN, found | {"attempts": [*found["attempts"], attempt]})


def find_record(run_dir: Path) -> Record | None:
    """What ``run.json`` says; None where there is none, or that of another command."""
    path = run_dir / RUN
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return record if "config" in record else None


def require_same(
    run_dir: Path,
    record: Record,
    options: Options,
    remedy: str,
    manifest_sha256: str | None = None,
) -> None:
    """Refuse to go on with a run under other conditions.

    Raises:
        ConfigError: each difference as ``key: old -> new``.
    """
    now = identity(options, manifest_sha256)
    found = differences(record["config"], now["config"]) | hash_differences(record, now)
    if found:
        raise ConfigError(f"{run_dir} was begun under other conditions ({show(found)}): {remedy}")


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """{dotted key: (old, new)} of all values that differ; None stands for a key that is missing."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            inner = differences(before, after)
            found |= {f"{key}.{name}": pair for name, pair in inner.items()}
        elif before != after or (key in old) != (key in new):
            found[key] = (before, after)
    return found


def hash_differences(old: Record, new: Record) -> dict[str, tuple[Any, Any]]:
    """{name: (old, new)} of what :data:`HASHES` names and differs in two records."""
    return differences(*({name: record[name] for name in HASHES} for record in (old, new)))


def show(found: Mapping[str, tuple[Any, Any]]) -> str:
    """``seed: 0 -> 1; loss.lambda_cls: 1.0 -> 0.3``; hashes are cut, a long list too."""
    texts = [f"{key}: {_short(old)} -> {_short(new)}" for key, (old, new) in found.items()]
    more = f"; and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return "; ".join(texts[:SHOWN]) + more


def git_state() -> dict[str, Any] | None:
    """Revision of the code, and whether it has changes that are not committed; None without git."""
    try:
        revision = _git("rev-parse", "HEAD")
        return {"revision": revision, "dirty": bool(_git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that figures can depend on."""
    found = {"python": platform.python_version(), "brainmtl": __version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Processor, cores, threads and GPU: what the last digits of a figure can depend on."""
    import torch

    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
    }


def changed_surroundings(record: Record) -> dict[str, tuple[Any, Any]]:
    """What differs from the run's last attempt in code, packages and threads; {} is best."""
    last = record["attempts"][-1]
    old = {**last["versions"], "git": last["git"], "threads": last["machine"]["threads"]}
    now = {**package_versions(), "git": git_state(), "threads": machine()["threads"]}
    return differences(old, now)


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(PROJECT_ROOT), *arguments],
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    ).stdout.strip()


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines: Iterable[str] = path.read_text().splitlines() if path.is_file() else ()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _absolute(path: str | None) -> str | None:
    return str(Path(path).absolute()) if path else None


def _short(value: Any) -> str:
    text = "null" if value is None else str(value)
    limit = 12 if len(text) == 64 and text.isalnum() else 60
    return f"{text[:limit]}..." if len(text) > limit else text
