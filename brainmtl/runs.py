"""``python -m brainmtl.runs [dir=outputs]``: all runs in one table, newest first."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from brainmtl.config import entry, plain


def runs(options: dict[str, Any]) -> list[dict[str, Any]]:
    """Print the table that ``conf/runs.yaml`` asks for; returns one dict per run."""
    from brainmtl.evaluation.table import print_table
    from brainmtl.files import atomic_path
    from brainmtl.sweeps.overview import overview, overview_csv, overview_table

    lines = overview(options["dir"], options["sort"], options["split"])
    print_table(overview_table(lines, options["dir"]))
    if options["csv"]:
        with atomic_path(options["csv"]) as temporary:
            overview_csv(lines, temporary)
        print(f"table: {options['csv']}")
    return lines


@entry("runs")
def main(cfg: DictConfig) -> None:
    """Command-line entry."""
    runs(plain(cfg))


if __name__ == "__main__":
    main()
