"""``python evaluate.py ckpt=PATH [data_dir=...] [split=test]``: what a checkpoint is worth."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from brainmtl.config import entry, plain


def evaluate(options: dict[str, Any]) -> dict[str, Any]:
    """Evaluate as ``conf/evaluate.yaml`` says, print the table and where the files lie."""
    from brainmtl.evaluation.run import evaluate as run_evaluation
    from brainmtl.evaluation.table import print_table, stage_rows, stage_table

    found = run_evaluation(**options)
    run, out_dir = found["run"], found["out_dir"]
    title = f"{run['checkpoint']}, split {run['split']}"
    print_table(stage_table(stage_rows(str(run["stage"]), found), title)[0])
    for remark in run["remarks"]:
        print(f"note: {remark}")
    print(f"report: {out_dir / 'report.html'}")
    return found


@entry("evaluate")
def main(cfg: DictConfig) -> None:
    """Command-line entry."""
    evaluate(plain(cfg))


if __name__ == "__main__":
    main()
