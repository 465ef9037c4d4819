"""Parameters and multiply-adds of every model in conf/model: python -m brainmtl.model_table."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from brainmtl.evaluation.table import print_table
from brainmtl.markdown import markdown_table

if TYPE_CHECKING:
    from rich.table import Table

    from brainmtl.models.summary import ModelSummary

CONFIG_DIR = Path(__file__).resolve().parent.parent / "conf" / "model"
PARTS = ("encoder", "decoder", "head", "total")


def summarize_choices(
    config_dir: Path = CONFIG_DIR, image_size: int = 256
) -> dict[str, ModelSummary]:
    """Build every model of `config_dir` and return {choice: summary}, smallest first."""
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from brainmtl.models.summary import summarize

    summaries = {
        path.stem: summarize(instantiate(OmegaConf.load(path)), image_size)
        for path in sorted(config_dir.glob("*.yaml"))
    }
    return dict(sorted(summaries.items(), key=lambda item: item[1].macs["total"]))


def table_rows(summaries: dict[str, ModelSummary]) -> list[list[str]]:
    """Return the table's header and rows: one quantity per row, one model per column."""
    columns = summaries.values()
    rows = [["", *summaries]]
    for part in PARTS:
        millions = [f"{summary.parameters[part] / 1e6:.2f} M" for summary in columns]
        rows.append([f"parameters, {part}", *millions])
    for part in PARTS:
        rows.append(
            [
                f"multiply-adds, {part}",
                *(_giga(summary.macs[part]) for summary in columns),
            ]
        )
    rows.append(["multiply-adds, do_seg=False", *(_giga(s.cls_only_macs) for s in columns)])
    return rows


def to_markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return header and rows as a Markdown table."""
    header, *body = rows
    return "\n".join(markdown_table(header, body))


def terminal_table(rows: Sequence[Sequence[str]], image_size: int) -> Table:
    """Return header and rows as a table for the terminal."""
    from rich.table import Table

    header, *body = rows
    table = Table(title=f"Models in conf/model, one {image_size}x{image_size} image")
    for column, name in enumerate(header):
        table.add_column(name, justify="right" if column else "left")
    for row in body:
        table.add_row(*row, end_section=row[0].endswith(", total"))
    return table


def _giga(count: int) -> str:
    return f"{count / 1e9:.3g} G"


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m brainmtl.model_table",
        description="Parameters and multiply-adds (per image, of convolutions and linear layers) of"
        " every model in conf/model, as counted by PyTorch.",
    )
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    parser.add_argument(
        "--image-size", type=int, default=256, metavar="PIXELS", help="side of the image (256)"
    )
    options = parser.parse_args(arguments)
    if options.image_size < 1:
        parser.error(f"--image-size {options.image_size}: must be at least 1, e.g. 256")
    rows = table_rows(summarize_choices(image_size=options.image_size))
    if options.markdown:
        print(to_markdown(rows))
    else:
        print_table(terminal_table(rows, options.image_size))


if __name__ == "__main__":
    main()
