"""Every runtime says what eager PyTorch in float32 says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from graphs import BY_GRAPHS, TOLERANCE, Graphs, read_graphs
from hydra.utils import instantiate
from omegaconf import OmegaConf
from support import run_python

from brainmtl.config import CONF_DIR
from brainmtl.errors import ConfigError
from brainmtl.exporting.onnx_export import export_onnx
from brainmtl.inference.gradcam import layercam
from brainmtl.inference.network import Network
from brainmtl.inference.runtimes.choice import choose_runtime
from brainmtl.models import MultiTaskModel


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[MultiTaskModel, Graphs]:
    """(the default network, its graphs)."""
    folder = tmp_path_factory.mktemp("graphs")
    torch.manual_seed(0)
    model = instantiate(OmegaConf.load(CONF_DIR / "model" / "unet_2m_quarter.yaml")).eval()
    export_onnx(model, folder)
    return model, read_graphs(folder)


def network_by(
    name: str, exported: tuple[MultiTaskModel, Graphs], precision: str = "32"
) -> Network:
    if name == "openvino":
        pytest.importorskip("openvino", reason="pip install 'brainmtl[openvino]'")
    model, graphs = exported
    chosen = choose_runtime(model, graphs, runtime=name, device="cpu", precision=precision)
    assert chosen.runtime.name == name and not chosen.measured_ms
    return Network(model, runtime=chosen.runtime)


def images(batch: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    plain = rng.standard_normal((batch, 1, 256, 256), dtype=np.float32)
    return plain + 3 * rng.standard_normal((batch, 1, 1, 1), dtype=np.float32)


def probabilities(model: MultiTaskModel, batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By the model itself, operation by operation."""
    with torch.no_grad():
        output = model(torch.from_numpy(batch))
    return output.cls.softmax(1)[:, 1].numpy(), output.seg.sigmoid()[:, 0].numpy()


@pytest.mark.parametrize("batch", [1, 3, 16])
@pytest.mark.parametrize("name", ["eager", *BY_GRAPHS])
def test_answers_are_those_of_the_model(
    name: str, batch: int, exported: tuple[MultiTaskModel, Graphs]
) -> None:
    network, own = network_by(name, exported), images(batch)
    expected, pixels = probabilities(exported[0], own)
    encoded = network.encode(own)
    np.testing.assert_allclose(encoded.probability, expected, atol=TOLERANCE)
    assert batch == 1 or np.ptp(expected) > 3 * TOLERANCE, "answers that are alike show nothing"
    chosen = [batch - 1, 0] if batch > 1 else [0]
    np.testing.assert_allclose(network.decode(encoded, chosen), pixels[chosen], atol=TOLERANCE)
    heat = layercam(exported[0], torch.from_numpy(own[chosen])).numpy()
    assert heat.max() == 1
    np.testing.assert_allclose(network.gradcam(encoded, chosen), heat, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["eager", *BY_GRAPHS])
def test_flipped_views_are_averaged(name: str, exported: tuple[MultiTaskModel, Graphs]) -> None:
    network, own = network_by(name, exported), images(3, seed=1)
    plain, mirrored = (
        probabilities(exported[0], np.ascontiguousarray(view)) for view in (own, own[..., ::-1])
    )
    encoded = network.encode(own, "flip")
    np.testing.assert_allclose(encoded.probability, (plain[0] + mirrored[0]) / 2, atol=TOLERANCE)
    expected = (plain[1] + mirrored[1][..., ::-1]) / 2
    np.testing.assert_allclose(network.decode(encoded, [2]), expected[[2]], atol=TOLERANCE)


@pytest.mark.parametrize("name", ["eager", *BY_GRAPHS])
def test_threads_share_a_runtime(name: str, tiny: tuple[MultiTaskModel, Graphs]) -> None:
    network = network_by(name, tiny)
    batches = [images(1 + seed % 4, seed) for seed in range(24)]

    def answer(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        encoded = network.encode(batch)
        return encoded.probability, network.decode(encoded, range(len(batch)))

    alone = [answer(batch) for batch in batches]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(answer, batches))
    for own, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(own[0], expected[0], atol=1e-6)
        np.testing.assert_allclose(own[1], expected[1], atol=1e-6)


@pytest.mark.parametrize("name", ["eager", "openvino"])
def test_bfloat16_is_near_and_not_the_same(name: str, tiny: tuple[MultiTaskModel, Graphs]) -> None:
    network, own = network_by(name, tiny, "bf16"), images(3)
    expected, pixels = probabilities(tiny[0], own)
    encoded = network.encode(own)
    found = network.decode(encoded, range(3))
    assert 0 < np.abs(found - pixels).max() < 0.02
    np.testing.assert_allclose(encoded.probability, expected, atol=0.02)


def test_compiled_answers_are_those_of_the_model(tiny: tuple[MultiTaskModel, Graphs]) -> None:
    network = network_by("compile", tiny)
    compiled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for batch in (1, 3, 16):
        own = images(batch)
        expected, pixels = probabilities(tiny[0], own)
        encoded = network.encode(own)
        np.testing.assert_allclose(encoded.probability, expected, atol=TOLERANCE)
        chosen = list(range(0, batch, 2))
        np.testing.assert_allclose(network.decode(encoded, chosen), pixels[chosen], atol=TOLERANCE)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == compiled, (
        "what a request needs is compiled before"
    )


def test_compile_without_a_compiler(
    tiny: tuple[MultiTaskModel, Graphs], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch._inductor.config
    from torch._inductor.utils import fresh_cache

    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("no-such-compiler",))
    torch._dynamo.reset()
    with fresh_cache(), pytest.raises(ConfigError, match=r"compile: .* C\+\+ compiler"):
        choose_runtime(*tiny, runtime="compile", device="cpu")
    torch._dynamo.reset()


def test_memory_does_not_grow_with_the_sizes_of_batches(
    exported: tuple[MultiTaskModel, Graphs],
) -> None:
    network = network_by("onnx", exported)

    def all_sizes() -> int:
        for batch in (1, 16, 5, 9, 2, 13):
            encoded = network.encode(images(batch))
            network.decode(encoded, range(batch))
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * 4096

    all_sizes()
    before = all_sizes()
    for _ in range(2):
        after = all_sizes()
    assert after - before < 50 * 2**20


def test_signals_outlive_openvino(tiny: tuple[MultiTaskModel, Graphs], tmp_path: Path) -> None:
    """A process that lets runtimes go one after another still survives a signal."""
    pytest.importorskip("openvino", reason="pip install 'brainmtl[openvino]'")
    for name, graph in tiny[1].items():
        (tmp_path / name).write_bytes(graph)
    done = run_python(["-c", SIGNALLED], tmp_path)
    assert (done.returncode, done.stdout) == (0, "caught\n"), done.stderr


SIGNALLED = """
import os, pathlib, signal
from brainmtl.inference.runtimes.openvino_runtime import OpenVino

graphs = {path.name: path.read_bytes() for path in pathlib.Path().glob("*.onnx")}
runtimes = [OpenVino(graphs) for _ in range(3)]
while runtimes:
    del runtimes[0]
signal.signal(signal.SIGCHLD, lambda *_: print("caught"))
os.kill(os.getpid(), signal.SIGCHLD)
"""
