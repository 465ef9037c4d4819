"""Settings from the environment, and the command that uses them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support import run_python

from brainmtl.config import PROJECT_ROOT
from brainmtl.errors import ConfigError
from brainmtl.serve.settings import Settings


def test_defaults() -> None:
    assert Settings.from_environment({"PATH": "/bin", "BRAINMTL_API_KEY": " "}) == Settings()
    assert Settings().max_body_bytes == 64 * 2**20
    assert Settings().audit_log == PROJECT_ROOT / "outputs/serve/audit.jsonl"


def test_all_variables() -> None:
    found = Settings.from_environment(
        {
            "BRAINMTL_MODEL_DIR": "models/a",
            "BRAINMTL_API_KEY": "secret",
            "BRAINMTL_MAX_BODY_MB": "0.5",
            "BRAINMTL_QUEUE": "0",
            "BRAINMTL_MAX_BATCH": "1",
            "BRAINMTL_AUDIT_LOG": "/var/log/audit.jsonl",
            "BRAINMTL_CORS_ORIGINS": "https://a.example, http://localhost:8501,",
            "BRAINMTL_THREADS": "2",
            "BRAINMTL_RUNTIME": "onnx",
            "BRAINMTL_PRECISION": "int8",
        }
    )
    assert found == Settings(
        model_dir=Path("models/a"),
        api_key="secret",
        max_body_mb=0.5,
        queue=0,
        max_batch=1,
        audit_log=Path("/var/log/audit.jsonl"),
        cors_origins=("https://a.example", "http://localhost:8501"),
        threads=2,
        runtime="onnx",
        precision="int8",
    )
    assert found.max_body_bytes == 2**19


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_BODY_MB", "much"),
        ("MAX_BODY_MB", "nan"),
        ("MAX_BODY_MB", "0"),
        ("QUEUE", "-1"),
        ("QUEUE", "1.5"),
        ("MAX_BATCH", "0"),
        ("MAX_BATCH", "17"),
        ("THREADS", "0"),
        ("RUNTIME", "tensorrt"),
        ("PRECISION", "16"),
        ("MODEL_DIR", "~nobody_there/model"),
        ("AUDIT_LOG", "~nobody_there/audit.jsonl"),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "https://a.example/"),
    ],
)
def test_impossible_values_are_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"BRAINMTL_{name}"):
        Settings.from_environment({f"BRAINMTL_{name}": value})


def serve(cwd: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_python(["-m", "brainmtl.serve", *arguments], cwd, timeout=120, **environment)


@pytest.mark.parametrize("port", [99999, -1])
def test_ports_that_do_not_exist(port: int, tmp_path: Path) -> None:
    result = serve(tmp_path, f"--port={port}")
    assert result.returncode == 2 and result.stderr.startswith("usage: python -m brainmtl.serve")
    assert result.stderr.endswith(f"error: --port {port} must lie in 0..65535\n")


def test_the_command_reports_a_setting_in_one_line(tmp_path: Path) -> None:
    result = serve(tmp_path, BRAINMTL_QUEUE="many")
    assert result.returncode == 1
    assert result.stderr == (
        "error: BRAINMTL_QUEUE='many' must be a whole number from 0 to 10000\n"
    )
