"""LayerCAM against an implementation with hooks, analytic cases, and use from anywhere."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull, Delaunay
from torch import nn
from torch.nn import functional as F

from brainmtl.data.preprocessing.geometry import frame_geometry
from brainmtl.data.preprocessing.preprocess import BACKGROUND_VALUE, preprocess_slice
from brainmtl.errors import ConfigError
from brainmtl.inference.gradcam import head_mask, heat_shares, layercam, layercam_from_features
from brainmtl.models import MultiTaskModel, create_multi_task_model
from brainmtl.models.multitask import pad_to_multiple


def small_model(**options: object) -> MultiTaskModel:
    torch.manual_seed(0)
    model = create_multi_task_model(**{"base_filters": 4, "depth": 2, "hidden_dim": 8, **options})
    for _ in range(3):  # norm statistics that are not the initial ones
        model(torch.randn(4, model.encoder.in_channels, 32, 32))
    return model.eval()


def with_hooks(model: MultiTaskModel, images: torch.Tensor) -> torch.Tensor:
    """LayerCAM as most people write it: hooks on the layer, backward through the whole model."""
    kept: dict[str, torch.Tensor] = {}

    def keep(_module: object, _inputs: object, output: torch.Tensor) -> None:
        output.retain_grad()
        kept["activation"] = output

    handle = model.encoder.blocks[-2].register_forward_hook(keep)
    maps = []
    for image in images:
        logits = model(image[None].clone().requires_grad_(True), do_seg=False).cls
        logits[0, 1].backward()
        activation, gradient = kept["activation"][0], kept["activation"].grad[0]
        coarse = torch.einsum("kij,kij->ij", gradient.clamp(min=0), activation)
        scale = model.encoder.size_multiple // 2
        fine = F.interpolate(coarse[None, None], scale_factor=scale, mode="bilinear")[0, 0]
        fine = fine[: image.shape[-2], : image.shape[-1]].detach()
        maps.append(fine / fine.max() if fine.max() > 0 else fine)
    handle.remove()
    model.zero_grad()
    return torch.stack(maps)


@pytest.mark.parametrize("size", [(32, 32), (24, 40), (17, 33), (5, 3)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stem": "space_to_depth", "norm": "group"},
        {"norm": "instance", "in_channels": 2, "num_classes": 3},
        {"norm": "group", "pool": "avg_max"},
    ],
    ids=["batch", "folded group", "instance", "maxima"],
)
def test_equals_the_implementation_with_hooks(size: tuple[int, int], options: dict) -> None:
    model = small_model(**options)
    images = torch.randn(3, model.encoder.in_channels, *size)
    found = layercam(model, images)
    assert found.shape == (3, *size) and found.dtype == torch.float32
    assert not found.requires_grad
    torch.testing.assert_close(found, with_hooks(model, images), rtol=1e-4, atol=1e-5)
    assert found.min() >= 0 and found.max() <= 1


def test_some_map_is_not_empty() -> None:
    """Else the comparison above would compare zeros."""
    maps = layercam(small_model(), torch.randn(16, 1, 32, 32))
    assert (maps.amax(dim=(1, 2)) == 1).any()
    assert set(maps.amax(dim=(1, 2)).tolist()) <= {0.0, 1.0}


def hand_made(weight: float, pool: str = "avg") -> MultiTaskModel:
    """A last block that hands channels on, and a head whose tumour logit is ``weight`` times the
    mean of channel 0 (``pool`` "avg") or its maximum ("avg_max")."""
    model = small_model(pool=pool).requires_grad_(False)
    handing_on = nn.Conv2d(8, 16, kernel_size=1, bias=False).requires_grad_(False)
    handing_on.weight.copy_(torch.eye(16, 8)[..., None, None])
    model.encoder.blocks[-1] = handing_on
    first, last = model.head.layers[0], model.head.layers[3]
    for parameter in (*first.parameters(), *last.parameters()):
        parameter.zero_()
    first.weight[0, 16 if pool == "avg_max" else 0] = 1.0
    last.weight[1, 0] = weight
    return model


def test_a_head_of_one_channel_shows_that_channel_where_the_pooling_took_it_from() -> None:
    features = torch.rand(2, 8, 16, 16) + 0.1
    first = features[:, :1]
    taken = first == F.interpolate(F.max_pool2d(first, 2), scale_factor=2)
    expected = F.interpolate(first * taken, scale_factor=2, mode="bilinear")[:, 0]
    expected = expected / expected.amax(dim=(1, 2), keepdim=True)
    torch.testing.assert_close(layercam_from_features(hand_made(2.0), features, (32, 32)), expected)
    cropped = layercam_from_features(hand_made(2.0), features, (29, 30))
    again = expected[:, :29, :30]
    torch.testing.assert_close(cropped, again / again.amax(dim=(1, 2), keepdim=True))


def test_under_a_maximum_only_its_place_counts() -> None:
    """Where Grad-CAM, with the mean of the gradient, would show all of the channel."""
    features = torch.rand(1, 8, 16, 16)
    features[0, 0, 4, 11] = 1.5
    heat = layercam_from_features(hand_made(1.0, "avg_max"), features, (32, 32))[0]
    expected = torch.zeros(1, 1, 16, 16)
    expected[0, 0, 4, 11] = 1.0
    expected = F.interpolate(expected, scale_factor=2, mode="bilinear")[0, 0]
    torch.testing.assert_close(heat, expected / expected.max())


@pytest.mark.parametrize("weight", [-2.0, 0.0])
def test_what_speaks_against_tumour_gives_zeros(weight: float) -> None:
    heat = layercam_from_features(hand_made(weight), torch.rand(2, 8, 16, 16), (32, 32))
    assert torch.equal(heat, torch.zeros(2, 32, 32))


def hooks_of(model: MultiTaskModel) -> int:
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, name)) for module in model.modules() for name in names)


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("around", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_nothing_of_the_model_changes_whatever_the_caller_is_inside_of(
    frozen: bool, around: Callable[[], AbstractContextManager]
) -> None:
    model = small_model().requires_grad_(not frozen)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = torch.randn(2, 1, 24, 24)
    reference = with_hooks(small_model(), images)
    with around():
        found = layercam(model, images)
        features = model.encoder(pad_to_multiple(images, model.encoder.size_multiple))
        from_features = layercam_from_features(model, features[-2], (24, 24))
    torch.testing.assert_close(found, reference, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(from_features, found)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad != frozen for p in model.parameters())
    assert hooks_of(model) == 0 and not model.training


def test_images_made_in_inference_mode_and_a_leaf_of_the_caller() -> None:
    model = small_model()
    with torch.inference_mode():
        images = torch.randn(2, 1, 32, 32)
    layercam(model, images)
    features = torch.rand(1, 8, 16, 16, requires_grad=True)
    kept = features.detach().clone()
    layercam_from_features(model, features, (32, 32))
    assert features.grad is None and torch.equal(features, kept)


def test_a_model_made_in_inference_mode_cannot_be_explained() -> None:
    with torch.inference_mode():
        model = create_multi_task_model(base_filters=4, depth=2, hidden_dim=8).eval()
    with pytest.raises(RuntimeError, match="nference tensors"):
        layercam(model, torch.randn(1, 1, 32, 32))


def test_autocast_of_the_caller_reaches_the_encoder_alone() -> None:
    model = small_model(norm="group")
    images = torch.randn(4, 1, 32, 32)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        features = model.encoder(images)[-2]
        found = layercam(model, images)
    assert features.dtype == torch.bfloat16 and found.dtype == torch.float32
    torch.testing.assert_close(found, layercam_from_features(model, features.float(), (32, 32)))


def test_threads_share_one_model() -> None:
    model = small_model().requires_grad_(False)
    batches = [torch.randn(2, 1, 32, 32) for _ in range(24)]
    alone = [layercam(model, images) for images in batches]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda images: layercam(model, images), batches))
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one, other)
    assert hooks_of(model) == 0


def test_training_mode_and_wrong_shapes_are_refused() -> None:
    model = small_model()
    with pytest.raises(ConfigError, match="in_channels=1"):
        layercam(model, torch.randn(1, 2, 32, 32))
    for size in [(33, 32), (32, 0)]:
        with pytest.raises(ValueError, match="do not fit"):
            layercam_from_features(model, torch.rand(1, 8, 16, 16), size)
    with pytest.raises(ValueError, match="eval"):
        layercam(model.train(), torch.randn(1, 1, 32, 32))


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    rows, columns = np.indices(shape)
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def test_shares_are_areas_where_the_heat_is_even() -> None:
    head, tumour = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    head[5:15, 5:15], tumour[6:8, 6:11] = True, True
    shares = heat_shares(np.ones((20, 20)), head, tumour)
    assert shares.outside_head == pytest.approx(300 / 400)
    assert shares.half_area == pytest.approx(0.5)
    assert shares.inside_tumour == pytest.approx(10 / 400)
    assert shares.pointing_hit is False  # the maximum lies everywhere


def test_pointing_game_and_shares_by_hand() -> None:
    heat = np.array([[0.0, 0.5], [1.0, 0.5]])
    tumour = np.array([[False, False], [True, False]])
    shares = heat_shares(heat, np.array([[True, False], [True, True]]), tumour)
    assert shares == (pytest.approx(0.25), pytest.approx(1 / 3), pytest.approx(0.5), True)
    assert heat_shares(heat, tumour, np.roll(tumour, 1, axis=1)).pointing_hit is False


@pytest.mark.parametrize("sharpness", [0.0, 1.0, 5.0, 40.0])
def test_half_area_against_a_search_over_all_areas(sharpness: float) -> None:
    rng = np.random.default_rng(1)
    heat, head = rng.random((20, 20)) ** sharpness, disc((20, 20), (9, 10), 7)
    inside = sorted(heat[head], reverse=True)
    enough = [n for n in range(1, len(inside) + 1) if sum(inside[:n]) >= sum(inside) / 2 - 1e-9]
    assert heat_shares(heat, head).half_area == pytest.approx(enough[0] / len(inside))


def test_shares_that_are_not_defined_are_none() -> None:
    heat, mask = np.ones((4, 4)), np.ones((4, 4), bool)
    assert heat_shares(0 * heat, mask, mask) == (None, None, None, None)
    assert heat_shares(heat, mask) == (0.0, 0.5, None, None)
    assert heat_shares(heat, mask, ~mask) == (0.0, 0.5, None, None)
    assert heat_shares(heat, ~mask, mask) == (1.0, None, 1.0, True)


def test_shares_refuse_what_is_no_heat() -> None:
    mask = np.ones((4, 4), bool)
    for heat in (np.full((4, 4), -1.0), np.full((4, 4), np.nan)):
        with pytest.raises(ValueError, match="finite"):
            heat_shares(heat, mask)
    with pytest.raises(ValueError, match="differ in shape"):
        heat_shares(np.ones((4, 4)), mask, np.ones((4, 5), bool))


@pytest.mark.parametrize("seed", range(3))
def test_head_mask_is_the_convex_hull_of_the_foreground(seed: int) -> None:
    rng = np.random.default_rng(seed)
    inside = disc((90, 80), (45, 38), 30) & ~disc((90, 80), (45, 70), 14)  # a bay
    plane = np.where(inside, 100 + 20 * rng.standard_normal(inside.shape), 0).astype(np.float32)
    prepared = preprocess_slice(plane[None])
    found = head_mask(prepared.image)
    assert found.shape == (256, 256) and found.dtype == bool
    points = np.argwhere(prepared.foreground)
    triangles = Delaunay(points[ConvexHull(points).vertices])  # of all points it would take minutes
    grid = np.indices(found.shape).reshape(2, -1).T
    expected = (triangles.find_simplex(grid) >= 0).reshape(found.shape)
    assert (found != expected).sum() <= 8  # pixels on an edge of the hull, by rounding
    assert (found & prepared.foreground).sum() == prepared.foreground.sum()
    assert found.sum() > 1.02 * prepared.foreground.sum()  # the bay is taken in
    np.testing.assert_array_equal(head_mask(prepared.image[0]), found)


def test_head_mask_of_degenerate_images() -> None:
    image = np.full((1, 32, 32), BACKGROUND_VALUE, dtype=np.float32)
    assert not head_mask(image).any()
    for pixels in ([(4, 4)], [(4, 4), (9, 9)], [(4, k) for k in range(20)]):
        line = image.copy()
        line[0][tuple(np.transpose(pixels))] = 0.0
        np.testing.assert_array_equal(head_mask(line), line[0] == 0)
    assert head_mask(np.zeros((2, 32, 32), dtype=np.float32)).all()


@pytest.mark.parametrize("shape", [(300, 200), (40, 90), (256, 256), (512, 700)])
def test_heat_returns_to_the_place_it_came_from(shape: tuple[int, int]) -> None:
    """A bump on the prepared grid lies where the same bump in the picture was prepared from."""
    box = (shape[0] // 8, shape[0] * 7 // 8, shape[1] // 6, shape[1] * 5 // 6)
    geometry = frame_geometry(shape, box)
    rows, columns = np.indices((256, 256))
    heat = np.exp(-((rows - 120) ** 2 + (columns - 140) ** 2) / 400).astype(np.float32)
    plane = geometry.to_plane(heat)
    assert plane.shape == shape and plane.min() >= 0 and plane.max() <= 1
    # independently: a pixel of the picture sits at (its index - corner + 0.5) * scale - 0.5
    corner = (geometry.crop[0] - geometry.padding[0], geometry.crop[2] - geometry.padding[2])
    where = [
        (np.arange(shape[axis]) - corner[axis] + 0.5) * geometry.scale[axis] for axis in (0, 1)
    ]
    grid = np.stack(np.meshgrid(where[1] / 128 - 1, where[0] / 128 - 1), axis=-1).astype(np.float32)
    sampled = F.grid_sample(
        torch.from_numpy(heat)[None, None], torch.from_numpy(grid)[None], align_corners=False
    )[0, 0].numpy()
    assert np.abs(plane - sampled).max() < 0.06
