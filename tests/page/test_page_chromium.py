"""The page in a real browser, before a real service: every tab, down to what is downloaded."""

from __future__ import annotations

import base64
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from browsing import (
    APP,
    WAIT_MS,
    chromium,
    download,
    image_widths,
    metrics,
    no_error,
    open_tab,
    panel,
    press,
    process,
    settled,
    wait_for_http,
)
from hostile import encode
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from serving import upload
from support import free_ports

ALWAYS = {"seg_threshold": 0}


@pytest.fixture(scope="module")
def api_url() -> str:
    """Where the service will be; it is not started by this."""
    return f"http://127.0.0.1:{free_ports(1)[0]}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def page_url(
    browser: Browser, api_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The page as a process, before a service runs, with the tab Batch to be opened first."""
    (port,) = free_ports(1)
    command = ("streamlit", "run", str(APP), "--server.port", str(port))
    log = tmp_path_factory.mktemp("page") / "log.txt"
    with process(command, log, BRAINMTL_API_URL=api_url, BRAINMTL_PAGE="batch"):
        url = f"http://127.0.0.1:{port}"
        wait_for_http(f"{url}/_stcore/health")
        yield url
        assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def api(
    api_url: str, model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """The service as a process that is ready, and a client of it."""
    folder = tmp_path_factory.mktemp("api")
    command = ("brainmtl.serve", "--port", api_url.rpartition(":")[2])
    settings = {
        "BRAINMTL_MODEL_DIR": str(model_folder),
        "BRAINMTL_AUDIT_LOG": str(folder / "audit.jsonl"),
        "BRAINMTL_THREADS": "1",
    }
    with (
        process(command, folder / "log.txt", **settings),
        httpx.Client(base_url=api_url, timeout=120) as client,
    ):
        wait_for_http(f"{api_url}/ready")
        yield client


@pytest.fixture
def page(browser: Browser, page_url: str, api: httpx.Client) -> Iterator[Page]:
    """A page of its own that has been drawn, without errors."""
    page = browser.new_page(viewport={"width": 1280, "height": 1400})
    page.goto(page_url)
    expect(page.get_by_text("API up")).to_be_visible(timeout=WAIT_MS)
    settled(page)
    yield page
    page.close()


def send(page: Page, *files: tuple[str, bytes]) -> None:
    """Upload into the open tab, and wait for what follows."""
    payload = [{"name": n, "mimeType": "application/octet-stream", "buffer": d} for n, d in files]
    panel(page).locator('input[type="file"]').set_input_files(payload)
    settled(page)


def test_page_waits_for_the_service(
    browser: Browser, page_url: str, api_url: str, request: pytest.FixtureRequest
) -> None:
    page = browser.new_page()
    page.goto(page_url)
    expect(page.get_by_text("API down")).to_be_visible(timeout=WAIT_MS)
    port = api_url.rpartition(":")[2]
    expect(page.get_by_text(f"uvicorn brainmtl.serve.app:app --port {port}")).to_be_visible()
    expect(page.get_by_text("not a medical device")).to_be_visible()
    assert page.get_by_role("tab").count() == 0
    client = request.getfixturevalue("api")
    # Nobody reloads the page.
    expect(page.get_by_text("API up")).to_be_visible(timeout=WAIT_MS)
    expect(page.get_by_text("SYNTHETIC", exact=True)).to_be_visible()
    model = client.get("/model").json()["model"]
    told = f"{model['name']} {model['version']} · weights {model['weights_sha256'][:12]}"
    expect(page.get_by_test_id("stAlertContentSuccess")).to_contain_text(told)
    settled(page)
    expect(page.get_by_role("tab", name="Batch")).to_have_attribute("aria-selected", "true")
    no_error(page)
    page.close()


def test_picture(page: Page, api: httpx.Client, picture: bytes) -> None:
    open_tab(page, "Multi-Task")
    send(page, ("scan.png", picture))
    query = {"include_gradcam": True}
    answer = api.post("/predict_multitask", files=upload(picture), params=query).json()
    assert answer["segmentation"]["performed"] is False  # P of the tiny network is low
    assert image_widths(page) == [250, 250]
    assert metrics(page) == {
        "Probability": f"{100 * answer['tumour_probability']:.1f} %",
        "Verdict": "no tumour",
        "Area": "not segmented",
    }
    expect(panel(page).get_by_text(answer["segmentation"]["reason"])).to_be_visible()
    band = answer["confidence_band"]
    panel(page).get_by_text(f"Interpretation: {band['name']}").click()
    expect(panel(page).get_by_text(band["advice"], exact=True)).to_be_visible()
    expect(panel(page).get_by_text("Computed in")).to_be_visible()
    expect(panel(page).get_by_test_id("stVegaLiteChart")).to_have_count(1)
    no_error(page)

    press(page, "seg_threshold", "Home")
    answer = api.post("/predict_multitask", files=upload(picture), params=query | ALWAYS).json()
    assert image_widths(page) == [200, 200, 200]
    assert metrics(page)["Area"] == f"{answer['segmentation']['area_px']:,} px"
    mask = download(page, "Mask (PNG)")
    assert mask == base64.b64decode(answer["segmentation"]["mask_png"])
    assert np.asarray(Image.open(io.BytesIO(mask))).shape == (96, 80)
    told = json.loads(download(page, "Answer (JSON)"))
    assert told["tumour_probability"] == pytest.approx(answer["tumour_probability"])
    page.get_by_text("Heat map").first.click()
    settled(page)
    assert image_widths(page) == [250, 250]
    no_error(page)


def test_errors_are_boxes_with_the_services_words(page: Page, picture: bytes) -> None:
    open_tab(page, "Multi-Task")
    send(page, ("notes.png", b"text"))
    expect(panel(page).get_by_text("This is no picture")).to_be_visible()
    expect(panel(page).get_by_text("not_an_image")).to_be_visible()
    send(page, ("scan.png", picture))
    # The answer to the text may still stand while the page waits for the next one.
    expect(panel(page).get_by_text("not_an_image")).to_have_count(0)
    settled(page)
    no_error(page)
    press(page, "seg_threshold", "End")
    expect(panel(page).get_by_text("invalid_parameter")).to_be_visible()
    assert page.get_by_test_id("stException").count() == 0


def test_example_that_is_no_mri(page: Page) -> None:
    open_tab(page, "Multi-Task")
    panel(page).get_by_text("No MRI").click()
    settled(page)
    assert image_widths(page) == [400]
    assert metrics(page) == {"Probability": "–", "Verdict": "no statement", "Area": "not segmented"}
    expect(panel(page).get_by_text("MRI is grey")).to_be_visible()
    no_error(page)


def test_batch(page: Page, api: httpx.Client, plane: np.ndarray, picture: bytes) -> None:
    pictures = [encode(np.roll(plane, k, axis=0)) for k in range(9)]
    files = [(f"slice_{k}.png", data) for k, data in enumerate(pictures)]
    files[3:3] = [("notes.txt", b"text"), ("cut.png", picture[:200])]
    send(page, *files)
    panel(page).get_by_role("button", name="Analyse 11 pictures").click()
    settled(page)
    found = metrics(page, 4)
    assert (found["Not usable"], found["No statement"]) == ("2", "0")
    assert int(found["Tumour"]) + int(found["No tumour"]) == 9
    expect(panel(page).get_by_text("notes.txt: This is no picture")).to_be_visible()
    expect(panel(page).get_by_test_id("stDataFrame")).to_be_visible()
    frame = pd.read_csv(io.BytesIO(download(page, "All columns (CSV)")))
    assert list(frame["file"]) == [name for name, _ in files]
    assert list(frame["reason_code"].dropna()) == ["not_an_image", "truncated"]
    form = [("files", ("file", data)) for _, data in files]
    items = api.post("/predict_batch", files=form).json()["results"]
    for line, item in zip(frame.to_dict("records"), items, strict=True):
        assert (line["status"] == "ok") is item["ok"]
        if item["ok"]:
            expected = item["result"]["tumour_probability"]
            assert line["probability"] == pytest.approx(expected, abs=1e-5)
    no_error(page)


def test_patient(page: Page, api: httpx.Client, volume: bytes) -> None:
    press(page, "seg_threshold", "Home")
    open_tab(page, "Patient")
    send(page, ("flair.nii", volume))
    query = ALWAYS | {"include_mask": True}
    answer = api.post("/predict_volume", files=upload(volume), params=query).json()
    assert metrics(page) == {
        "Patient": answer["label"],
        "Volume": f"{answer['volume_ml']:.1f} ml",
        "Highest probability": f"{100 * answer['probability']:.1f} %",
    }
    expect(panel(page).get_by_text("Patient rule")).to_be_visible()
    expect(panel(page).get_by_test_id("stVegaLiteChart")).to_have_count(1)
    assert image_widths(page) == [250, 250]
    largest = max(answer["slices"], key=lambda one: one["area_px"])
    for index in (largest["index"], largest["index"] + 1):
        one = next(one for one in answer["slices"] if one["index"] == index)
        words = f"Slice {index}: P {100 * one['probability']:.1f} %, {one['label']}, "
        words += f"{one['area_px']:,} px outlined."
        expect(panel(page).get_by_text(words)).to_be_visible(timeout=WAIT_MS)
        press(page, "Slice (index in the file)", "ArrowRight")
    mask = download(page, "Mask (NIfTI)")
    assert mask == base64.b64decode(answer["mask_nifti_gz"])
    image = nib.Nifti1Image.from_bytes(gzip.decompress(mask))
    assert np.asarray(image.dataobj).sum() == sum(one["area_px"] for one in answer["slices"])
    no_error(page)


def test_model(page: Page, api: httpx.Client) -> None:
    open_tab(page, "Model")
    told = api.get("/model").json()
    expect(panel(page).get_by_text("This model was not evaluated")).to_be_visible()
    assert metrics(page) == {
        "Model": told["model"]["name"],
        "Stage": "joint",
        "Trained on": "synthetic images",
    }
    expect(panel(page).get_by_text(told["model"]["weights_sha256"])).to_be_visible()
    panel(page).get_by_text("The whole card").click()
    expect(panel(page).get_by_role("heading", name="Intended use")).to_be_visible()
    assert json.loads(download(page, "Card (JSON)")) == told["card"]
    no_error(page)
