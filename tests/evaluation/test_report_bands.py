"""Bands cover [0, 1] or are refused; what they meant is counted, not assumed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainmtl.errors import ConfigError
from brainmtl.evaluation.report.bands import observed
from brainmtl.inference.operating.bands import Band, band_of, band_range, check_bands, load_bands


def entry(name: str, low: Any, high: Any, advice: str = "Read it.") -> dict[str, Any]:
    return {"name": name, "low": low, "high": high, "advice": advice}


def test_default_bands() -> None:
    bands = load_bands()
    assert [band.name for band in bands] == ["no finding", "second read", "review now"]
    assert band_range(bands[0].low, bands[0].high) == "0.00 ≤ P < 0.20"
    assert band_range(bands[-1].low, bands[-1].high) == "0.80 ≤ P ≤ 1.00"


@pytest.mark.parametrize("seed", range(5))
def test_every_probability_has_one_band(seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges = [0.0, *sorted(rng.random(rng.integers(0, 6))), 1.0]
    bands = check_bands([entry(str(k), *edges[k : k + 2]) for k in range(len(edges) - 1)])
    for probability in (*rng.random(200), *edges):
        inside = [b for b in bands if b.low <= probability < b.high]
        assert band_of(bands, probability) is (inside[0] if inside else bands[-1])
    for outside in (-1e-9, 1 + 1e-9, math.nan):
        with pytest.raises(ValueError, match="must lie in"):
            band_of(bands, outside)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "empty"),
        ([entry("a", 0, 0.4), entry("b", 0.5, 1)], "leave a gap between 0.4 and 0.5"),
        ([entry("a", 0, 0.6), entry("b", 0.5, 1)], "overlap"),
        ([entry("a", 0, 0.5), entry("b", 0.5, 0.9)], "from 0 to 0.9"),
        ([entry("a", 0.1, 1)], "from 0.1 to 1"),
        ([entry("b", 0.5, 1), entry("a", 0, 0.5)], "ascending"),
        ([entry("a", 0, 0.5), entry("b", 0.5, 0.5), entry("c", 0.5, 1)], "low < high"),
        ([entry("a", 0, math.nan), entry("b", math.nan, 1)], "leave a gap|overlap"),
        ([entry("a", 0, 0.5), entry("a", 0.5, 1)], "its own"),
        ([entry("a", "0", 1)], "low='0'"),
        ([entry("a", False, 1)], "low=False"),
        ([entry(" ", 0, 1)], "empty name"),
        ([entry("a", 0, 1, "")], "empty advice"),
        ([{"name": "a", "low": 0, "high": 1}], "exactly"),
        ([entry("a", 0, 1) | {"colour": "red"}], "exactly"),
        (["a"], "exactly"),
    ],
)
def test_bands_that_are_refused(entries: list[Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_bands(entries)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    with pytest.raises(ConfigError, match="does not exist"):
        load_bands(path)
    for text in ("[]\n", "bands: none\n", "other: []\n"):
        path.write_text(text)
        with pytest.raises(ConfigError, match="under the key"):
            load_bands(path)
    path.write_text("bands:\n  - {name: all, low: 0, high: 1, advice: Read it.}\n")
    assert load_bands(path) == (Band("all", 0.0, 1.0, "Read it."),)


def wilson(k: int, n: int) -> tuple[float, float]:
    """The score interval by its formula (Wilson 1927)."""
    z, p = 1.959963984540054, k / n
    middle, width = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (middle - width) / (1 + z * z / n), (middle + width) / (1 + z * z / n)


@pytest.mark.parametrize("seed", range(4))
def test_observed_shares(seed: int) -> None:
    rng, bands = np.random.default_rng(seed), load_bands()
    rows = [
        {"cls": int(cls), "calibrated": float(p), "group": f"g{rng.integers(5)}"}
        for cls, p in zip(rng.integers(-1, 2, 60), rng.beta(0.5, 0.5, 60), strict=True)
    ]
    rows += [{"cls": 1, "calibrated": p, "group": "edge"} for p in (0.0, 0.2, 0.8, 1.0)]
    found = observed(rows, bands)
    assert sum(line["n"] for line in found) == sum(row["cls"] >= 0 for row in rows)
    for line, (low, high) in zip(found, [(0, 0.2), (0.2, 0.8), (0.8, 1.1)], strict=True):
        own = [row for row in rows if row["cls"] >= 0 and low <= row["calibrated"] < high]
        positive = sum(row["cls"] for row in own)
        assert (line["n"], line["n_positive"]) == (len(own), positive)
        assert line["n_groups"] == len({row["group"] for row in own})
        assert line["share"] == pytest.approx(positive / len(own))
        expected = wilson(positive, len(own))
        assert (line["share_low"], line["share_high"]) == pytest.approx(expected, abs=1e-9)


def test_nothing_observed() -> None:
    for rows in ([], [{"cls": -1, "calibrated": 0.5, "group": "g"}]):
        for line in observed(rows, load_bands()):
            assert line["n"] == line["n_positive"] == line["n_groups"] == 0
            assert line["share"] is line["share_low"] is line["share_high"] is None
