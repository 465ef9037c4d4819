"""Encoder, decoder and head by themselves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from brainmtl.errors import ConfigError
from brainmtl.models import ClassificationHead, UNetDecoder, UNetEncoder
from brainmtl.models.blocks import (
    BLOCKS,
    STEMS,
    ConvBlock,
    ResidualBlock,
    convolution,
    make_norm,
)
from brainmtl.models.group_norm import GroupNorm


def test_default_encoder_gives_features_from_64_at_256_to_1024_at_16() -> None:
    encoder = UNetEncoder().to("meta")
    features = encoder(torch.empty(2, 1, 256, 256, device="meta"))
    assert [tuple(f.shape) for f in features] == [
        (2, 64, 256, 256),
        (2, 128, 128, 128),
        (2, 256, 64, 64),
        (2, 512, 32, 32),
        (2, 1024, 16, 16),
    ]
    assert encoder.feature_channels == (64, 128, 256, 512, 1024)


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("out_channels", [1, 3])
@pytest.mark.parametrize("block", BLOCKS)
def test_decoder_returns_to_the_size_of_the_image(
    stem: str, depth: int, out_channels: int, block: str
) -> None:
    encoder = UNetEncoder(2, 4, depth, stem=stem, block=block)
    decoder = UNetDecoder(4, depth, out_channels, stem=stem, block=block)
    logits = decoder(encoder(torch.rand(2, 2, 64, 96)))
    assert logits.shape == (2, out_channels, 64, 96)


@pytest.mark.parametrize(("stem", "fold"), [("space_to_depth", 2), ("space_to_depth_4", 4)])
def test_a_folding_stem_shrinks_every_level_and_keeps_every_pixel(stem: str, fold: int) -> None:
    encoder = UNetEncoder(1, 4, 2, stem=stem)
    image = torch.rand(1, 1, 32, 32)
    assert [f.shape[-1] for f in encoder(image)] == [32 // fold // 2**level for level in range(3)]
    seen: list[torch.Tensor] = []
    encoder.blocks[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    encoder(image)
    assert torch.equal(seen[0][0, 1], image[0, 0, 0::fold, 1::fold])


def test_parameter_counts_are_those_of_the_published_layout() -> None:
    # counted by hand: 9 c_in c_out per convolution, 2 c per norm, 4 c_in c_out + c_out per
    # transposed convolution
    assert UNetEncoder(1, 64, 4).parameter_counts()["total"] == 18_846_016
    assert UNetDecoder(64, 4).parameter_counts()["total"] == 12_190_465
    assert ClassificationHead(1024).parameter_counts()["total"] == 525_826
    assert ClassificationHead(1024, hidden_dim=256).parameter_counts()["total"] == 262_914


def test_parameter_counts_tell_trainable_from_frozen() -> None:
    head = ClassificationHead(8, hidden_dim=4)
    head.layers[0].requires_grad_(False)
    assert head.parameter_counts() == {
        "total": 8 * 4 + 4 + 4 * 2 + 2,
        "trainable": 4 * 2 + 2,
    }


def test_a_separable_convolution_is_one_of_products() -> None:
    torch.manual_seed(0)
    apart, whole = convolution(3, 5, separable=True), convolution(3, 5, separable=False)
    per_channel, across = apart[0].weight, apart[1].weight  # (3, 1, 3, 3), (5, 3, 1, 1)
    with torch.no_grad():
        whole.weight.copy_(across * per_channel[:, 0])
        x = torch.randn(2, 3, 8, 8)
        torch.testing.assert_close(apart(x), whole(x))
    assert sum(p.numel() for p in apart.parameters()) == 3 * 9 + 3 * 5


@pytest.mark.parametrize("block", [name for name in BLOCKS if "separable" in name])
def test_separable_blocks_have_no_other_3x3_convolutions(block: str) -> None:
    convolutions = [
        m for m in UNetEncoder(1, 4, 2, block=block).modules() if isinstance(m, nn.Conv2d)
    ]
    assert all(m.groups == m.in_channels for m in convolutions if m.kernel_size == (3, 3))
    assert sum(m.kernel_size == (3, 3) for m in convolutions) == 2 * 3


@pytest.mark.parametrize("channels", [3, 5])
def test_a_residual_block_adds_its_input_before_the_last_relu(channels: int) -> None:
    torch.manual_seed(0)
    block = ResidualBlock(3, channels, "instance").eval()
    first, norm, relu, second, last_norm = block.body
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        inner = last_norm(second(relu(norm(first(x)))))
        way = (
            x
            if channels == 3
            else torch.einsum("oi,bihw->bohw", block.shortcut.weight[..., 0, 0], x)
        )
        torch.testing.assert_close(block(x), (inner + way).clamp(min=0))
    # A plain block's weights and, where channels differ, one weight per pair of them.
    extra = sum(p.numel() for p in block.parameters()) - sum(
        p.numel() for p in ConvBlock(3, channels, "instance").parameters()
    )
    assert extra == (0 if channels == 3 else 3 * channels)


def test_head_sees_the_mean_over_the_positions_only() -> None:
    head = ClassificationHead(6, hidden_dim=5).eval()
    x = torch.rand(3, 6, 4, 4)
    shuffled = x.flatten(2)[..., torch.randperm(16)].reshape(x.shape)
    torch.testing.assert_close(head(x), head(shuffled))
    assert head(x).shape == (3, 2)


@pytest.mark.parametrize(
    ("norm", "kind"),
    [
        ("batch", nn.BatchNorm2d),
        ("group", GroupNorm),
        ("instance", nn.InstanceNorm2d),
    ],
)
def test_norm_is_selectable_and_the_parameter_count_does_not_change(
    norm: str, kind: type[nn.Module]
) -> None:
    encoder, decoder = UNetEncoder(1, 8, 2, norm), UNetDecoder(8, 2, norm=norm)
    kinds = (nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d)
    found = [m for part in (encoder, decoder) for m in part.modules() if isinstance(m, kinds)]
    assert len(found) == 2 * 3 + 2 * 2
    assert {type(m) for m in found} == {kind}
    counts = encoder.parameter_counts()["total"]
    assert counts == UNetEncoder(1, 8, 2, "batch").parameter_counts()["total"]
    assert decoder(encoder(torch.rand(1, 1, 16, 16))).shape == (1, 1, 16, 16)


def test_group_norm_takes_channel_numbers_that_8_does_not_divide() -> None:
    assert make_norm("group", 12)(torch.rand(1, 12, 4, 4)).shape == (1, 12, 4, 4)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (
            lambda: UNetEncoder(norm="layer"),
            ["norm", "'layer'", "batch, group, instance"],
        ),
        (
            lambda: UNetEncoder(stem="patch"),
            ["stem", "'patch'", "conv, space_to_depth"],
        ),
        (lambda: UNetDecoder(block="dense"), ["block", "'dense'", "plain, residual, separable"]),
        (lambda: UNetEncoder(depth=0), ["depth=0", "at least 1"]),
        (lambda: UNetDecoder(base_filters=0), ["base_filters=0", "at least 1"]),
        (lambda: ClassificationHead(8, num_classes=1), ["num_classes=1", "at least 2"]),
        (lambda: ClassificationHead(8, dropout=1.0), ["dropout=1.0", "[0, 1)"]),
    ],
)
def test_options_that_cannot_work_name_value_and_remedy(
    build: Callable[[], nn.Module], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as error:
        build()
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize("frozen", [False, True])
def test_gradcam_hooks_attach_to_the_last_block_also_when_frozen(frozen: bool) -> None:
    torch.manual_seed(0)  # four hidden units can all be dead for an unlucky draw
    encoder = UNetEncoder(1, 4, 2)
    encoder.requires_grad_(not frozen)
    encoder.eval()
    layer = encoder.gradcam_layer
    assert isinstance(layer, ConvBlock)
    caught: dict[str, torch.Tensor] = {}

    def keep(_module: nn.Module, _args: tuple, output: torch.Tensor) -> torch.Tensor:
        # a frozen encoder builds no graph: it starts at the activation
        caught["activation"] = output if output.requires_grad else output.requires_grad_()
        output.register_hook(lambda gradient: caught.update(gradient=gradient))
        return output

    handle = layer.register_forward_hook(keep)
    head = ClassificationHead(16, 64).eval()
    features = encoder(torch.rand(1, 1, 16, 16))
    head(features[-1])[0, 1].backward()
    handle.remove()
    assert caught["activation"] is features[-1]
    assert caught["gradient"].shape == features[-1].shape
    assert caught["gradient"].abs().sum() > 0
    assert all((p.grad is None) == frozen for p in encoder.parameters())


def test_full_backward_hook_attaches_to_the_gradcam_layer() -> None:
    encoder, decoder = UNetEncoder(1, 4, 2), UNetDecoder(4, 2)
    shapes: list[torch.Size] = []
    with_hook = encoder.gradcam_layer.register_full_backward_hook(
        lambda _module, _into, out: shapes.append(out[0].shape)
    )
    decoder(encoder(torch.rand(2, 1, 16, 16))).sum().backward()
    with_hook.remove()
    assert shapes == [torch.Size([2, 16, 4, 4])]
