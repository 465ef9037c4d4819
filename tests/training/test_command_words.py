"""Options of a command that is printed for people: as a shell and Hydra read them again."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from brainmtl.training.continuation.command_line import compose_words, word

AWKWARD = [
    "/runs/lr=0.1,seed=2/best.ckpt",
    "/my data (old)/prepared",
    "/data/it's here",
    "/data/'quoted'",
    '/data/"so called"/x',
    "/data/[1,2]{a:b}",
    "C:\\data\\it\\'s",
    "/data/$HOME `ls` #1; & | * ! ~",
    "/daten/größe/患者",
    " /data/blanks ",
    "ends in \\",
    "a\\\\'b",
    "2024",
    "null",
    "true",
]


@pytest.mark.parametrize("path", ["/work/data/processed", "runs/a-b_1.0/x@2:3+4%/best.ckpt", "."])
def test_plain_paths_are_not_quoted(path: str) -> None:
    assert word("data_dir", Path(path)) == f"data_dir={path}"


@pytest.mark.parametrize("path", AWKWARD)
def test_awkward_paths_come_back(path: str) -> None:
    """First from the shell, as one word, then from Hydra, as the text that it was."""
    (text,) = shlex.split(word("data_dir", path))
    override = OverridesParser.create().parse_override(text)
    assert not override.is_sweep_override()
    value = override.value()
    assert getattr(value, "text", value) == path
    assert compose_words([text])[0]["data"]["data_dir"] == path
