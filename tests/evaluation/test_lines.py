from __future__ import annotations

from pathlib import Path

import pytest

from brainmtl.errors import DataError
from brainmtl.evaluation.lines import read_lines, write_lines

LINES = [
    {
        "image_id": "007",
        "group": "001",
        "cls": 1,
        "dice": 0.5,
        "reference_pixels": 12,
        "hd95": None,
    },
    {
        "image_id": "8",
        "group": "NA",
        "cls": -1,
        "dice": None,
        "reference_pixels": None,
        "hd95": None,
    },
]


def test_lines_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    write_lines(path, LINES)
    found = read_lines(path)
    assert found == LINES
    assert [type(v) for v in found[0].values()] == [type(v) for v in LINES[0].values()]


def test_counts_are_written_whole_beside_empty_cells(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.csv", LINES)
    assert "12.0" not in (tmp_path / "a.csv").read_text(encoding="utf-8")


def test_a_missing_table_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing.csv cannot be read .* evaluate again"):
        read_lines(tmp_path / "nothing.csv")
