"""Optuna and submitit: real searches and processes of the smallest size; the Slurm job composes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from sweeping import FAILING, SMALL, run_train

from brainmtl.sweeps import extras
from brainmtl.sweeps.jobs import find_jobs


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore:.*declarative")
def test_optuna_survives_a_trial_that_fails(phantom_dir: Path, tmp_path: Path) -> None:
    """Proposals of a fixed seed, some of them impossible: the search goes on and names them."""
    done = run_train(
        "sweep=optuna",
        "hydra.sweeper.n_trials=3",
        "hydra.sweeper.sampler.seed=2",
        f"hydra.sweep.dir={tmp_path}",
        f"data_dir={phantom_dir}",
        *SMALL,
        "stage=joint",
        f"loss.lambda_cls=choice({FAILING},3)",
        "optimizer.lr_scale=1",
        "augmentation=none",
    )
    jobs = find_jobs(tmp_path)
    impossible = {job.number for job in jobs if job.values["loss.lambda_cls"] == FAILING}
    assert 0 < len(impossible) < len(jobs) == 3
    assert {job.number for job in jobs if job.state == "failed"} == impossible
    assert done.code == 1
    assert f"{3 - len(impossible)} of 3 runs finished" in done.out
    assert done.err.count("must not be negative") == len(impossible)
    assert set(jobs[0].values) == {
        "loss.lambda_cls",
        "optimizer.weight_decay",
        "model.dropout",
    }
    scores = [job.run.stages["joint"]["score"] for job in jobs if job.state == "finished"]
    best = OmegaConf.load(tmp_path / "optimization_results.yaml")
    assert best.best_value == pytest.approx(max(scores))


def test_submitit_runs_jobs_as_processes_that_share_stages(
    phantom_dir: Path, tmp_path: Path
) -> None:
    """Two lambdas at once: the warm-up is trained by one of them and taken by the other."""
    done = run_train(
        "sweep=lambda",
        "launcher=submitit_local",
        f"hydra.sweep.dir={tmp_path}",
        f"data_dir={phantom_dir}",
        *SMALL,
        "stage.order=[seg_warmup,joint]",
        "loss.lambda_cls=0.3,3",
        "seed=0",
    )
    assert done.code == 0, done.err
    jobs = find_jobs(tmp_path)
    assert [job.state for job in jobs] == ["finished", "finished"]
    shared = [bool(job.run.stages["seg_warmup"].get("reused_from")) for job in jobs]
    assert sorted(shared) == [False, True]
    keys = {job.run.stages["joint"]["key"] for job in jobs}
    assert len(keys) == 2
    assert list((tmp_path / ".submitit").iterdir())


def test_slurm_jobs_compose() -> None:
    from hydra import compose, initialize_config_dir

    from brainmtl.config import CONF_DIR

    overrides = ["sweep=lambda", "launcher=submitit_slurm", "hydra.launcher.partition=gpu"]
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        hydra = compose("train", overrides, return_hydra_config=True).hydra
    assert hydra.launcher._target_.endswith(".SlurmLauncher")
    assert (hydra.launcher.partition, hydra.launcher.gpus_per_node) == ("gpu", 1)
    assert hydra.mode.name == "MULTIRUN"


@pytest.mark.parametrize(
    ("argument", "module", "extra"),
    [
        ("sweep=optuna", "hydra_plugins.hydra_optuna_sweeper", "sweep"),
        ("hydra/sweeper=optuna", "optuna", "sweep"),
        ("launcher=submitit_slurm", "submitit", "cluster"),
    ],
)
def test_a_missing_extra_is_named_before_anything_runs(
    argument: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        extras, "find_spec", lambda name: None if name == module else find_spec(name)
    )
    with pytest.raises(SystemExit, match=rf"pip install 'brainmtl\[{extra}\]'"):
        extras.require_extras([argument, "seed=0"])
    extras.require_extras(["sweep=lambda", "seed=0", "data=phantom"])
