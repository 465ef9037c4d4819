"""What is pooled is what the head sees; an untrained encoder leaves the model alone."""

from __future__ import annotations

import numpy as np
import torch
from planted import head, new_model
from scipy.special import expit, logit

from brainmtl.evaluation.shortcuts.network import (
    calibrated_probabilities,
    pooled_bottleneck,
    untrained_encoder,
)


def images(count: int = 20, size: int = 64) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [head(rng)[:, :size, :size] for _ in range(count)]


def test_head_on_pooled_features_gives_the_logits() -> None:
    model = new_model()
    for size in (64, 50):  # 50 is padded inside the model
        batch = images(20, size)
        pooled = pooled_bottleneck(model.encoder, model, batch)
        with torch.inference_mode():
            expected = model(torch.from_numpy(np.stack(batch)), do_seg=False).cls
            found = model.head.layers(torch.from_numpy(pooled).float())
        assert pooled.shape == (20, model.head.in_features)
        assert torch.allclose(found, expected, atol=1e-5)


def test_probabilities_are_those_of_the_logits_after_temperature() -> None:
    model = new_model()
    with torch.inference_mode():
        raw = model(torch.from_numpy(np.stack(images())), do_seg=False).cls.softmax(1)[:, 1].numpy()
    found = calibrated_probabilities(model, images(), {"temperature": 2.5, "threshold": 0.5})
    assert np.allclose(found, expit(logit(raw.astype(float)) / 2.5), atol=1e-6)


def test_untrained_encoder_is_seeded_and_leaves_the_model_alone() -> None:
    model = new_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    first, again, other = (untrained_encoder(model, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    weights = [
        torch.cat([p.flatten() for p in e.parameters()])
        for e in (first, again, other, model.encoder)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2]) and not torch.equal(weights[0], weights[3])
