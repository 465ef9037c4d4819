"""The speed table runs from its command line, and every row of it is a measurement."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from brainmtl.config import PROJECT_ROOT

sys.path.insert(0, str(Path(__file__).parent / "data"))  # `import prepared`

import prepared

sys.path.insert(0, str(PROJECT_ROOT))  # benchmarks/ is not installed

from benchmarks.speed.timing import compare, faster, interleave

FORMATS = ("float32", "bf16")
ROWS = {
    "theory, unet_2m_quarter": ("an image without tumour", "an image with tumour"),
    "training, cpu, batch 2": (
        "unet_2m, float32 NCHW",
        *(
            f"unet_2m_{size}, {name} channels_last"
            for size in ("fast", "quarter")
            for name in FORMATS
        ),
    ),
    **{
        f"efficiency, cpu, {name}": tuple(
            f"unet_2m_quarter with mask, batch {batch}" for batch in (1, 16)
        )
        for name in FORMATS
    },
    **{
        f"inference, cpu, image {kind} tumour": (
            "two models, float32 NCHW",
            "unet_2m, float32 NCHW",
            "unet_2m_fast, float32 channels_last",
            "unet_2m_quarter, float32 NCHW",
            *(f"unet_2m_quarter, {name} channels_last" for name in FORMATS),
            "unet_2m_quarter, float32, ONNX Runtime",
        )
        for kind in ("with", "without")
    },
    **{f"loading, cpu, {name}": ("steps with data in memory",) for name in FORMATS},
}


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.run", *words]
    return subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)


def test_every_row_is_there_and_positive(tmp_path: Path) -> None:
    prepared.both_sources(tmp_path)
    sections = "theory,inference,training,loading,efficiency"
    done = run("--quick", "--markdown", "--rows", sections, "--data-dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert re.search(r"^- CPU: .*avx512_bf16=(yes|no)", done.stdout, re.MULTILINE)
    assert re.search(r"^- torch \d", done.stdout, re.MULTILINE)
    lines = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("|")]
    _, _, *table = [[cell.strip() for cell in cells] for cells in lines]
    found = {(section, name): cells for section, name, *cells in table}
    for section, names in ROWS.items():
        if (section, "all rows") in found:  # a processor without bfloat16
            assert "emulates bfloat16" in found[section, "all rows"][-1]
            continue
        for name in names:
            assert (section, name) in found
    for value, ratio, against in found.values():
        if against.startswith("skipped: "):
            assert value == ratio == "-" and len(against) > 20
            continue
        assert number(value) > 0
        assert ratio == "-" or number(ratio) > 0


def number(cell: str) -> float:
    return float(cell.split()[0].replace(",", ""))


def test_unknown_section_names_the_known_ones() -> None:
    done = run("--rows", "inferrence")
    assert done.returncode == 2
    assert "inferrence" in done.stderr and "choose from theory, inference" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("screen_networks data.batchsize=3", "did you mean data.batch_size?"),
        ("screen_networks data_dir=/nowhere", "/nowhere/manifest.csv is missing"),
        ("screen_networks seconds=soon", "seconds=soon must be a number above 0"),
        ("screen_networks unet_2m", "unet_2m"),
        ("framing brats /nowhere", "/nowhere: no such folder"),
        ("unlike_images /nowhere.ckpt /nowhere", "/nowhere.ckpt"),
        ("sample_format /nowhere", "/nowhere/manifest.csv is missing"),
        ("run --rows loading --data-dir /nowhere", "/nowhere/manifest.csv is missing"),
    ],
)
def test_what_cannot_work_is_one_line(words: str, message: str) -> None:
    command = [sys.executable, "-m", *f"benchmarks.{words}".split()]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode in (1, 2) and "error: " in last and message in last
    assert "Traceback" not in done.stderr


def test_ratios_are_formed_within_a_round() -> None:
    """A machine that is ten times slower in one round leaves the ratio as it is."""
    ratio, (low, high) = compare([4.0, 40.0, 4.0], [2.0, 20.0, 2.0])
    assert ratio == low == high == 2


def test_ratio_follows_the_work() -> None:
    """A call that waits three times as long is found three times as slow."""
    import time

    calls = {"short": lambda: time.sleep(0.02), "long": lambda: time.sleep(0.06)}
    short, long = faster("s", interleave(calls, 5, "cpu"), "short")
    assert short.ratio is None and short.value == pytest.approx(20, rel=0.5)
    assert long.ratio == pytest.approx(1 / 3, rel=0.3)
    assert long.spread[0] <= long.ratio <= long.spread[1]
