"""What a mistyped option may have meant: Hydra says that a key does not exist, but not which ones do."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

ALIKE = 0.75  # similarity (difflib) of whole names; "epoch.joint" and "epochs.joint" have 0.96


def suggest(conf_dir: Path, config_name: str, arguments: Sequence[str]) -> list[str]:
    """A line for each of ``arguments`` that sets an option which ``config_name`` does not have.

    None where the options exist, are added on purpose (``+key=value``) or cannot be parsed: that is
    Hydra's to say.
    """
    changes = [change for change in map(_parse, arguments) if change is not None]
    GlobalHydra.instance().clear()  # a command that failed leaves its own behind
    try:
        with initialize_config_dir(str(conf_dir), version_base="1.3"):
            bare = compose(config_name, return_hydra_config=True)
            groups = set(bare.hydra.runtime.choices)  # that this command has, of all in conf/
            chosen = [c for c in changes if c.key_or_group in groups and not c.is_sweep_override()]
            cfg = compose(config_name, [c.input_line for c in chosen])
    except (HydraException, OmegaConfBaseException):
        return []
    # A group that says nothing but _target_, or null, has no name of its own in the configuration.
    names = [*_names(cfg), *sorted(group for group in groups if not set("/@") & set(group))]
    return [
        _line(config_name, change.key_or_group, names)
        for change in changes
        if not (
            change.is_add()
            or change.is_force_add()
            or change.key_or_group in names
            or _is_section(cfg, change.key_or_group)
            or change.key_or_group.startswith("hydra")
            or change.key_or_group in groups
        )
    ]


def unnamed_groups(conf_dir: Path, arguments: Sequence[str]) -> list[str]:
    """A line for each of ``arguments`` that sets a group to null, a number or a list instead of a name,
    which Hydra answers with a traceback."""
    lines = []
    for change in map(_parse, arguments):
        if change is None or change.is_delete() or change.is_sweep_override():
            continue
        if isinstance(change.value(), str | QuotedString):
            continue
        group = conf_dir / change.key_or_group
        names = sorted(
            path.relative_to(group).with_suffix("").as_posix() for path in group.rglob("*.yaml")
        )
        if names:
            lines.append(
                f"{change.input_line}: {group.name} takes one of {', '.join(names)}; leave it out for the default"
            )
    return lines


def _parse(argument: str) -> Override | None:
    if argument.startswith("-"):
        return None
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException:
        return None


def _is_section(cfg: DictConfig, name: str) -> bool:
    try:
        return OmegaConf.select(cfg, name, throw_on_missing=False) is not None
    except OmegaConfBaseException:  # it refers to what only a running command has
        return True


def _names(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    """The dotted name of every option that a person would set."""
    for key, value in OmegaConf.to_container(cfg, resolve=False).items():
        if isinstance(value, dict) and value:
            yield from _names(OmegaConf.create(value), f"{prefix}{key}.")
        elif key != "_target_":
            yield f"{prefix}{key}"


def _line(config_name: str, name: str, names: Sequence[str]) -> str:
    section, _, word = name.rpartition(".")
    dot = f"{section}." if section else ""
    inside = list(dict.fromkeys(n[len(dot) :].split(".")[0] for n in names if n.startswith(dot)))
    close = [f"{dot}{w}" for w in difflib.get_close_matches(word, inside, n=2)]
    # the same word in another section: lambda_cls for loss.lambda_cls; or a section spelled wrongly
    close = close or [n for n in names if n.rpartition(".")[2] == word][:3]
    close = close or difflib.get_close_matches(name, names, n=2, cutoff=ALIKE)
    if close:
        remedy = f"did you mean {' or '.join(close)}?"
    elif inside:
        remedy = f"{section or 'it'} has {', '.join(inside)}"
    else:
        remedy = "--help lists all"
    return f"there is no option {name} in conf/{config_name}.yaml: {remedy}"
