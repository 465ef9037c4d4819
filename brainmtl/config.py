"""Command-line entries: Hydra with the project's ``conf/``, and errors that people can read."""

from __future__ import annotations

import functools
import io
import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from brainmtl.errors import BrainMTLError, ConfigError
from brainmtl.suggestions import suggest, unnamed_groups

PROJECT_ROOT = Path(__file__).resolve().parents[1]
CONF_DIR = PROJECT_ROOT / "conf"
# Ends of options' names.
PATHS = ("dir", "ckpt", "input", "csv", "table", "picture", "init_from", "from_run")
NAMES = ("experiment_name",)
_NUMBER = re.compile(r"[+-]?[0-9][0-9_]*(\.[0-9_]*)?([eE][+-]?[0-9]+)?")

# Defaults such as outputs/ and data/processed lie in the project, wherever a command is started;
# paths that the user types are relative to where they type them, as everywhere.
OmegaConf.register_new_resolver("project", lambda path: str(PROJECT_ROOT / path), replace=True)

# monai imports optuna where it is installed, whose migrations announce each of their plugins.
logging.getLogger("alembic").setLevel(logging.WARNING)


def entry(config_name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], Any]]:
    """Make ``function(cfg)`` a command configured by ``conf/<config_name>.yaml``.

    A :class:`BrainMTLError`, or an OSError such as a full disk or a file where a folder should be, is
    printed as one line and ends the command with exit status 1; within a multirun it is left to Hydra,
    which reports the job that failed. Ctrl-C ends it with a line and status 130. Where Hydra refuses an
    option, the ones that it may have meant are named.
    """

    def decorate(function: Callable[[DictConfig], Any]) -> Callable[[], Any]:
        composed = False

        @functools.wraps(function)
        def task(cfg: DictConfig) -> Any:
            nonlocal composed
            composed = True
            try:
                return function(cfg)
            except (BrainMTLError, OSError) as error:
                if HydraConfig.get().mode == RunMode.MULTIRUN:
                    raise
                print(f"error: {error}", file=sys.stderr)
                sys.exit(1)

        def main() -> Any:
            if not (CONF_DIR / f"{config_name}.yaml").is_file():
                sys.exit(
                    f"error: {CONF_DIR}/{config_name}.yaml is missing. conf/ is not part of a wheel: install "
                    "brainmtl from its repository with `pip install -e .` (or `make setup`)"
                )
            if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may be in any alphabet
                sys.stdout.reconfigure(errors="backslashreplace")
            sys.argv[1:] = map(_in_quotes, sys.argv[1:])
            if refused := unnamed_groups(CONF_DIR, sys.argv[1:]):
                sys.exit("\n".join(f"error: {line}" for line in refused))
            command = hydra.main(
                version_base="1.3", config_path=str(CONF_DIR), config_name=config_name
            )(task)
            try:
                return command()
            except KeyboardInterrupt:
                print("interrupted: give the same command again", file=sys.stderr)
                sys.exit(130)
            except SystemExit as end:
                if end.code and not composed:
                    for line in suggest(CONF_DIR, config_name, sys.argv[1:]):
                        print(f"error: {line}", file=sys.stderr)
                raise

        return main

    return decorate


@contextmanager
def own_words() -> Iterator[None]:
    """Errors of ours that Hydra's ``instantiate`` has wrapped, without its words around them."""
    try:
        yield
    except InstantiationException as error:
        if isinstance(error.__cause__, BrainMTLError):
            raise error.__cause__ from None
        raise


def compose(config_name: str, *overrides: str) -> dict[str, Any]:
    """The options that ``conf/<config_name>.yaml`` and ``overrides`` make, as its command gets them.

    Raises:
        ConfigError: as :func:`plain`; Hydra's own errors for options that do not exist.
    """
    with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return plain(hydra.compose(config_name, [_in_quotes(one) for one in overrides]))


def _in_quotes(argument: str) -> str:
    """``name=2024_01`` as ``name='2024_01'`` where it is a path or a name: Hydra would read 202401."""
    key, _, value = argument.partition("=")
    if key.endswith((*PATHS, *NAMES)) and _NUMBER.fullmatch(value):
        return f"{key}='{value}'"
    return argument


def plain(cfg: DictConfig, several: Sequence[str] = ()) -> dict[str, Any]:
    """Resolved plain containers; a value left at ``???``, one that is empty, or a path that is a number or, but
    for the options that take ``several``, a list is an error that names it."""
    missing = OmegaConf.missing_keys(cfg)
    if missing:
        raise ConfigError(f"{', '.join(f'{key}=...' for key in sorted(missing))} must be given")
    options = OmegaConf.to_container(cfg, resolve=True)
    for key, value in options.items():
        if key.endswith(PATHS) and isinstance(value, int | float) and not isinstance(value, bool):
            raise ConfigError(f"{key}={value} is a number: write a path of digits in quotes")
        if key.endswith(PATHS) and key not in several and isinstance(value, list | dict):
            raise ConfigError(
                f"{key}={value} is read as a list: give one path, in quotes where its name has brackets or "
                f"commas ('{key}=\"a[1].png\"')"
            )
        if value == "":  # as a path it would be the current folder
            raise ConfigError(
                f"{key}= is empty, as a variable that the shell does not know: give a value, or leave it out"
            )
    return options
