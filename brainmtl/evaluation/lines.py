"""predictions.csv and cases.csv: written, and read back as they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from brainmtl.errors import DataError
from brainmtl.files import atomic_path

PREDICTIONS, CASES = "predictions.csv", "cases.csv"
TEXT = {
    "image_id",
    "source",
    "group",
    "site",
    "case_id",
    "split",
    "kind",
    "distance_unit",
    "rule_unit",
    "baseline",
    "condition",
}
Lines = list[dict[str, Any]]


def write_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write dicts of one set of keys as CSV in one step; None becomes an empty cell."""
    import pandas as pd

    # Int64 keeps counts whole beside empty cells (a float column would write 12.0).
    table = pd.DataFrame(list(lines)).convert_dtypes()
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)


def read_lines(path: Path) -> Lines:
    """The lines that :func:`write_lines` wrote: text as text, counts as int, empty cells as None.

    Raises:
        DataError: the file is missing or is no such table.
    """
    import pandas as pd

    try:
        frame = pd.read_csv(
            path, dtype=dict.fromkeys(TEXT, "string"), keep_default_na=False, na_values=[""]
        )
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read ({error}): evaluate again with `python evaluate.py ckpt=...`"
        ) from error
    # A column of counts with an empty cell was read as float: Int64 where all values are whole.
    frame = frame.convert_dtypes().astype(object)
    return frame.where(frame.notna(), None).to_dict("records")
