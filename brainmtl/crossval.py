"""``python -m brainmtl.crossval dir=...``: the folds of a cross-validation as one evaluation."""

from __future__ import annotations

from omegaconf import DictConfig

from brainmtl.config import entry, plain
from brainmtl.errors import ConfigError


@entry("crossval")
def main(cfg: DictConfig) -> None:
    """Command-line entry."""
    from brainmtl.evaluation.crossval.repeats import check_repeats, summarise_repeats
    from brainmtl.evaluation.crossval.run import cross_validate
    from brainmtl.evaluation.table import print_table, stage_rows, stage_table

    options = plain(cfg, several=("dir",))
    folders = options.pop("dir")
    folders = folders if isinstance(folders, list) else [folders]
    if len(folders) > 1:
        if options["out_dir"]:
            raise ConfigError(
                f"out_dir={options['out_dir']} is one folder for the evaluations of {len(folders)} repeats: leave "
                "it away, each is written beside its own folds"
            )
        check_repeats(folders, options["stage_name"])
    found = []
    for folder in folders:
        found.append(cross_validate(folder, **options))
        run = found[-1]["run"]
        title = f"{folder}: {len(run['folds'])} folds, every case predicted once"
        print_table(stage_table(stage_rows(str(run["stage"]), found[-1]), title)[0])
        for remark in run["remarks"]:
            print(f"note: {remark}")
        print(f"report: {found[-1]['out_dir'] / 'report.html'}")
    if len(found) > 1:
        print(f"repeats: {summarise_repeats(found)}")


if __name__ == "__main__":
    main()
