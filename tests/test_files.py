"""Files appear whole under their name or not at all."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from brainmtl.files import atomic_path, write_json, write_text


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_json(target, {"kept": 1})
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as temporary:
        temporary.write_text("half of", encoding="utf-8")
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="JSON"):
        write_json(target, {"nan": float("nan")})
    assert target.read_text(encoding="utf-8") == '{\n  "kept": 1\n}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("name", "suffix"), [("a.npz", ".npz"), ("a.nii.gz", ".nii.gz"), ("a.b.png", ".png")]
)
def test_writers_that_go_by_the_suffix_find_it(tmp_path: Path, name: str, suffix: str) -> None:
    with atomic_path(tmp_path / "new" / name) as temporary:
        assert temporary.name.startswith(".tmp-") and temporary.name.endswith(suffix)
        assert temporary.parent == tmp_path / "new"
    assert [p.name for p in (tmp_path / "new").iterdir()] == [name]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_permissions_are_those_of_open(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "ours", "")
        (tmp_path / "plain").write_text("")
    finally:
        os.umask(before)
    modes = [(tmp_path / name).stat().st_mode for name in ("ours", "plain")]
    assert modes[0] == modes[1]


def test_writers_at_once_each_leave_a_whole_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    texts = [str(k) * 100_000 for k in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_text(target, text), texts))
    assert target.read_text() in texts
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
