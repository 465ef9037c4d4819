"""Label and source: counts, strength of association, and the label guessed from the source."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency

from brainmtl.evaluation.shortcuts.association import label_source_association


def part(**labels: list[int]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"source": source, "label": label, "group": f"{source}{k // 2}"}
            for source, values in labels.items()
            for k, label in enumerate(values)
        ]
    )


def test_source_gives_label_away() -> None:
    frame = part(a=[1] * 6, b=[0] * 4)
    found = label_source_association(frame, frame)
    assert found["strength"]["test"]["cramers_v"] == pytest.approx(1)
    bits = found["strength"]["test"]
    assert bits["mutual_information_bits"] == pytest.approx(bits["label_entropy_bits"])
    assert found["source_only"] == {"accuracy": 1.0, "counts": [10, 10], "n": 10}
    assert found["majority_only"]["counts"] == [6, 10]
    assert found["counts"]["train"]["a"] == {
        "n": 6,
        "n_groups": 3,
        "n_tumour": 6,
        "n_no_tumour": 0,
        "n_unlabelled": 0,
    }


def test_independent_source_says_nothing() -> None:
    frame = part(a=[0, 1] * 5, b=[1, 0] * 7)
    found = label_source_association(frame, frame)["strength"]["train"]
    assert found["cramers_v"] == pytest.approx(0)
    assert found["mutual_information_bits"] == pytest.approx(0, abs=1e-12)
    assert found["label_entropy_bits"] == pytest.approx(1)


@pytest.mark.parametrize("seed", range(5))
def test_strength_against_formula(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame = part(**{name: rng.integers(0, 2, 30).tolist() for name in "abc"})
    table = pd.crosstab(frame["source"], frame["label"]).to_numpy()
    chi2 = chi2_contingency(table, correction=False).statistic
    joint = table / table.sum()
    outer = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    found = label_source_association(frame, frame)["strength"]["train"]
    assert found["cramers_v"] == pytest.approx(np.sqrt(chi2 / table.sum()))
    positive = joint > 0
    bits = (joint[positive] * np.log2(joint[positive] / outer[positive])).sum()
    assert found["mutual_information_bits"] == pytest.approx(bits)


def test_unlabelled_rows_are_counted_and_not_used() -> None:
    frame = part(a=[1, 1, -1, -1], b=[0, 0])
    found = label_source_association(frame, frame)
    assert found["counts"]["test"]["a"]["n_unlabelled"] == 2
    assert found["source_only"]["counts"] == [4, 4]


def test_degenerate_parts_have_reasons() -> None:
    one_source = label_source_association(part(a=[0, 1]), part(a=[0, 1]))
    assert one_source["strength"]["test"]["cramers_v"] is None
    assert "source" in one_source["strength"]["test"]["reason"]
    one_label = label_source_association(part(a=[1], b=[1]), part(a=[1], b=[1]))
    assert one_label["strength"]["test"]["cramers_v"] is None
    assert "label" in one_label["strength"]["test"]["reason"]
    nothing = label_source_association(part(a=[-1]), part(a=[-1]))
    assert nothing["source_only"]["accuracy"] is None and nothing["source_only"]["reason"]


def test_source_missing_from_training_is_left_out() -> None:
    found = label_source_association(part(a=[1, 1, 0]), part(a=[1, 0], c=[0, 0]))
    assert found["left_out"] == ["c"]
    assert found["source_only"]["counts"] == [1, 2]
