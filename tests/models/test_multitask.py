"""The whole model: forward combinations, sizes, freezing, construction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import nn

from brainmtl.errors import ConfigError
from brainmtl.models import (
    PARTS,
    ClassificationHead,
    MultiTaskModel,
    MultiTaskOutput,
    UNetDecoder,
    UNetEncoder,
    create_multi_task_model,
)
from brainmtl.models.blocks import STEMS
from brainmtl.models.multitask import pad_to_multiple


def small_model(**options: object) -> MultiTaskModel:
    torch.manual_seed(0)
    return create_multi_task_model(**{"base_filters": 4, "depth": 2, "hidden_dim": 8, **options})


def count_calls(model: MultiTaskModel) -> Counter[str]:
    """Count how often each module of the model runs, by its dotted name."""
    calls: Counter[str] = Counter()

    def counting(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: tuple, _output: object) -> None:
            calls[name] += 1

        return hook

    for name, module in model.named_modules():
        if name:
            module.register_forward_hook(counting(name))
    return calls


@pytest.mark.parametrize(("do_seg", "do_cls"), [(True, True), (True, False), (False, True)])
def test_forward_runs_what_is_asked_for_and_nothing_else(do_seg: bool, do_cls: bool) -> None:
    model = small_model()
    calls = count_calls(model)
    output = model(torch.rand(2, 1, 32, 32), do_seg=do_seg, do_cls=do_cls)
    assert isinstance(output, MultiTaskOutput)
    assert (output.seg is not None, output.cls is not None) == (do_seg, do_cls)
    if output.seg is not None:
        assert output.seg.shape == (2, 1, 32, 32)
    if output.cls is not None:
        assert output.cls.shape == (2, 2)
    assert calls["encoder"] == 1
    for part, asked in (("decoder", do_seg), ("head", do_cls)):
        ran = sum(count for name, count in calls.items() if name.split(".")[0] == part)
        assert (ran > 0) == asked


def test_forward_with_nothing_to_do_raises_before_any_work() -> None:
    model = small_model()
    calls = count_calls(model)
    with pytest.raises(ConfigError, match="do_seg=True, do_cls=True or both"):
        model(torch.rand(1, 1, 32, 32), do_seg=False, do_cls=False)
    assert not calls


def test_a_branch_gives_the_same_alone_and_together() -> None:
    model = small_model().eval()
    x = torch.rand(2, 1, 32, 32)
    both = model(x)
    torch.testing.assert_close(model(x, do_cls=False).seg, both.seg, rtol=0, atol=0)
    torch.testing.assert_close(model(x, do_seg=False).cls, both.cls, rtol=0, atol=0)


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("size", [(1, 1), (17, 33), (24, 40), (64, 31)])
@pytest.mark.parametrize("norm", ["batch", "group", "instance"])
def test_any_height_and_width_trains(size: tuple[int, int], norm: str, stem: str) -> None:
    model = small_model(norm=norm, stem=stem)
    output = model(torch.rand(1, 1, *size))
    assert output.seg.shape == (1, 1, *size)
    assert output.cls.shape == (1, 2)
    (output.seg.sum() + output.cls.sum()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_padding_continues_the_edge_and_leaves_fitting_images_alone() -> None:
    x = torch.rand(1, 1, 16, 16)
    assert pad_to_multiple(x, 8) is x
    padded = pad_to_multiple(x[..., :13], 8)
    assert padded.shape == (1, 1, 16, 16)
    assert torch.equal(padded[..., :13], x[..., :13])
    assert torch.equal(padded[..., 13:], x[..., 12:13].expand(1, 1, 16, 3))


def test_padding_changes_nothing_far_from_the_edge() -> None:
    model = small_model(depth=1, norm="batch").eval()
    x = torch.rand(1, 1, 63, 64)
    whole = model(pad_to_multiple(x, 2), do_cls=False).seg
    assert torch.equal(model(x, do_cls=False).seg, whole[..., :63, :])


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 32, 32), ["(1, 32, 32)", "(B, 1, H, W)", "image[None]"]),
        ((2, 3, 32, 32), ["3 channel(s)", "in_channels=1", "model.in_channels"]),
    ],
)
def test_wrong_inputs_are_named(shape: tuple[int, ...], words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        small_model()(torch.rand(shape))
    assert all(word in str(error.value) for word in words)
    with pytest.raises(ConfigError):
        small_model().encoder(torch.rand(shape))


@pytest.mark.parametrize(
    ("decoder", "words"),
    [
        (
            {"base_filters": 8},
            ["UNetEncoder(base_filters=4)", "UNetDecoder(base_filters=8)"],
        ),
        ({"depth": 3}, ["UNetEncoder(depth=2)", "UNetDecoder(depth=3)"]),
        ({"stem": "space_to_depth"}, ["UNetEncoder(stem='conv')", "space_to_depth"]),
    ],
)
def test_a_decoder_that_does_not_fit_raises_at_construction(
    decoder: dict[str, object], words: list[str]
) -> None:
    options = {"base_filters": 4, "depth": 2} | decoder
    with pytest.raises(ConfigError) as error:
        MultiTaskModel(UNetEncoder(1, 4, 2), UNetDecoder(**options), ClassificationHead(16))
    assert all(word in str(error.value) for word in words)


def test_a_head_that_does_not_fit_raises_at_construction() -> None:
    with pytest.raises(ConfigError, match=r"16 channels .* in_features=32"):
        MultiTaskModel(UNetEncoder(1, 4, 2), UNetDecoder(4, 2), ClassificationHead(32))


def test_parameter_counts_add_up() -> None:
    model = small_model()
    counts = model.parameter_counts()
    by_hand = {part: sum(p.numel() for p in getattr(model, part).parameters()) for part in PARTS}
    total = sum(by_hand.values())
    assert counts == by_hand | {"total": total, "trainable": total}
    model.set_trainable({"head"})
    assert model.parameter_counts() == by_hand | {
        "total": total,
        "trainable": by_hand["head"],
    }


def snapshot(part: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in part.state_dict().items()}


def moved(part: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {
        name for name, value in part.state_dict().items() if not torch.equal(value, before[name])
    }


@pytest.mark.parametrize(
    "trained",
    [{"encoder", "decoder"}, {"head"}, {"decoder", "head"}, {"encoder"}, set(PARTS)],
)
def test_frozen_means_frozen(trained: set[str]) -> None:
    model = small_model().set_trainable(trained).train()
    before = {part: snapshot(getattr(model, part)) for part in PARTS}
    # AdamW over everything, with decay: a frozen part must not move even so
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(2):
        output = model(torch.randn(4, 1, 16, 16))
        optimizer.zero_grad()
        (output.seg.square().mean() + output.cls.square().mean()).backward()
        optimizer.step()
        model.train()  # what a training loop calls after validation
    for part in PARTS:
        module = getattr(model, part)
        changed = moved(module, before[part])
        if part in trained:
            assert changed == set(before[part])  # weights, biases and norm statistics
            assert all(m.training for m in module.modules())
        else:
            assert not changed
            assert not any(m.training for m in module.modules())
            assert all(p.grad is None for p in module.parameters())


def test_set_trainable_keeps_the_mode_and_can_be_undone() -> None:
    model = small_model().eval().set_trainable({"head"})
    assert not any(module.training for module in model.modules())
    assert model.trainable_parts == {"head"}
    model.set_trainable(PARTS).train()
    assert all(module.training for module in model.modules())
    assert all(p.requires_grad for p in model.parameters())


def test_set_trainable_refuses_an_unknown_part() -> None:
    with pytest.raises(ConfigError, match=r"'neck'.*encoder, decoder, head"):
        small_model().set_trainable({"head", "neck"})


def test_model_runs_under_bfloat16_autocast_in_channels_last() -> None:
    model = small_model().to(memory_format=torch.channels_last)
    x = torch.rand(2, 1, 32, 32).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(x)
    assert output.seg.dtype == output.cls.dtype == torch.bfloat16
    (output.seg.float().sum() + output.cls.float().sum()).backward()
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())
