"""Sections of the speed benchmark about preparation, start-up and serving, and the profile pictures."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import run_python

from brainmtl.config import PROJECT_ROOT

sys.path.insert(0, str(PROJECT_ROOT))  # benchmarks/ is not installed

from benchmarks import profiling
from benchmarks.speed import preparation, serving, start_up
from benchmarks.speed.million import PICTURES, VOLUMES, write_folder
from benchmarks.speed.service import pretrained_predictor
from benchmarks.speed.spans import REST, Recording, median_lines, median_stages, record
from benchmarks.speed.step_profile import ORDER, kind_of
from benchmarks.speed.timing import Row, Settings
from brainmtl.data.loading.datamodule import MultiTaskDataModule

QUICK = Settings(2, 2, 64, ("cpu",), None, True)


def by_name(rows: list[Row]) -> dict[str, Row]:
    return {row.name: row for row in rows}


def test_preparation_is_compared_with_a_loop_and_with_reading(tmp_path: Path) -> None:
    found = preparation.rows(QUICK)
    assert {row.section for row in found} == {
        "preparation, brats (synthetic)",
        "preparation, kaggle (synthetic)",
    }
    for part in ("brats", "kaggle"):
        rows = by_name([row for row in found if part in row.section])
        limit, product = rows[preparation.LIMIT], rows[preparation.PRODUCT]
        assert limit.value > rows[preparation.PLAIN].value > 0
        assert 0 < rows[f"{preparation.PRODUCT}, against the limit"].ratio < 1
        assert product.value == rows[f"{preparation.PRODUCT}, against the limit"].value


def test_a_raw_folder_without_a_part_skips_it(tmp_path: Path) -> None:
    folder = Settings(2, 2, 64, ("cpu",), None, True, tmp_path)
    assert all(row.skipped and "--raw-dir" in row.against for row in preparation.rows(folder))


def test_the_long_manifest_loads_as_any_other(tmp_path: Path) -> None:
    write_folder(tmp_path, 2_000)
    data = MultiTaskDataModule(tmp_path, [VOLUMES], [PICTURES], num_workers=0)
    assert 1_900 <= len(data.manifest) <= 2_100
    batch = next(iter(data.train_dataloader()))
    assert set(batch["sources"]) == {VOLUMES, PICTURES}
    assert batch["has_masks"].any() and not batch["has_masks"].all()


# In a process of its own, where no thread of another test takes memory meanwhile. Mapped anew: malloc might hand
# out memory that was given back and is still resident.
TAKE_64_MIB = """
import mmap
from benchmarks.speed.one_start import private_mib, status_mib
before, own = status_mib("VmRSS"), private_mib("self")
with mmap.mmap(-1, 64 * 2**20) as block:
    block.write(b"1" * len(block))
    print(status_mib("VmRSS") - before, private_mib("self") - own)
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").is_file(), reason="needs Linux")
def test_start_up_counts_memory_and_seconds(tmp_path: Path) -> None:
    done = run_python(["-c", TAKE_64_MIB], PROJECT_ROOT)
    assert [float(n) for n in done.stdout.split()] == pytest.approx([64, 64], abs=16), done.stderr
    write_folder(tmp_path, 2_000)
    start = start_up._start(tmp_path, 10)
    rows = by_name(start_up._rows("start-up", [start], [start], (2_000, 2_000), 10))
    total = rows[start_up.SECONDS["total"]]
    parts = [rows[start_up.SECONDS[key]].value for key in ("data_module", "setup", "first_batch")]
    assert sum(parts) == pytest.approx(total.value) and min(parts) > 0 and total.ratio == 1
    peak, kept = (rows[start_up.MEBIBYTES[key]].value for key in ("peak", "resident"))
    assert peak >= kept >= 0 and start["worker_private"] > 1


def test_gates_make_the_share_of_masks_exact() -> None:
    for share, count in ((0.0, 0), (0.5, serving.PICTURES // 2), (1.0, serving.PICTURES)):
        gates = serving._gates(share)
        assert len(gates) == serving.PICTURES
        assert sum(gate is serving.MASK for gate in gates) == count


def test_requests_in_turn_and_together_are_all_answered(tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    predictor = pretrained_predictor()
    files = [serving.png(seed) for seed in range(3)]
    for max_batch in (1, 3):
        answers = serving.Answers(predictor, tmp_path, max_batch)
        assert len(answers.together(files, **serving.MASK)) == 3
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert len(lines) == 6 and len({line["input_sha256"] for line in lines}) == 3
    body = json.loads(answers.one(files[0], include_gradcam=True, **serving.MASK))
    assert body["segmentation"]["performed"] and body["gradcam_png"]


def test_stages_add_up_to_the_request_and_leave_the_code_as_it_was() -> None:
    from brainmtl.inference import images
    from brainmtl.inference.network import Network

    before = images.read_picture, Network.encode
    predictor, file = pretrained_predictor(), serving.png(0)
    found = record(lambda: predictor.predict_image(file, include_gradcam=True, **serving.MASK), 2)
    assert (images.read_picture, Network.encode) == before
    for recording in found:
        stages = recording.stages()
        assert {"decode", "preprocess", "encoder", "decoder", "heat map"} <= set(stages)
        assert sum(stages.values()) == pytest.approx(recording.seconds)
        assert 0 <= stages[REST] < 0.5 * recording.seconds


def test_a_part_counts_within_its_stage_alone() -> None:
    recording = Recording()
    with recording.span("stage"), recording.span("part"):
        time.sleep(0.02)
    recording.seconds = recording.spans[0].end + 1.0
    stages = median_stages([recording])
    assert list(stages) == ["stage", REST] and stages["stage"] >= 0.02
    assert stages[REST] == pytest.approx(1.0, abs=0.01)
    lines = median_lines([recording])
    assert list(lines) == [("stage", "stage"), ("stage", "part")]
    assert 0.02 <= lines["stage", "part"] <= lines["stage", "stage"]


@pytest.mark.parametrize(
    ("operator", "kind"),
    [
        ("aten::mkldnn_convolution", "convolution, forward"),
        ("aten::convolution_backward", "convolution, backward"),
        ("aten::native_group_norm_backward", "normalisation"),
        ("aten::_foreach_lerp_", "optimiser"),
        ("aten::sigmoid", "loss and all else"),
    ],
)
def test_operators_are_told_apart_by_name(operator: str, kind: str) -> None:
    assert kind_of(operator) == kind and kind in ORDER


def test_profile_writes_two_pictures_and_a_sentence_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profiling.main(["--quick", "--trace", "--out", str(tmp_path)])
    out = capsys.readouterr().out
    assert "A training step is bound in float32 (" in out and "GFLOP/s" in out
    assert "A request (" in out and "is bound by" in out
    for name in ("training_step.png", "request.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 500
            assert np.asarray(picture.convert("L")).std() > 10
    for trace in ("step_float32_trace.json", profiling.REQUEST_TRACE):
        assert json.loads((tmp_path / trace).read_text())["traceEvents"]


def test_the_sentence_on_a_request_follows_the_figures() -> None:
    stages = {"decode": 1.0, "encoder": 5.0, "decoder": 3.0, "heat map": 0.0, REST: 1.0}
    assert "bound by the network" in profiling.request_sentence(stages)
    assert "80%" in profiling.request_sentence(stages)
    assert "bound by what surrounds" in profiling.request_sentence(stages | {"decode": 20.0})
