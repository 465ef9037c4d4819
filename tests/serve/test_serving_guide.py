"""docs/serving.md does what it says: its commands and clients against a live server, its example."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tiny
from PIL import Image
from serving import Server

from brainmtl.config import PROJECT_ROOT
from brainmtl.serve.schemas import MultitaskAnswer
from brainmtl.serve.settings import Settings

GUIDE = (PROJECT_ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
ADDRESS = "http://localhost:8000"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


CURLS = [line for block in blocks("bash") for line in block.splitlines() if line[:5] == "curl "]


@pytest.fixture
def desk(tmp_path: Path, picture: bytes, model_folder: Path) -> Path:
    """A folder with the files that the guide names."""
    for name in ("slice.png", "a.png", "b.png"):
        (tmp_path / name).write_bytes(picture)
    planes = np.stack([tiny.head((44, 52), seed) for seed in range(4)], axis=2)
    nib.save(nib.Nifti1Image(planes, np.diag([1.0, 1.5, 3.0, 1.0])), tmp_path / "flair.nii.gz")
    models = tmp_path / "outputs" / "models"
    models.mkdir(parents=True)
    shutil.copytree(model_folder, models / "joint")
    return tmp_path


def run(words: list[str], desk: Path) -> str:
    environment = {**os.environ, "BRAINMTL_API_KEY": "key"}
    done = subprocess.run(
        words, cwd=desk, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def live(text: str, server: Server) -> str:
    assert ADDRESS in text
    return text.replace(ADDRESS, str(server.client.base_url).rstrip("/"))


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("line", CURLS)
def test_curl(line: str, server: Server, desk: Path) -> None:
    """Answers 200 with the fields that the guide names, or writes the picture."""
    status = run(["sh", "-c", f"{live(line, server)} -w '\\n%{{http_code}}'"], desk)
    body, _, code = status.rpartition("\n")
    assert code == "200", body
    if " -o mask.png" in line:
        assert set(np.unique(Image.open(desk / "mask.png"))) <= {0, 255} and not body
        return
    values = json.loads(body)
    assert "error" not in values
    path = re.search(rf"{ADDRESS}/(\w+)", line)[1]
    if path == "predict_multitask":
        assert 0 <= values["tumour_probability"] <= 1
        assert (values["gradcam_png"] is not None) is ("include_gradcam=true" in line)
        threshold = re.search(r"seg_threshold=([\d.]+)", line)
        assert values["thresholds"]["seg_gate"] == (float(threshold[1]) if threshold else 0.3)
    elif path == "predict_batch":
        assert [item["ok"] for item in values["results"]] == [True, True]
    elif path == "predict_volume":
        assert len(values["slices"]) == 4 and values["mask_nifti_gz"]
    else:
        assert values["model"]["weights_sha256"]


def test_every_endpoint_that_predicts_has_its_command() -> None:
    for path in ("predict_multitask", "predict_batch", "predict_volume", "ready", "model"):
        assert any(f"/{path}" in line for line in CURLS), path


def test_python_client(server: Server, desk: Path) -> None:
    """Says what the service says, and writes the masks."""
    (script,) = (block for block in blocks("python") if "httpx" in block)
    printed = run([sys.executable, "-c", live(script, server)], desk).splitlines()
    client = server.client
    alone = client.post(
        "/predict_multitask", files={"file": (desk / "slice.png").read_bytes()}
    ).json()
    p, advice = alone["tumour_probability"], alone["confidence_band"]["advice"]
    assert printed[0] == f"{alone['label']} {p} {advice}"
    assert (desk / "mask.png").is_file() is alone["segmentation"]["performed"]
    assert [line.split()[0] for line in printed[1:3]] == ["0", "1"]
    volume = {"file": (desk / "flair.nii.gz").read_bytes()}
    values = client.post("/predict_volume", files=volume, params={"include_mask": True}).json()
    assert printed[3] == f"{values['label']} {values['volume_ml']} ml"
    assert (desk / "mask.nii.gz").read_bytes() == base64.b64decode(values["mask_nifti_gz"])


def test_python_client_says_what_is_wrong(server: Server, desk: Path) -> None:
    (script,) = (block for block in blocks("python") if "httpx" in block)
    (desk / "slice.png").write_bytes(b"text")
    command = [sys.executable, "-c", live(script, server)]
    done = subprocess.run(command, cwd=desk, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.match(r"not_an_image: .+ \(\w+\)\n$", done.stderr), done.stderr


def test_python_predictor(desk: Path) -> None:
    (script,) = (block for block in blocks("python") if "MultiTaskPredictor" in block)
    printed = run([sys.executable, "-c", f"{script}\nprint(result.label, volume.label)"], desk)
    assert printed.count("tumour") == 2


def test_example_has_the_fields_of_an_answer(server: Server, picture: bytes) -> None:
    (example,) = map(json.loads, blocks("json"))
    MultitaskAnswer.model_validate(example)
    assert set(example) == set(MultitaskAnswer.model_fields)
    query = {"seg_threshold": 0}
    live = server.client.post("/predict_multitask", files={"file": picture}, params=query).json()
    for one in (example, *MultitaskAnswer.model_config["json_schema_extra"]["examples"]):
        assert list(one["timings_ms"]) == list(live["timings_ms"])
        said = [answer["segmentation"]["reason"] for answer in (one, live)]
        assert re.sub(r"[\d.]+", "0", said[0]) == re.sub(r"[\d.]+", "0", said[1])


def test_tables_name_what_there_is(server: Server) -> None:
    """Every path and query parameter of the interface, and nothing that is not there."""
    document = server.client.get("/openapi.json").json()
    told = set(re.findall(r"^\| `(?:POST|GET) (/\w+)`", GUIDE, re.MULTILINE)) - {"/docs"}
    assert told == set(document["paths"]) - {"/"}
    asked = {
        parameter["name"]
        for path in document["paths"].values()
        for operation in path.values()
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "query"
    }
    section = GUIDE[GUIDE.index("| query | of |") :].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE)) == asked


def test_settings_are_those_of_the_code() -> None:
    section = GUIDE[GUIDE.index("| variable | default |") :].partition("\n\n")[0]
    told = re.findall(r"^\| `BRAINMTL_(\w+)`", section, re.MULTILINE)
    assert sorted(told) == sorted(field.name.upper() for field in fields(Settings))
