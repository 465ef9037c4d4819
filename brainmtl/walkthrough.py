"""``make demo``: the whole way on the embedded synthetic data, from raw files to held-out figures.

It runs the very commands of the README, prints each before it starts, and reuses what is there:
raw files, prepared samples and finished stages. It fails when the held-out figures fall below the floor.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from brainmtl.config import PROJECT_ROOT
from brainmtl.errors import BrainMTLError
from brainmtl.training.continuation.command_line import option, word

STAGES = ("seg_warmup", "cls_head", "joint")
# Held-out synthetic subjects, after the joint stage. Far below what the run reaches, far above
# what a broken one does: a global threshold stays below Dice 0.50, image statistics below AUC 0.75.
FLOOR = {"dice": 0.60, "roc_auc": 0.80}


def main(arguments: list[str] | None = None) -> int:
    """Run the walkthrough; 0 when every step worked and the figures reach the floor."""
    parser = argparse.ArgumentParser(
        prog="python -m brainmtl.walkthrough",
        description="Synthetic data in, three trained stages and a table of held-out figures out. "
        "Run again, it reuses what is there.",
    )
    parser.add_argument(
        "--raw-dir",
        default=str(PROJECT_ROOT / "data/raw/phantom"),
        help="where the synthetic raw files go (brainmtl's data/raw/phantom)",
    )
    parser.add_argument(
        "--data-dir",
        default=str(PROJECT_ROOT / "data/processed"),
        help="where the prepared samples go (brainmtl's data/processed)",
    )
    parser.add_argument("overrides", nargs="*", help="passed on to train.py, e.g. epochs.joint=10")
    options = parser.parse_args(arguments)
    # The commands run in the project's folder, whatever paths are relative to.
    raw_dir, data_dir = Path(options.raw_dir).absolute(), Path(options.data_dir).absolute()
    started = time.perf_counter()
    try:
        _run(
            "-m",
            "brainmtl.prepare",
            "source=phantom",
            option("raw_dir", raw_dir),
            option("out_dir", data_dir),
        )
        _run(
            "train.py",
            "experiment=quick_test",
            "data=phantom",
            option("data_dir", data_dir),
            *options.overrides,
        )
        # The run itself, not the link to the latest one, which the next run moves.
        latest = PROJECT_ROOT / "outputs/latest"
        run_dir = latest.parent / latest.readlink()
        found = [_evaluate(run_dir / stage, data_dir) for stage in STAGES]
    except subprocess.CalledProcessError as error:
        print(
            f"error: the command above failed with exit status {error.returncode}", file=sys.stderr
        )
        return 1
    except BrainMTLError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _print_results(run_dir, found)
    failures = check_floor(found[-1]["metrics"])
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    print(f"{'failed' if failures else 'done'} in {time.perf_counter() - started:.0f} s")
    return 1 if failures else 0


def check_floor(metrics: dict[str, Any]) -> list[str]:
    """What of ``metrics.json`` lies below :data:`FLOOR`, in words; empty when all is well."""
    failures = []
    for source, values in metrics.items():
        figures = {"roc_auc": (values["classification"] or {}).get("roc_auc")}
        if values["segmentation"]:
            figures["dice"] = values["segmentation"]["per_patient"]["dice"]
        for name, value in figures.items():
            if value is None or value < FLOOR[name]:
                failures.append(
                    f"{source}: {name} {value} is below the floor of {FLOOR[name]} (held-out synthetic)"
                )
    return failures


def _run(*command: str) -> None:
    print(f"\n$ python {shlex.join(command)}", flush=True)
    subprocess.run([sys.executable, *command], check=True, cwd=PROJECT_ROOT)


def _evaluate(stage_dir: Path, data_dir: Path) -> dict[str, Any]:
    from brainmtl.evaluation.run import evaluate

    # The finished model alone is asked whether it has learnt the tumour; robustness takes minutes.
    sections = ("shortcuts",) if stage_dir.name == STAGES[-1] else ()
    checkpoint = stage_dir / "checkpoints/best.ckpt"
    print(
        f"\n$ python evaluate.py {word('ckpt', checkpoint.relative_to(PROJECT_ROOT))} {word('data_dir', data_dir)} "
        f"sections=[{','.join(sections)}]",
        flush=True,
    )
    return evaluate(checkpoint, data_dir, sections=sections)


def _print_results(run_dir: Path, found: list[dict[str, Any]]) -> None:
    from brainmtl.evaluation.table import print_table, stage_rows, stage_table
    from brainmtl.files import write_text

    rows = []
    for stage, evaluation in zip(STAGES, found, strict=True):
        record = json.loads((run_dir / stage / "stage.json").read_text(encoding="utf-8"))
        rows += stage_rows(stage, evaluation, seconds=record["seconds"])
    table, markdown = stage_table(
        rows, "Held-out subjects, SYNTHETIC data (seconds: training of the stage)"
    )
    print()
    print_table(table)
    write_text(run_dir / "table.md", markdown)
    print(f"checkpoints   {run_dir}/<stage>/checkpoints/best.ckpt")
    print(f"curves        {PROJECT_ROOT}/.venv/bin/tensorboard --logdir {run_dir}")
    print(f"report        {found[-1]['out_dir'] / 'report.html'}")
    print(f"model card    {found[-1]['out_dir'] / 'model_card.md'}")
    print(f"this table    {run_dir / 'table.md'}")


if __name__ == "__main__":
    sys.exit(main())
