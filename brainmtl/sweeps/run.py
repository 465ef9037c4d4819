"""``report_sweep(dir)``: every run of a sweep evaluated, all of them in one table and one plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from brainmtl.errors import ConfigError
from brainmtl.evaluation import selection
from brainmtl.evaluation.lines import write_lines
from brainmtl.files import write_text
from brainmtl.sweeps.evaluations import evaluation_of
from brainmtl.sweeps.jobs import Job, find_jobs
from brainmtl.sweeps.plot import draw_pareto
from brainmtl.sweeps.report import csv_lines, report_text
from brainmtl.sweeps.settings import Result, choose, group_settings
from brainmtl.words import quantity

NAME = "sweep_report"


def report_sweep(
    dir: str | Path,
    stage: str = "joint",
    split: str = "test",
    data_dir: str | Path | None = None,
    out_dir: str | Path | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Evaluate the finished runs of a sweep and compare its settings.

    Args:
        dir: folder of ``python train.py sweep=lambda`` or any other multirun.
        stage: whose checkpoints.
        split: which split is evaluated; the choice is made on validation figures of the training.
        data_dir: prepared folder; None = where the first run was trained.
        out_dir: default ``dir``.
        options: fields of :class:`brainmtl.evaluation.options.EvaluationOptions`.

    Returns:
        ``{"jobs", "results", "settings", "chosen", "names", "out_dir"}``.

    Raises:
        ConfigError: no sweep, or no run of it has finished the stage.
        DataError: as evaluate.
    """
    folder = Path(dir)
    jobs = find_jobs(folder)
    ready = [job for job in jobs if stage in job.run.stages]
    if not ready:
        states = ", ".join(sorted({job.state for job in jobs})) or "none began"
        raise ConfigError(
            f"dir={folder}: no run has finished the stage {stage} ({quantity(len(jobs), 'runs')}: {states}). "
            "Repeat the training command (finished stages are reused), or name another stage_name=..."
        )
    data = selection.require_prepared(data_dir) if data_dir else _trained_on(ready[0], stage)
    results = _evaluated(ready, stage, split, data, options)
    names = {s: n for r in results for s, n in r.evaluation["run"]["display_names"].items()}
    settings = group_settings(jobs, results)
    chosen = choose(settings)
    out = Path(out_dir) if out_dir else folder
    drawn = draw_pareto(settings, names, chosen, split, out / f"{NAME}.png")
    write_lines(out / f"{NAME}.csv", csv_lines(jobs, results, names))
    about = {"stage": stage, "split": split, "folder": str(folder)}
    text = report_text(jobs, settings, names, chosen, about, f"{NAME}.png" if drawn else None)
    write_text(out / f"{NAME}.md", text)
    return {
        "jobs": jobs,
        "results": results,
        "settings": settings,
        "chosen": chosen,
        "names": names,
        "out_dir": out,
    }


def _evaluated(
    jobs: Sequence[Job], stage: str, split: str, data: Path, options: dict[str, Any]
) -> list[Result]:
    """What came of each of ``jobs``; says which one it is at."""
    results = []
    for k, job in enumerate(jobs, 1):
        print(f"[{k}/{len(jobs)}] run {job.number}: {job.label}", flush=True)
        evaluation, reused = evaluation_of(job, stage, split, data, options)
        if reused:
            print(f"  evaluated already: {evaluation['out_dir']}")
        record = job.run.stages[stage]
        mode = record["stage"]["mode"]
        results.append(Result(job, record["monitor"], record["score"], evaluation, mode))
    return results


def _trained_on(job: Job, stage: str) -> Path:
    from brainmtl.training.continuation.checkpoints import read_checkpoint

    meta = read_checkpoint(job.directory / stage / "checkpoints/best.ckpt")["brainmtl"]
    return selection.require_training_folder(meta)
