"""Command lines of ``train.py`` as data: what they compose, and values as overrides write them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import open_dict

from brainmtl.config import CONF_DIR, plain
from brainmtl.errors import ConfigError
from brainmtl.training.run_folder.run_record import Options

MULTIRUN_FLAGS = ("-m", "--multirun")
# What neither Hydra nor a shell reads as more than text.
_AS_IT_IS = re.compile(r"[A-Za-z0-9_./:@%+-]+")


@dataclass(frozen=True)
class Places:
    """Where Hydra would run a command, and whether as a sweep."""

    run_dir: Path
    sweep_dir: Path
    multirun: bool
    storage: str | None


def compose_words(words: Sequence[str]) -> tuple[Options, Places]:
    """The resolved options that a command line composes; of what it sweeps over, the defaults.

    Raises:
        ConfigError: Hydra's own words for an option or choice that does not exist.
    """
    from hydra import compose, initialize_config_dir

    parser = OverridesParser.create()
    texts = [word for word in words if not word.startswith("-")]
    try:
        single = [text for text in texts if not parser.parse_override(text).is_sweep_override()]
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            cfg = compose("train", single, return_hydra_config=True)
    except HydraException as error:
        raise ConfigError(" ".join(str(error).split())) from error
    hydra = cfg.hydra
    places = Places(
        Path(hydra.run.dir),
        Path(hydra.sweep.dir),
        bool(set(words) & set(MULTIRUN_FLAGS)) or hydra.mode == RunMode.MULTIRUN,
        hydra.sweeper.get("storage"),
    )
    with open_dict(cfg):
        del cfg["hydra"]
        cfg.run_dir = None
    return plain(cfg), places


def key_of(word: str) -> str:
    """``loss.lambda_cls`` of ``++loss.lambda_cls=1``; ``loader`` of ``loader@stage.loader=mixed``."""
    return word.split("=", 1)[0].lstrip("+~").split("@")[0]


def word(key: str, value: Any) -> str:
    """``key=value`` to be typed into a shell: quoted for Hydra and for the shell where it has to be."""
    return shlex.quote(option(key, value))


def option(key: str, value: Any) -> str:
    """``key=value`` as an argument of a command: quoted for Hydra where it has to be."""
    text = str(value)
    plain = _AS_IT_IS.fullmatch(text) and _read(text) == text
    return f"{key}={text if plain else literal(text)}"


def _read(text: str) -> Any:
    """What Hydra takes ``text`` for: a name such as 12 or null for something else."""
    return OverridesParser.create().parse_override(f"name={text}").value()


def literal(value: Any) -> str:
    """A plain value as Hydra's overrides write it: ``[1,'two']``."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        # Backslashes stand for themselves but before a quote, where they come in pairs.
        quoted = re.sub(r"(\\*)('|\Z)", lambda m: m[1] * 2 + "\\'" * bool(m[2]), value)
        return f"'{quoted}'"
    if isinstance(value, list):
        return f"[{','.join(map(literal, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{k}:{literal(v)}" for k, v in value.items()) + "}"
    return repr(value)
