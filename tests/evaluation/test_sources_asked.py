"""``sources=[...]``: the figures are of some sources, the operating point is the checkpoint's."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny
from crossvalidated import QUICK, write_run

from brainmtl.data.manifest import read_manifest, write_manifest
from brainmtl.errors import ConfigError
from brainmtl.evaluation.run import evaluate
from brainmtl.inference.operating.operating_point import read_operating_point

OWN = ("kaggle", "phantom_brats")


def checkpoint_of(folder: Path, root: Path, model: Any, sources: list[str]) -> Path:
    """A checkpoint of fold 0 that ``sources`` were trained on."""
    path = write_run(folder, root, model, (0,)) / "0/joint/checkpoints/best.ckpt"
    config = {"model": tiny.MODEL, "data": {"fold": 0, "data_dir": str(folder)}}
    return tiny.write_checkpoint(path, model, folder, config=config, sources=sources)


@pytest.mark.parametrize("asked", [None, *([name] for name in OWN)], ids=str)
def test_the_operating_point_is_fitted_on_all_sources_of_training(
    asked: list[str] | None, folder: Path, model: Any, tmp_path: Path
) -> None:
    path = checkpoint_of(folder, tmp_path, model, list(OWN))
    found = evaluate(path, folder, sources=asked, **QUICK)
    assert sorted(found["metrics"]) == sorted(asked or OWN)
    point = read_operating_point(path)
    assert point.fitted and tuple(sorted(point.counts["images"])) == OWN


def test_a_source_that_was_not_trained_on(folder: Path, model: Any, tmp_path: Path) -> None:
    """Its figures are at the operating point of the others, and are not called those of training."""
    path = checkpoint_of(folder, tmp_path, model, ["phantom_brats"])
    options = QUICK | {"split": "all", "sources": ["kaggle"]}
    found = evaluate(path, folder, **options)["run"]
    assert found["operating_point"]["fitted"]
    assert list(found["operating_point"]["counts"]["images"]) == ["phantom_brats"]
    assert not any("not a test" in text for text in found["remarks"])
    both = evaluate(path, folder, **options | {"sources": list(OWN)})["run"]["remarks"]
    (remark,) = [text for text in both if "not a test" in text]
    assert "(brats-like (synthetic))" in remark


def test_a_source_without_folds_is_evaluated_on_its_own_splits(
    folder: Path, model: Any, tmp_path: Path
) -> None:
    data_dir = Path(shutil.copytree(folder, tmp_path / "data"))
    frame = read_manifest(data_dir)
    frame.loc[frame["source"] == "kaggle", "fold"] = -1
    write_manifest(data_dir, frame)
    path = checkpoint_of(data_dir, tmp_path, model, ["phantom_brats"])
    with pytest.raises(ConfigError, match=r"no folds, and .* fold=null"):
        evaluate(path, data_dir, sources=["kaggle"], **QUICK)
    found = evaluate(path, data_dir, sources=["kaggle"], fold=None, **QUICK)
    assert found["metrics"]["kaggle"]["classification"]["n"] == 10
    assert not any("not a test" in text for text in found["run"]["remarks"])


@pytest.mark.parametrize(
    ("fold", "said"),
    [(0, None), (1, "chose the checkpoint"), (2, "not a test"), (None, "not a test")],
    ids=str,
)
def test_another_fold_than_that_of_training_is_no_test(
    fold: int | None, said: str | None, folder: Path, model: Any, tmp_path: Path
) -> None:
    """And the operating point is fitted on the validation split of training all the same."""
    path = checkpoint_of(folder, tmp_path, model, list(OWN))
    own = evaluate(path, folder, **QUICK)["run"]
    found = evaluate(path, folder, fold=fold, operating_point="fit", **QUICK)["run"]
    told = [text for text in found["remarks"] if "not a test" in text or "chose" in text]
    assert [said in text for text in told] == ([True] if said else [])
    assert found["operating_point"] == own["operating_point"]


def test_validation_is_optimistic_for_what_was_trained_on(
    folder: Path, model: Any, tmp_path: Path
) -> None:
    path = checkpoint_of(folder, tmp_path, model, ["phantom_brats"])
    for asked, told in ((["kaggle"], []), (list(OWN), ["brats-like (synthetic)"])):
        remarks = evaluate(path, folder, split="val", sources=asked, **QUICK)["run"]["remarks"]
        said = [text for text in remarks if "chose the checkpoint" in text]
        assert said == [
            f"split=val chose the checkpoint: the figures of {name} are optimistic."
            for name in told
        ]
