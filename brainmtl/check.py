"""``python -m brainmtl.check data_dir=...``: verify a prepared folder and print its statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from brainmtl.config import entry, plain
from brainmtl.errors import DataError
from brainmtl.words import quantity

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table


def check(options: dict[str, Any]) -> dict[str, Any]:
    """Check ``options["data_dir"]``, print findings and statistics, return the statistics.

    Raises ConfigError for a source that the folder does not hold, and DataError after everything
    was printed if anything was found.
    """
    from rich.console import Console

    from brainmtl.data.manifest import read_manifest
    from brainmtl.data.preparation.integrity import check_folder
    from brainmtl.data.selection import known_sources
    from brainmtl.data.statistics import dataset_statistics

    data_dir = options["data_dir"]
    frame = read_manifest(data_dir)
    roles = known_sources(frame, options)
    findings = check_folder(data_dir, workers=options["workers"])
    for finding in findings:
        print(f"{finding.path}: {finding.problem}")
    statistics = dataset_statistics(frame, *roles)
    console = Console()
    console.print(split_table(frame))
    console.print(statistics_table(statistics, *roles))
    if findings:
        files = len({finding.path for finding in findings})
        raise DataError(
            f"{quantity(len(findings), 'findings')} in {quantity(files, 'files')} of {data_dir}, listed above. "
            "Prepare the data again; what is sound is reused, and damaged files can be deleted first"
        )
    print(f"{data_dir}: {quantity(len(frame), 'samples')}, nothing wrong")
    return statistics


def split_table(frame: pd.DataFrame) -> Table:
    """Samples, groups, labels and tumour ratio by source and split."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from brainmtl.data.manifest import SPLITS, display_name

    table = Table(title="Prepared samples", box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    table.add_column("source, split", overflow="fold", min_width=12)
    counts = ("samples", "groups", "masks", "tumour", "no tumour", "no label")
    for column in (*counts, "tumour ratio"):  # headings may wrap, numbers may not
        table.add_column(column, justify="right", min_width=max(map(len, column.split())))
    for source, rows in frame.groupby(frame["source"].astype(str)):
        name = display_name(str(source), bool(rows["synthetic"].any()))
        table.add_row(name)
        for split in (*SPLITS, "all"):
            part = rows if split == "all" else rows[rows["split"] == split]
            table.add_row(f"  {split}", *_counts(part), end_section=split == "all")
    return table


def _counts(part: pd.DataFrame) -> list[str]:
    labels = [int((part["label"] == value).sum()) for value in (1, 0, -1)]
    labelled = labels[0] + labels[1]
    numbers = [
        len(part),
        part["group"].nunique(),
        int(part["has_mask"].sum()),
        *labels,
    ]
    ratio = f"{labels[0] / labelled:.3f}" if labelled else "-"
    return [*map(str, numbers), ratio]


def statistics_table(
    statistics: dict[str, Any], seg_sources: list[str], cls_sources: list[str]
) -> Table:
    """What ``dataset.get_statistics()`` returns, one line a value."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    roles = f"brats: {', '.join(seg_sources) or '-'}; kaggle: {', '.join(cls_sources) or '-'}"
    table = Table("statistic", "value", title=f"Statistics ({roles})", box=SIMPLE_HEAD)
    for key, value in statistics.items():
        values = value if isinstance(value, dict) else {"": value}
        for name, number in values.items():
            table.add_row(f"{key} {name}".strip(), _format(number))
    return table


def _format(number: float | None) -> str:
    if number is None:
        return "-"
    return str(number) if isinstance(number, int) else f"{number:.3f}"


@entry("check")
def main(cfg: DictConfig) -> None:
    """Command-line entry."""
    check(plain(cfg))


if __name__ == "__main__":
    main()
