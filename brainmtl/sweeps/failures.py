"""A run that fails ends no sweep: it is recorded, the others go on, and the end says what to do."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from brainmtl.config import plain
from brainmtl.errors import BrainMTLError

log = logging.getLogger("brainmtl.sweeps")


def keep_going(function: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Within a multirun, turn an exception of ``function(cfg)`` into a recorded failure and None.

    Hydra would raise the first exception when all jobs have ended, and its Optuna sweeper as soon
    as a batch has: neither says what else failed. An interruption (Ctrl-C) ends the sweep.
    """

    @functools.wraps(function)
    def job(cfg: DictConfig) -> Any:
        try:
            return function(cfg)
        except Exception as error:
            if HydraConfig.get().mode != RunMode.MULTIRUN:
                raise
            from brainmtl.training.run_folder.settings import run_settings
            from brainmtl.training.run_folder.status import record_failure

            # A message of ours says it all; of anything else the trace is wanted.
            found = _ours(error)
            log.error("run failed: %s", found or error, exc_info=found is None and error)
            options = plain(cfg)
            stage = options["stage"]
            record_failure(
                Path(HydraConfig.get().runtime.output_dir),
                found or error,
                stage.get("order") or [stage["name"]],
                run_settings(options),
            )
            return None

    return job


def _ours(error: BaseException | None) -> BrainMTLError | None:
    """The error of ours behind one of Hydra, whose message repeats the call around it."""
    while error is not None and not isinstance(error, BrainMTLError):
        error = error.__cause__
    return error


class SweepEnd(Callback):
    """Hydra's hooks around a multirun: names the failed runs at its end, with exit status 1 if any."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Keep the sweep's configuration in its folder: Hydra's basic sweeper alone does so itself."""
        from brainmtl.sweeps.jobs import MULTIRUN

        folder = Path(config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(config, folder / MULTIRUN)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print what failed, how to run it again, and what comes next."""
        from brainmtl.sweeps.jobs import find_jobs
        from brainmtl.training.continuation.command_line import word

        folder = Path(config.hydra.sweep.dir)
        jobs = find_jobs(folder)
        lost = [job for job in jobs if job.state != "finished"]
        print(f"{len(jobs) - len(lost)} of {len(jobs)} runs finished: {folder}")
        if len(lost) < len(jobs):
            folds = {name for job in jobs for name in job.values} == {"fold"}
            tool = "crossval" if folds else "sweep_report"
            print(f"next: python -m brainmtl.{tool} {word('dir', folder)}")
        for job in lost:
            print(f"{job.state}: {job.directory.name} ({job.label}): {job.error}", file=sys.stderr)
            print(f"  again: {job.rerun()}", file=sys.stderr)
        if lost:
            print("  or repeat the whole command: finished stages are reused", file=sys.stderr)
            sys.exit(1)
