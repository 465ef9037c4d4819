"""What a sweep has to show: the report, the overview of runs, summaries, TensorBoard's HParams."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import compose
from sweeping import Sweep

from brainmtl.errors import ConfigError
from brainmtl.evaluation.lines import read_lines
from brainmtl.sweep_report import sweep_report
from brainmtl.sweeps.jobs import find_jobs

QUICK = ("resamples=100", "progress=false", "operating_point=default")
SOURCES = ["phantom_brats", "phantom_kaggle"]


@pytest.fixture(scope="module")
def report(sweep: Sweep) -> dict[str, Any]:
    return sweep_report(compose("sweep_report", f"dir={sweep.folder}", *QUICK))


def _stage(folder: Path, number: int) -> dict[str, Any]:
    text = (folder / str(number) / "joint/stage.json").read_text(encoding="utf-8")
    return json.loads(text)


def test_means_and_sds_are_over_the_seeds_of_a_setting(
    report: dict[str, Any], sweep: Sweep
) -> None:
    """Against numpy on the metrics.json of the two seeds."""
    setting = report["settings"][1]
    assert setting.name == "lambda_cls=3"
    values: dict[str, list[float]] = {source: [] for source in SOURCES}
    for number in (4, 5):
        path = sweep.folder / str(number) / "joint/evaluation_test/metrics.json"
        metrics = json.loads(path.read_text(encoding="utf-8"))
        for source in SOURCES:
            values[source].append(metrics[source]["classification"]["roc_auc"])
    for source in SOURCES:
        spread = setting.spread(source, "roc_auc")
        assert spread["mean"] == pytest.approx(np.mean(values[source]))
        assert spread["sd"] == pytest.approx(np.std(values[source], ddof=1))
    scores = [_stage(sweep.folder, number)["score"] for number in (4, 5)]
    assert setting.score()["mean"] == pytest.approx(np.mean(scores))
    assert setting.spread("phantom_kaggle", "dice")["mean"] is None


def test_report_has_table_plot_choice_and_what_is_missing(
    report: dict[str, Any], sweep: Sweep
) -> None:
    text = (sweep.folder / "sweep_report.md").read_text(encoding="utf-8")
    chosen = report["chosen"]
    best = max(round(setting.score()["mean"], 3) for setting in report["settings"])
    assert round(chosen.score()["mean"], 3) == best
    assert f"**{chosen.name}**: combined on validation data {best:.3f}" in text
    assert "| brats-like (synthetic) |" in text and "| kaggle-like (synthetic) |" in text
    assert "## Missing: 2 of 6 runs" in text
    for job in find_jobs(sweep.folder)[2:4]:
        assert f"{job.error}: `{job.rerun()}`" in text
    assert "must not be negative" in text
    assert (sweep.folder / "sweep_report.png").read_bytes()[:4] == b"\x89PNG"


def test_csv_has_a_line_per_run_and_source(report: dict[str, Any], sweep: Sweep) -> None:
    lines = read_lines(sweep.folder / "sweep_report.csv")
    assert [line["run"] for line in lines] == [0, 0, 1, 1, 2, 3, 4, 4, 5, 5]
    assert [line["source"] for line in lines[:2]] == SOURCES
    assert lines[4]["state"] == "failed" and lines[4]["roc_auc"] is None
    assert lines[-1]["validation"] == pytest.approx(_stage(sweep.folder, 5)["score"])


def test_a_second_report_reuses_the_evaluations(
    report: dict[str, Any], sweep: Sweep, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = compose("sweep_report", f"dir={sweep.folder}", f"out_dir={tmp_path}", *QUICK)
    again = sweep_report(options)
    assert capsys.readouterr().out.count("evaluated already") == 4
    assert again["chosen"].name == report["chosen"].name
    first = read_lines(sweep.folder / "sweep_report.csv")
    assert read_lines(tmp_path / "sweep_report.csv") == first


def test_folders_without_a_finished_stage_are_refused(sweep: Sweep, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no sweep"):
        sweep_report(compose("sweep_report", f"dir={tmp_path}", *QUICK))
    with pytest.raises(ConfigError, match=r"no run has finished the stage cls_head \(6 runs"):
        sweep_report(compose("sweep_report", f"dir={sweep.folder}", "stage_name=cls_head", *QUICK))


def test_overview_names_every_run_with_its_figures(
    report: dict[str, Any], sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from brainmtl.runs import runs

    path = tmp_path / "runs.csv"
    lines = runs(compose("runs", f"dir={sweep.folder.parent}", "sort=lambda", f"csv={path}"))
    assert [line["lambda_cls"] for line in lines] == [-1, -1, 0.3, 0.3, 3, 3]
    assert [line["state"] for line in lines].count("failed") == 2
    own = next(line for line in lines if line["name"] == "first/4")
    assert own["stage"] == "joint 1/1" and own["seed"] == 0
    assert own["score"] == _stage(sweep.folder, 4)["score"]
    result = next(result for result in report["results"] if result.job.number == 4)
    assert own["figures"]["phantom_brats dice"] == result.figure("phantom_brats", "dice")
    shown = capsys.readouterr().out
    assert "6 runs" in shown and "first/4" in shown and "brats-like" in shown
    with path.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6
    assert {"phantom_kaggle balanced_accuracy", "error", "minutes"} <= set(rows[0])
    with pytest.raises(ConfigError, match="sort=size is unknown"):
        runs(compose("runs", f"dir={sweep.folder}", "sort=size"))


def test_history_of_an_epoch_is_whole(sweep: Sweep) -> None:
    (entry,) = _stage(sweep.folder, 0)["history"]
    assert entry["images"] == 12  # three batches of four
    assert 0 < entry["train_seconds"] < entry["seconds"]
    for name in ("train/loss_seg", "val/loss_cls", "val/balanced_accuracy"):
        assert f"{name}/phantom_brats" in entry
    assert "val/dice/phantom_brats" in entry
    assert {"lr/encoder", "lr/decoder", "lr/head", "train/loss", "val/combined"} <= set(entry)


def test_summary_tells_the_run_without_tensorboard(sweep: Sweep, tmp_path: Path) -> None:
    from brainmtl.training.summary import write_summary

    directory = sweep.folder / "0"
    path = write_summary(directory)
    text = path.read_text(encoding="utf-8")
    record = _stage(sweep.folder, 0)
    (entry,) = record["history"]
    assert "python train.py loss.lambda_cls=0.3 seed=0 sweep=lambda" in text
    assert "hydra.mode=RUN" in text
    speed = entry["images"] / entry["train_seconds"]
    row = next(line for line in text.splitlines() if line.startswith("| joint | encoder"))
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[3:5] == ["1 of 1", "1"]
    assert cells[6] == f"{record['score']:.3f}"
    assert cells[9] == f"{speed:.1f}"
    assert f"| joint | brats-like (synthetic) | {entry['val/dice/phantom_brats']:.3f} |" in text
    assert "| lambda_cls | 0.3 |" in text
    assert "](curves.png)" in text
    assert (directory / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_summary_of_a_failed_run_says_why(sweep: Sweep) -> None:
    from brainmtl.training.summary import write_summary

    text = write_summary(sweep.folder / "2").read_text(encoding="utf-8")
    assert "- failed: 0 of 1 stages done" in text
    assert "must not be negative" in text
    assert "curves.png" not in text


def test_hparams_view_has_settings_and_best_figures(sweep: Sweep) -> None:
    """Read with TensorBoard's own reader: one session, columns for both, values of the best epoch."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    events = EventAccumulator(str(sweep.folder / "1/joint/tensorboard"))
    events.Reload()
    content = events.summary_metadata
    start = metadata.parse_session_start_info_plugin_data(
        content[metadata.SESSION_START_INFO_TAG].plugin_data.content
    )
    assert start.hparams["lambda_cls"].number_value == 0.3
    assert start.hparams["stage"].string_value == "joint"
    assert start.hparams["lr_encoder"].number_value == pytest.approx(5e-4)
    assert start.hparams["balance_labels"].string_value == "true"
    experiment = metadata.parse_experiment_plugin_data(
        content[metadata.EXPERIMENT_TAG].plugin_data.content
    )
    columns = {info.name for info in experiment.hparam_infos}
    assert set(start.hparams) <= columns
    (entry,) = _stage(sweep.folder, 1)["history"]
    for info in experiment.metric_infos:
        name = info.name.tag.removeprefix("val_best/")
        (value,) = events.Scalars(info.name.tag)
        assert value.value == pytest.approx(entry[f"val/{name}"])
