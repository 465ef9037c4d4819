"""Every command block of README and docs composes, or names a target or file that exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from brainmtl.config import CONF_DIR, PROJECT_ROOT

pytestmark = pytest.mark.no_cover  # tracing Hydra's own lines takes as long again
OTHERS = ("README.md", "benchmarks/README.md", "brainmtl/models/weights/README.md")
PAGES = sorted([*(PROJECT_ROOT / other for other in OTHERS), *(PROJECT_ROOT / "docs").glob("*.md")])
CONFIG_OF = {"train.py": "train", "evaluate.py": "evaluate"}
# Commands of other programs, which a reader has or installs.
FOREIGN = ("git", "cd", "tensorboard", "pip", "source", "python3", "OMP_NUM_THREADS=1")
FOREIGN += ("uvicorn", "streamlit", "curl", "torchrun", "srun", "sbatch", "dask")


def commands() -> list[tuple[str, str]]:
    """(page, command line) of every ```bash block."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(page.name, line.split("  #")[0].strip()) for line in lines if line.strip()]
    return [(page, line) for page, line in found if not line.startswith("#")]


def _compose(config: str, overrides: list[str]) -> None:
    from hydra import compose, initialize_config_dir
    from hydra.core.override_parser.overrides_parser import OverridesParser

    single = []
    for text in overrides:
        if text in ("-m", "--multirun", "--help"):
            continue
        override = OverridesParser.create().parse_override(text)
        if override.is_sweep_override():  # compose takes one value: the first of the sweep
            text = f"{override.key_or_group}={next(iter(override.sweep_string_iterator()))}"
        single.append(text)
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        assert compose(config, single) is not None


def test_there_are_commands_to_check() -> None:
    pages = {page for page, _ in commands()}
    assert {"README.md", "data.md", "training.md", "evaluation.md"} <= pages


@pytest.mark.parametrize(("page", "line"), commands())
def test_command_is_true(page: str, line: str) -> None:
    words = shlex.split(line)
    if words[0] == "make":
        makefile = (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8")
        for target in words[1:]:
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page}: no target {target}"
        return
    if words[0] != "python":
        assert words[0] in FOREIGN, f"{page}: what is {words[0]}?"
        return
    if words[1] == "-m":
        module, arguments = words[2], words[3:]
        path = PROJECT_ROOT / (module.replace(".", "/") + ".py")
        package = PROJECT_ROOT / module.replace(".", "/") / "__main__.py"
        assert path.is_file() or package.is_file(), f"{page}: no module {module}"
        name = module.rsplit(".", 1)[-1]
        if (CONF_DIR / f"{name}.yaml").is_file():
            _compose(name, arguments)
        return
    assert (PROJECT_ROOT / words[1]).is_file(), f"{page}: no file {words[1]}"
    if words[1] in CONFIG_OF:
        _compose(CONFIG_OF[words[1]], words[2:])


def headings(page: Path) -> set[str]:
    """What a link into the page may name after its #, as GitHub makes it of the headings."""
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT_ROOT)))
def test_links_and_pictures_exist(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        name, _, place = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), f"{page.name}: {name} does not exist"
        assert not place or place in headings(target), f"{page.name}: {link} leads nowhere"
