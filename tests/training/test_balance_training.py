"""Strategies and adversary in the real module and in short runs: one task, resume, checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support import train_options
from torch.nn import functional as F

from brainmtl.errors import ConfigError
from brainmtl.training.adversary import SourceAdversary, reversal_schedule
from brainmtl.training.balance import FixedWeights, PCGrad, project_conflicting
from brainmtl.training.build import make_datamodule, make_module
from brainmtl.training.continuation.checkpoints import load_model, read_checkpoint
from brainmtl.training.continuation.stage_keys import stage_key
from brainmtl.training.curriculum import train
from brainmtl.training.module import MultiTaskModule
from brainmtl.training.stages import stage_configs

BALANCES = ("fixed", "uncertainty", "dwa", "pcgrad")
# self.log says that there is no Trainer; what it would log is looked at in the short runs.
pytestmark = pytest.mark.filterwarnings("ignore:You are trying to `self.log")
Made = tuple[MultiTaskModule, dict]


def make(phantom_dir: Path, tmp_path: Path, *overrides: str) -> Made:
    """The module of a stage and its first training batch, always of the same initial weights."""
    options = train_options(phantom_dir, tmp_path, *overrides)
    (stage,) = stage_configs(options["stage"], options["loader"])
    datamodule = make_datamodule(options, stage)
    torch.manual_seed(0)
    module = make_module(options, stage, datamodule)
    module._total_steps = 10  # as configure_optimizers sets it
    module.on_train_epoch_start()
    return module, next(iter(datamodule.train_dataloader()))


def step(made: Made) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of the first step."""
    module, batch = made
    module.on_train_batch_start(batch, 0)
    loss = module.training_step(batch, 0)
    module.backward(loss)
    assert module.pending is None  # the graph is let go
    found = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    return float(loss.detach()), found


@pytest.mark.parametrize("stage", ["seg_warmup", "cls_head"])
def test_one_task_stages_take_the_loss_of_their_task(
    phantom_dir: Path, tmp_path: Path, stage: str
) -> None:
    """No strategy, no adversary and no lambda: the same loss, gradients and state as the plain loss."""
    plain, expected = step(make(phantom_dir, tmp_path, f"stage={stage}"))
    others = ("adversary=source", "loss.lambda_cls=0.1")
    for balance in BALANCES:
        made = make(phantom_dir, tmp_path, f"stage={stage}", f"balance={balance}", *others)
        module, batch = made
        assert isinstance(module.balance, FixedWeights)
        assert module.adversary is None
        assert {key.split(".")[0] for key in module.state_dict()} == {"model"}
        loss, gradients = step(made)
        assert loss == plain
        assert gradients.keys() == expected.keys()
        assert all(torch.equal(gradients[name], expected[name]) for name in expected)
    parts = module.loss(module(batch["images"]), batch)
    assert parts.total == (parts.seg if stage == "seg_warmup" else parts.cls)


@pytest.mark.parametrize("balance", BALANCES)
def test_key_of_a_one_task_stage_is_that_of_every_strategy(
    phantom_dir: Path, tmp_path: Path, balance: str
) -> None:
    """A sweep over balance= or adversary= trains the one-task stages once, and joint every time."""
    keys = []
    for overrides in ((), (f"balance={balance}", "adversary=source")):
        options = train_options(phantom_dir, tmp_path, *overrides)
        stages = stage_configs(options["stage"], options["loader"])
        keys.append(
            {stage.name: stage_key(options, stage, "scratch", "0" * 64) for stage in stages}
        )
    same = {name: keys[0][name] == keys[1][name] for name in keys[0]}
    assert same == {"seg_warmup": True, "cls_head": True, "joint": False}


def test_key_of_joint_depends_on_the_strategy(phantom_dir: Path, tmp_path: Path) -> None:
    keys = set()
    for balance in BALANCES:
        options = train_options(phantom_dir, tmp_path, "stage=joint", f"balance={balance}")
        (stage,) = stage_configs(options["stage"], options["loader"])
        keys.add(stage_key(options, stage, "scratch", "0" * 64))
    assert len(keys) == len(BALANCES)


def encoder_gradients(phantom_dir: Path, tmp_path: Path, *overrides: str) -> torch.Tensor:
    _, found = step(make(phantom_dir, tmp_path, "stage=joint", *overrides))
    return torch.cat([g.flatten() for n, g in found.items() if n.startswith("model.encoder")])


def test_pcgrad_of_the_real_model_is_surgery_on_the_encoder_alone(
    phantom_dir: Path, tmp_path: Path
) -> None:
    """The encoder's gradient is the formula's; decoder and head have that of the plain sum."""
    _, plain = step(make(phantom_dir, tmp_path, "stage=joint", "loss.lambda_cls=3"))
    made = make(phantom_dir, tmp_path, "stage=joint", "loss.lambda_cls=3", "balance=pcgrad")
    _, ours = step(made)
    module, batch = make(phantom_dir, tmp_path, "stage=joint", "loss.lambda_cls=3")
    module.on_train_batch_start(batch, 0)
    parts = module.loss(module(batch["images"]), batch)
    encoder = list(module.model.encoder.parameters())
    tasks = [
        torch.cat([g.flatten() for g in torch.autograd.grad(loss, encoder, retain_graph=True)])
        for loss in (parts.seg, 3 * parts.cls)
    ]
    expected = project_conflicting(torch.stack(tasks), torch.Generator())
    merged = torch.cat([g.flatten() for n, g in ours.items() if n.startswith("model.encoder")])
    torch.testing.assert_close(merged, expected, rtol=1e-4, atol=1e-6)
    others = [name for name in plain if not name.startswith("model.encoder")]
    assert {name.split(".")[1] for name in others} == {"decoder", "head"}
    for name in others:
        torch.testing.assert_close(ours[name], plain[name])
    for name, gradient in ours.items():  # as backward() leaves them: fast for the optimiser
        assert gradient.stride() == dict(made[0].named_parameters())[name].stride()


def test_pcgrad_under_bfloat16_autocast(phantom_dir: Path, tmp_path: Path) -> None:
    """Finite float32 gradients, near those of float32 training."""
    # Smooth parts alone: rounding moves the place of a maximum, and with it a whole gradient.
    smooth = ("balance=pcgrad", "model.norm=batch", "model.pool=avg")
    exact = encoder_gradients(phantom_dir, tmp_path, *smooth)
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
        low = encoder_gradients(phantom_dir, tmp_path, *smooth)
    assert low.dtype == torch.float32
    assert torch.isfinite(low).all()
    assert F.cosine_similarity(low, exact, dim=0) > 0.98


def in_double(made: Made) -> Made:
    """float64: a weight before a norm has a gradient of large terms that cancel."""
    module, batch = made
    module.model.double()
    if module.adversary is not None:
        module.adversary.double()
    return module, batch | {"images": batch["images"].double()}


def test_adversary_adds_its_reversed_gradient_to_the_encoder(
    phantom_dir: Path, tmp_path: Path
) -> None:
    """Encoder: tasks - lambda * source; classifier: the plain gradient; the heads: unchanged."""
    _, without = step(in_double(make(phantom_dir, tmp_path, "stage=joint")))
    made = in_double(make(phantom_dir, tmp_path, "stage=joint", "adversary=source"))
    module, batch = made
    pooled = module.model.encode(batch["images"])[-1].mean((2, 3))
    codes = torch.tensor([module.adversary.sources.index(name) for name in batch["sources"]])
    source_loss = F.cross_entropy(module.adversary.layers(pooled).float(), codes)
    names, trained = zip(*module.named_parameters(), strict=True)
    found = torch.autograd.grad(source_loss, trained, allow_unused=True)
    alone = dict(zip(names, found, strict=True))
    # The lambda of the end of the stage: that of the first step is 0.
    strength = reversal_schedule(1.0)
    forward = module.adversary.forward
    module.adversary.forward = lambda features, progress: forward(features, progress + 1)
    _, ours = step(made)
    assert sum(name.startswith("adversary") for name in ours) == 4
    for name, gradient in ours.items():
        if name.startswith("model.encoder"):
            expected = without[name] - strength * alone[name]
        else:
            expected = alone[name] if name.startswith("adversary") else without[name]
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-7)


def test_reversal_follows_the_papers_schedule() -> None:
    assert reversal_schedule(0.0) == 0.0
    assert reversal_schedule(0.1) == pytest.approx(0.462117, abs=1e-6)  # tanh(gamma p / 2)
    assert reversal_schedule(0.5) == pytest.approx(0.986614, abs=1e-6)
    assert 0.9999 < reversal_schedule(1.0) < 1


def test_adversary_counts_by_source() -> None:
    adversary = SourceAdversary(2, ["a", "b", "c"])
    logits = torch.tensor([[9.0, 0, 0], [0, 9.0, 0], [9.0, 0, 0], [9.0, 0, 0]])
    found = adversary.accuracy(logits, ["a", "b", "b", "unseen"])
    assert {k: (float(v), n) for k, (v, n) in found.items()} == {"a": (1.0, 1), "b": (0.5, 2)}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sources": ["brats"]}, r"\['brats'\].*adversary=none"),
        ({"strength": 0.0}, r"strength=0\.0"),
        ({"learning_rate": 0.0}, r"learning_rate=0\.0"),
    ],
)
def test_adversary_options_that_cannot_work_are_named(options: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        SourceAdversary(**{"in_features": 4, "sources": ["a", "b"]} | options)


def test_adversary_stays_out_where_the_encoder_is_frozen(phantom_dir: Path, tmp_path: Path) -> None:
    module, _ = make(phantom_dir, tmp_path, "stage=heads", "adversary=source", "balance=pcgrad")
    assert module.adversary is None
    assert isinstance(module.balance, PCGrad)


class StoppedError(Exception):
    """The end of a run that did not come to its end."""


def stop_before(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let the training step of this number (from 0) fail, once."""
    step, numbers = MultiTaskModule.training_step, iter(range(10**6))

    def failing(module: MultiTaskModule, batch: dict, batch_idx: int) -> torch.Tensor:
        if next(numbers) == number:
            raise StoppedError
        return step(module, batch, batch_idx)

    monkeypatch.setattr(MultiTaskModule, "training_step", failing)


@pytest.mark.parametrize("strategy", [("uncertainty", "none"), ("dwa", "source")])
def test_a_run_goes_on_as_if_it_had_not_been_interrupted(
    phantom_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: tuple[str, str]
) -> None:
    """Stopped within its third epoch: the same weights, log variances, means and adversary."""
    balance, adversary = strategy
    overrides = ("stage=joint", "epochs.joint=3", "checkpoint_every=7", "reuse_stages=false")
    overrides += (f"balance={balance}", f"adversary={adversary}", "data.max_eval_samples=12")
    options = [train_options(phantom_dir, tmp_path / name, *overrides) for name in ("a", "b")]
    whole = train(options[0])[0]
    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        stop_before(patch, 7)
        train(options[1])
    rest = train(options[1])[0]
    log = (rest.directory / "train.log").read_text(encoding="utf-8")
    assert "going on in epoch 3 after 1 batches" in log
    first, second = (read_checkpoint(result.last) for result in (whole, rest))
    assert first["global_step"] == second["global_step"] == 9
    weights = first["state_dict"]
    assert weights.keys() == second["state_dict"].keys()
    assert [k for k in weights if not torch.equal(weights[k], second["state_dict"][k])] == []
    outside = {key for key in weights if not key.startswith("model.")}
    assert any(key.startswith("adversary.") for key in outside) == (adversary == "source")
    if balance == "dwa":
        assert (weights["balance.means"] > 0).all()  # both epochs are known: the weights differ
    if balance == "uncertainty":
        assert weights["balance.log_variances.seg"] != 0
    model, _ = load_model(whole.best)  # knows of neither
    assert {f"model.{key}" for key in model.state_dict()} == weights.keys() - outside
