"""Extras that a sweep's command needs, refused before anything trains where they are missing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

# Choices of these groups, by the beginning of their names -> modules, and the extra that has them.
GROUPS = ("sweep", "launcher", "hydra/sweeper", "hydra/launcher")
EXTRAS = {
    "optuna": (("hydra_plugins.hydra_optuna_sweeper", "optuna"), "sweep"),
    "submitit": (("hydra_plugins.hydra_submitit_launcher", "submitit"), "cluster"),
}


def require_extras(arguments: Sequence[str]) -> None:
    """End the process with the remedy where a command line asks for an extra that is not installed.

    Hydra composes the configuration before any code of ours runs, and would only say that the
    choice ``hydra/sweeper=optuna`` does not exist.
    """
    for argument in arguments:
        group, _, choice = argument.partition("=")
        if group.lstrip("+") not in GROUPS:
            continue
        for name, (modules, extra) in EXTRAS.items():
            if choice.startswith(name) and not all(map(_is_installed, modules)):
                sys.exit(
                    f"error: {argument} needs an extra that is not installed: "
                    f"pip install 'brainmtl[{extra}]'"
                )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package that should hold the module
        return False
