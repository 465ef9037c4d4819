"""The page in Streamlit's own test runner: without a service, and the model card with its figures."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import report_inputs as inputs
import streamlit as st
from serving import Server
from streamlit.testing.v1 import AppTest
from support import free_ports

from brainmtl.evaluation.card import METRICS, build_card
from brainmtl.evaluation.report.card import LABELS
from brainmtl.evaluation.report.text import number
from brainmtl.inference.operating.bands import load_bands
from brainmtl.inference.operating.operating_point import OperatingPoint
from brainmtl.inference.results import DISCLAIMER
from brainmtl.page import app, examples

TIMEOUT_S = 120


@pytest.fixture(autouse=True)
def own_main(monkeypatch: pytest.MonkeyPatch) -> None:
    """AppTest leaves its script as ``__main__``, which every process spawned later would run first."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture(autouse=True)
def _fresh_client() -> Iterator[None]:
    st.cache_resource.clear()
    yield
    st.cache_resource.clear()


def run_page() -> AppTest:
    return AppTest.from_file(app.__file__, default_timeout=TIMEOUT_S).run()


def text_of(boxes: Any) -> str:
    return "\n".join(box.value for box in boxes)


def test_without_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("BRAINMTL_API_URL", f"http://127.0.0.1:{port}")
    page = run_page()
    assert not page.exception
    assert "API down" in text_of(page.error)
    assert page.code[0].value == f"uvicorn brainmtl.serve.app:app --port {port}"
    assert DISCLAIMER in text_of(page.caption)
    assert not page.tabs


@pytest.fixture(scope="module")
def server(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service in a process of its own that asks for a key."""
    with Server.start(
        model_folder, tmp_path_factory.mktemp("server"), BRAINMTL_API_KEY="right"
    ) as server:
        yield server


@pytest.fixture
def address(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINMTL_API_URL", str(server.client.base_url))
    monkeypatch.setenv("BRAINMTL_API_KEY", "right")


def test_wrong_key_is_told_with_its_remedy(address: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINMTL_API_KEY", "wrong")
    page = run_page()
    assert not page.exception and not page.tabs
    assert "BRAINMTL_API_KEY" in text_of(page.error)


def test_head_and_sidebar(address: None) -> None:
    page = run_page()
    assert not page.exception and not page.error
    assert "API up" in text_of(page.success)
    assert "SYNTHETIC" in text_of(page.warning)
    labels = [tab.label.split()[-1] for tab in page.tabs[:4]]
    assert labels == ["Multi-Task", "Batch", "Patient", "Model"]
    gate, threshold = page.sidebar.slider
    assert (gate.label, gate.value) == ("seg_threshold", 0.3)
    assert (threshold.label, threshold.value) == ("cls_threshold", 0.5)


def test_all_examples(address: None) -> None:
    page = run_page()
    page.sidebar.slider[0].set_value(0.0)
    page.get_by_key("multitask_example").set_value(examples.SLICE_TUMOUR)
    page.get_by_key("batch_examples").check()
    page.get_by_key("patient_example").check().run()
    next(button for button in page.button if button.label.startswith("Analyse")).click().run()
    assert not page.exception and not page.error
    picture, batch, patient = page.tabs[:3]
    assert picture.metric[2].value.endswith(" px")
    assert "Computed in" in text_of(picture.caption)
    table = batch.dataframe[0].value
    assert list(table["file"]) == list(examples.PICTURES)
    assert list(table["status"]) == ["ok", "ok", "ok", "abstained"]
    assert [one.value for one in batch.metric[2:]] == ["1", "0"]
    assert patient.metric[1].value.endswith(" ml")
    slices = patient.slider[0]
    slices.set_value(slices.min).run()
    assert not page.exception and not page.error
    assert f"Slice {int(slices.min)}" in text_of(page.tabs[2].caption)
    page.sidebar.slider[0].set_value(0.31).run()
    assert "have changed" in text_of(page.tabs[1].info)


def draw_model(model: dict) -> None:  # Streamlit runs its source alone, without our imports
    from brainmtl.page import model_tab
    from brainmtl.page.client import Options

    model_tab.draw(None, model, Options())


@pytest.fixture
def model() -> dict[str, Any]:
    """GET /model of an evaluated model: one real source with masks, one synthetic without."""
    figures = inputs.Figures()
    pictures = inputs.source_values(figures, synthetic=True)
    pictures |= {"segmentation": None, "patient": None, "literature": None}
    result = {"brats": inputs.source_values(figures), "phantom_kaggle": pictures}
    identity = {
        "name": "joint",
        "version": "0.1.0",
        "weights_sha256": "a" * 64,
        "preprocessing_version": "2",
        "synthetic_training": False,
    }
    return {
        "model": identity,
        "stage": "joint",
        "training_sources": ["brats"],
        "operating_point": OperatingPoint(threshold=0.41, fitted=True).to_dict(),
        "card": build_card(result, inputs.run(result), load_bands()),
    }


def test_card_has_every_figure_of_every_source(model: dict[str, Any]) -> None:
    page = AppTest.from_function(
        draw_model, default_timeout=TIMEOUT_S, kwargs={"model": model}
    ).run()
    assert not page.exception
    card = model["card"]
    sources = [card["data"][source]["display_name"] for source in card["eval_metrics"]]
    assert [tab.label for tab in page.tabs] == sources
    for tab, figures in zip(page.tabs, card["eval_metrics"].values(), strict=True):
        table = tab.dataframe[0].value
        assert list(table["figure"]) == [LABELS[key] for key in METRICS if key in figures]
        for key, value, interval in zip(
            figures, table["value"], table["95 % interval"], strict=True
        ):
            entry = figures[key]
            assert value == number(entry["value"])
            if entry["low"] is not None:
                assert interval == f"{number(entry['low'])} to {number(entry['high'])}"
            elif entry["note"]:
                assert interval == entry["note"]
    settings = page.dataframe[-1].value
    assert "0.41" in list(settings["value"])
    assert "a" * 64 in page.code[0].value
    assert card["checkpoint_sha256"] in page.code[0].value
    assert "Synthetic" in page.tabs[1].markdown[0].value
    assert "Real" in page.tabs[0].markdown[0].value


def test_card_without_figures_says_so(model: dict[str, Any]) -> None:
    model["card"] |= {"eval_metrics": {}, "data": {}, "synthetic_evaluation": []}
    page = AppTest.from_function(
        draw_model, default_timeout=TIMEOUT_S, kwargs={"model": model}
    ).run()
    assert not page.exception and not page.tabs
    assert "not evaluated" in text_of(page.info)
