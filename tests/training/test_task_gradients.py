"""The observer of the two tasks' gradients: right, rare, and without influence on the training."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from support import compose, train_options

from brainmtl.errors import ConfigError
from brainmtl.training.build import make_datamodule, make_module
from brainmtl.training.continuation.checkpoints import read_checkpoint
from brainmtl.training.curriculum import train
from brainmtl.training.observers.callbacks import TaskGradients
from brainmtl.training.runner import StageResult
from brainmtl.training.stages import stage_configs

OBSERVED = (
    "+callbacks.task_gradients={_target_: brainmtl.training.observers.callbacks.TaskGradients, "
    "every_n_steps: 2}"
)
# Surgery takes the graph apart task by task: if looking at it did any harm, it would show here.
RUN = ("stage=joint", "balance=pcgrad", "loss.lambda_cls=3", "precision=fp32", "logger=csv")
RUN += ("reuse_stages=false",)


@pytest.fixture(scope="module")
def observed(phantom_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> StageResult:
    run_dir = tmp_path_factory.mktemp("observed") / "run"
    return train(train_options(phantom_dir, run_dir, *RUN, OBSERVED))[0]


def logged(result: StageResult) -> dict[int, dict[str, float]]:
    """{step: its task_gradients}."""
    (path,) = result.directory.rglob("metrics.csv")
    with path.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("task_gradients/cosine")]
    names = ("cosine", "norm_ratio")
    return {int(row["step"]): {n: float(row[f"task_gradients/{n}"]) for n in names} for row in rows}


def test_training_is_the_same_with_and_without(
    observed: StageResult, phantom_dir: Path, tmp_path: Path
) -> None:
    """Bit for bit, the optimiser's state included."""
    plain = train(train_options(phantom_dir, tmp_path / "run", *RUN))[0]
    first, second = (read_checkpoint(result.last) for result in (observed, plain))
    assert first["global_step"] == second["global_step"] == 3
    for key, value in first["state_dict"].items():
        assert torch.equal(value, second["state_dict"][key]), key
    moments = [c["optimizer_states"][0]["state"] for c in (first, second)]
    for number, state in moments[0].items():
        for name, value in state.items():
            assert torch.equal(value, moments[1][number][name])


def test_values_of_the_first_step_are_those_of_two_backward_passes(
    observed: StageResult, phantom_dir: Path, tmp_path: Path
) -> None:
    """Repeated by hand: initial weights, first batch and dropout all follow from the seed."""
    steps = logged(observed)
    assert sorted(steps) == [0, 2]
    options = train_options(phantom_dir, tmp_path, *RUN)
    (stage,) = stage_configs(options["stage"], options["loader"])
    vectors = []
    for task in ("seg", "cls"):
        pl.seed_everything(options["seed"], verbose=False)
        datamodule = make_datamodule(options, stage)
        module = make_module(options, stage, datamodule).train()
        batch = next(iter(datamodule.train_dataloader()))
        module.on_train_batch_start(batch, 0)
        getattr(module.loss(module(batch["images"]), batch), task).backward()
        vectors.append(torch.cat([p.grad.flatten() for p in module.model.encoder.parameters()]))
    cosine = torch.nn.functional.cosine_similarity(*vectors, dim=0)
    assert steps[0]["cosine"] == pytest.approx(float(cosine), abs=1e-4)
    ratio = 3 * float(vectors[1].norm() / vectors[0].norm())  # lambda_cls = 3
    assert steps[0]["norm_ratio"] == pytest.approx(ratio, rel=1e-3)


def test_nothing_is_logged_where_a_task_or_the_encoder_does_not_train(
    phantom_dir: Path, tmp_path: Path
) -> None:
    options = train_options(phantom_dir, tmp_path, "stage=heads", "logger=csv", OBSERVED)
    assert logged(train(options)[0]) == {}


def test_a_step_that_is_not_due_computes_nothing(
    phantom_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three steps of which the first and the last are due: two tasks' gradients each, no more."""
    calls = []
    gradients = torch.autograd.grad

    def counted(outputs: Any, inputs: Any, *args: Any, **options: Any) -> Any:
        calls.append(len(inputs))
        return gradients(outputs, inputs, *args, **options)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    train(train_options(phantom_dir, tmp_path, *RUN, "balance=fixed", OBSERVED))
    encoder = max(calls)
    assert encoder > 2
    assert calls == 2 * [2, encoder, encoder]


def test_it_is_on_by_default_and_off_in_quiet() -> None:
    assert compose("train", "run_dir=x")["callbacks"]["task_gradients"]["every_n_steps"] == 50
    assert "task_gradients" not in compose("train", "run_dir=x", "callbacks=quiet")["callbacks"]
    with pytest.raises(ConfigError, match="every_n_steps=0"):
        TaskGradients(0)
