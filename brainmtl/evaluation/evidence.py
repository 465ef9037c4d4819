"""What an evaluation found, and the files that it becomes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brainmtl.evaluation.card import build_card, write_card
from brainmtl.evaluation.lines import CASES, PREDICTIONS, write_lines
from brainmtl.evaluation.report import Section, write_report
from brainmtl.evaluation.scores import score_sources
from brainmtl.evaluation.sites import add_sites
from brainmtl.evaluation.statistics.intervals import add_intervals
from brainmtl.files import check_out_dir, write_json
from brainmtl.inference.operating.bands import check_bands, load_bands

BASELINES, ROBUSTNESS = "baselines.csv", "robustness.csv"
MASKS, PENDING_MASKS = "masks", ".masks"  # whole, and while the cases are still predicted
SEAL = "run.json"  # written last
Lines = list[dict[str, Any]]
Pictures = dict[str, list[tuple[str, Path]]]


@dataclass
class Evidence:
    """Lines of one model, or of all folds together, and the sections made of them.

    ``result`` is metrics.json; ``shortcuts`` and ``robustness`` are None where not asked for;
    ``baseline_lines`` are the predictions of the shortcut section's baselines, ``robustness_lines``
    what the model said of the images that the robustness section altered.
    """

    rows: Lines
    cases: Lines
    result: dict[str, Any] = field(default_factory=dict)
    shortcuts: dict[str, Any] | None = None
    robustness: dict[str, Any] | None = None
    baseline_lines: Lines = field(default_factory=list)
    robustness_lines: Lines = field(default_factory=list)
    pictures: Pictures = field(default_factory=dict)

    def score(
        self,
        cls_threshold: float | None,
        seg_threshold: float,
        min_false_positive_pixels: int,
        resamples: int,
        seed: int,
    ) -> None:
        """Fill ``result`` from the lines, intervals included."""
        self.result = score_sources(
            self.rows, self.cases, cls_threshold, seg_threshold, min_false_positive_pixels
        )
        add_intervals(self.result, self.rows, self.cases, resamples, seed)
        add_sites(self.result, self.rows, self.cases, resamples, seed)


def check_free(out_dir: Path) -> None:
    """Raise ConfigError where no evaluation can be written: a file, or the folder of another command."""
    check_out_dir(out_dir, SEAL, "checkpoint_sha256")


def unseal(out_dir: Path) -> None:
    """Make the folder, or what an older evaluation left in it no longer whole, and without its masks.

    Whatever interrupts this evaluation, nobody takes files of two for one.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(out_dir / PENDING_MASKS, ignore_errors=True)
    seal = out_dir / SEAL
    if seal.is_file():
        seal.unlink()
        shutil.rmtree(out_dir / MASKS, ignore_errors=True)


def publish(
    out_dir: Path,
    evidence: Evidence,
    run: Mapping[str, Any],
    bands: Sequence[Mapping[str, Any]] | None,
    figures: bool,
) -> None:
    """Write tables, metrics, sections, report and model card; ``run.json`` last, as the seal.

    Into a folder that :func:`unseal` has made ready.
    """
    out_dir = out_dir.absolute()  # pictures are named absolutely, or relative to it
    if (out_dir / PENDING_MASKS).is_dir():
        shutil.rmtree(out_dir / MASKS, ignore_errors=True)
        (out_dir / PENDING_MASKS).rename(out_dir / MASKS)
    for name, lines in (
        (PREDICTIONS, evidence.rows),
        (CASES, evidence.cases),
        (BASELINES, evidence.baseline_lines),
        (ROBUSTNESS, evidence.robustness_lines),
    ):
        if lines:
            write_lines(out_dir / name, lines)
        else:
            (out_dir / name).unlink(missing_ok=True)
    write_json(out_dir / "metrics.json", evidence.result)
    for name in ("shortcuts", "robustness"):
        section = getattr(evidence, name)
        if section is not None:
            write_json(out_dir / f"{name}.json", section)
        else:  # an older evaluation's would be taken for a part of this one
            (out_dir / f"{name}.json").unlink(missing_ok=True)
    checked = load_bands() if bands is None else check_bands(bands)
    write_report(
        out_dir,
        evidence.result,
        run,
        evidence.rows,
        evidence.cases,
        evidence.pictures,
        _sections(evidence, run["display_names"], out_dir / "figures" if figures else None),
        checked,
        draw=figures,
    )
    write_card(out_dir, build_card(evidence.result, run, checked))
    write_json(out_dir / SEAL, run)


def _sections(
    evidence: Evidence, names: Mapping[str, str], folder: Path | None
) -> Sequence[Section]:
    from brainmtl.evaluation import robustness, shortcuts

    found = []
    if evidence.shortcuts is not None:
        drawn = shortcuts.section_figures(evidence.shortcuts, names, folder) if folder else []
        found.append(
            Section(
                "Did it learn the tumour or the source?",
                shortcuts.section_markdown(evidence.shortcuts, names),
                drawn,
                alerts=evidence.shortcuts["baselines"]["alerts"],
                findings=evidence.shortcuts["baselines"]["findings"],
            )
        )
    if evidence.robustness is not None:
        drawn = robustness.robustness_figures(evidence.robustness, names, folder) if folder else []
        text = robustness.robustness_markdown(evidence.robustness, names)
        found.append(Section("Robustness", text, drawn))
    return found
