"""Multiply-adds, the model choices of conf/model, and the table of both."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from brainmtl import model_table
from brainmtl.models import create_multi_task_model
from brainmtl.models.blocks import STEMS
from brainmtl.models.summary import ModelSummary, summarize


def count_by_hooks(model: nn.Module, x: torch.Tensor) -> int:
    """Multiply-adds from the shapes each layer really saw: the independent reference."""
    total = 0

    def hook(module: nn.Module, args: tuple, output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.ConvTranspose2d):
            total += module.weight.numel() * args[0].shape[-2] * args[0].shape[-1]
        elif isinstance(module, nn.Conv2d):
            total += module.weight.numel() * output.shape[-2] * output.shape[-1]
        elif isinstance(module, nn.Linear):
            total += module.weight.numel()

    for module in model.modules():
        module.register_forward_hook(hook)
    model.eval()(x)
    return total


@pytest.mark.parametrize("stem", STEMS)
def test_multiply_adds_agree_with_a_count_by_layer(stem: str) -> None:
    model = create_multi_task_model(base_filters=4, depth=2, hidden_dim=8, stem=stem)
    summary = summarize(model, image_size=32)
    assert summary.macs["total"] == count_by_hooks(model, torch.rand(1, 1, 32, 32))
    assert summary.macs["total"] == sum(summary.macs[p] for p in ("encoder", "decoder", "head"))
    assert summary.cls_only_macs == summary.macs["encoder"] + summary.macs["head"]


def test_summary_leaves_mode_weights_and_statistics_alone() -> None:
    model = create_multi_task_model(base_filters=4, depth=1).set_trainable({"head"}).train()
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    summarize(model, image_size=16)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.device.type == "cpu" for parameter in model.parameters())


@pytest.fixture(scope="module")
def choices() -> dict[str, ModelSummary]:
    return model_table.summarize_choices()


def test_every_choice_has_its_published_size(choices: dict[str, ModelSummary]) -> None:
    assert list(choices) == [
        "resunet_1m_quarter",
        "unet_2m_quarter",
        "unet_2m_fast",
        "unet_2m",
        "unet_31m",
    ]
    assert 1.8e6 < choices["unet_2m"].parameters["total"] < 2.2e6
    for choice in ("unet_2m_fast", "unet_2m_quarter"):
        assert 1.8e6 < choices[choice].parameters["total"] < 2.2e6
    assert 1.4e6 < choices["resunet_1m_quarter"].parameters["total"] < 1.5e6
    assert 30e6 < choices["unet_31m"].parameters["total"] < 32e6
    assert choices["unet_31m"].parameters["head"] == 525_826
    assert choices["unet_2m"].macs["total"] == pytest.approx(9.18e9, rel=0.01)


def test_a_folding_stem_saves_a_quarter_of_the_arithmetic_each_time(
    choices: dict[str, ModelSummary],
) -> None:
    full = choices["unet_2m"].macs["total"]
    assert choices["unet_2m_fast"].macs["total"] == pytest.approx(full / 4, rel=0.03)
    assert choices["unet_2m_quarter"].macs["total"] == pytest.approx(full / 16, rel=0.1)


def test_table_prints_each_choice_once(
    choices: dict[str, ModelSummary], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = model_table.table_rows(choices)
    lines = model_table.to_markdown(rows).splitlines()
    assert len(lines) == 1 + len(rows)
    assert all(lines[0].count(f" {choice} ") == 1 for choice in choices)
    assert len({line.count("|") for line in lines}) == 1
    model_table.main(["--markdown"])
    assert capsys.readouterr().out.splitlines() == lines
    model_table.main(["--image-size", "32"])
    printed = capsys.readouterr().out
    assert "32x32" in printed
    assert all(choice in printed for choice in choices)


def test_documentation_shows_the_measured_table(
    choices: dict[str, ModelSummary],
) -> None:
    page = Path(__file__).parents[2] / "docs" / "model.md"
    table = model_table.to_markdown(model_table.table_rows(choices))
    assert table in page.read_text(encoding="utf-8"), (
        "run: python -m brainmtl.model_table --markdown"
    )


def test_help_answers_without_loading_torch() -> None:
    code = (
        "import sys; from brainmtl import model_table\n"
        "try: model_table.main(['--help'])\n"
        "finally: assert 'torch' not in sys.modules"
    )
    start = time.perf_counter()
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--markdown" in run.stdout
    assert time.perf_counter() - start < 2


def test_table_refuses_an_image_without_pixels(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        model_table.main(["--image-size", "0"])
    assert "at least 1" in capsys.readouterr().err
