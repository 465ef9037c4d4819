"""``curves.png``: what is written on it can be read."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from brainmtl.training.run_folder.records import Run
from brainmtl.training.summary.curves import draw_curves

STAGES = {"seg_warmup": 3, "cls_head": 1, "joint_1": 3, "joint_2": 3, "joint_3": 3, "joint": 1}


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_names_of_stages_and_titles_do_not_overlap(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the members of a mean, too, which are many short stages."""
    drawn: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *arguments: Any, **options: Any) -> None:
        drawn.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    stages = {
        name: {
            "monitor": "val/combined",
            "stage": {"mode": "max"},
            "history": [{"epoch": k, "val/combined": 0.5, "lr/head": 1e-3} for k in range(epochs)],
        }
        for name, epochs in list(STAGES.items())[:count]
    }
    draw_curves(Run(tmp_path, {}, stages), tmp_path / "curves.png")
    (figure,) = drawn
    for ax in figure.axes:
        boxes = [text.get_window_extent() for text in (ax.title, *ax.texts)]
        assert len(boxes) == 1 + count
        assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
        assert all(box.y1 <= figure.bbox.y1 for box in boxes)
