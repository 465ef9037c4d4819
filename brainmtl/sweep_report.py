"""``python -m brainmtl.sweep_report dir=...``: the runs of a sweep in one table and one plot."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from brainmtl.config import entry, plain


def sweep_report(options: dict[str, Any]) -> dict[str, Any]:
    """Report as ``conf/sweep_report.yaml`` says; print the table, the choice and the files."""
    from brainmtl.evaluation.table import print_table
    from brainmtl.sweeps.report import missing_lines, table_rows, terminal_table
    from brainmtl.sweeps.run import NAME, report_sweep
    from brainmtl.sweeps.settings import reasons

    options = dict(options)
    stage = options.pop("stage_name")
    found = report_sweep(stage=stage, **options)
    settings, chosen = found["settings"], found["chosen"]
    print_table(terminal_table(*table_rows(settings, found["names"], chosen)))
    for line in missing_lines(found["jobs"], stage):
        print(line)
    print(f"chosen: {' '.join(reasons(settings, chosen)).replace('**', '')}")
    print(f"report: {found['out_dir'] / f'{NAME}.md'}")
    return found


@entry("sweep_report")
def main(cfg: DictConfig) -> None:
    """Command-line entry."""
    sweep_report(plain(cfg))


if __name__ == "__main__":
    main()
