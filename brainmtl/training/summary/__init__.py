"""``summary.md`` of a run, with its curves as a picture: for people without TensorBoard."""

from __future__ import annotations

from pathlib import Path

from brainmtl.files import write_text
from brainmtl.training.run_folder.records import RECORD, Run, read_run
from brainmtl.training.summary.curves import draw_curves
from brainmtl.training.summary.markdown import summary_text

NAME, PICTURE = "summary.md", "curves.png"


def write_summary(run_dir: Path, picture: bool = True) -> Path | None:
    """Write ``summary.md`` of the stages finished so far, with ``curves.png``; None without a run.

    Everything comes from ``status.json`` and ``stage.json``, so that it can be written again later.
    """
    run = read_run(run_dir)
    if not run.stages and not run.status:
        return None
    drawn = _is_current(run) or (picture and draw_curves(run, run_dir / PICTURE))
    write_text(run_dir / NAME, summary_text(run, PICTURE if drawn else None))
    return run_dir / NAME


def _is_current(run: Run) -> bool:
    """Whether the picture is newer than every record of a stage: drawing takes a second."""
    path = run.directory / PICTURE
    records = [run.directory / stage / RECORD for stage in run.stages]
    return path.is_file() and all(
        record.stat().st_mtime < path.stat().st_mtime for record in records
    )
