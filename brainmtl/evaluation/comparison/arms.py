"""What ``runs=[...]`` names: the arms of a comparison, each one run or one recipe's seeds."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from brainmtl.errors import ConfigError
from brainmtl.evaluation.comparison.folders import Evaluation, in_order, load, resolve


@dataclass(frozen=True)
class Arm:
    """One side of a comparison: an evaluation, or those of one recipe trained with several seeds.

    ``name`` is unique within a comparison.
    """

    name: str
    seeds: tuple[Evaluation, ...]

    @property
    def roots(self) -> list[Path]:
        """The folders of its runs."""
        return [evaluation.root for evaluation in self.seeds]

    def untrained(self, figure: str) -> bool:
        """Whether the part behind a figure still has random weights in any of the seeds."""
        return any(evaluation.untrained(figure) for evaluation in self.seeds)


Stages = list[tuple[Evaluation, ...]]  # of one recipe: per stage the evaluation of each seed


def entries(runs: Any) -> list[list[str]]:
    """``runs`` as one list of folders per entry: that of a run, or those of a recipe's seeds.

    Raises:
        ConfigError: an empty list, or lists in the inner lists.
    """
    outer = runs if isinstance(runs, (list, tuple)) else [runs]
    if not outer:
        raise ConfigError("runs=[] is empty: give folders of runs, stages or evaluations")
    found = [list(entry) if isinstance(entry, (list, tuple)) else [entry] for entry in outer]
    rule = "an inner list names the folders of one recipe's runs, one per seed: [[A0,A1],[B0,B1]]"
    for k, entry in enumerate(found, 1):
        if not entry:
            raise ConfigError(f"entry {k} of runs is an empty list: {rule}")
        if any(isinstance(run, (list, tuple)) for run in entry):
            raise ConfigError(f"entry {k} of runs holds a list in its list: {rule}")
    return [[str(run) for run in entry] for entry in found]


def load_arms(runs: Sequence[Sequence[str]], split: str) -> list[list[Arm]]:
    """The arms of each recipe of ``runs`` (as :func:`entries` gives them), stage by stage.

    A folder is that of a run (its stages, or the merged folds of a cross-validation), of one stage,
    or of one evaluation; stages of the same runs belong together however they are named. ``split``
    says which evaluation of a run or stage is meant.

    Raises:
        ConfigError: fewer than two arms, a folder without evaluations (names the command that makes
            them), the same run twice, seeds with different stages, or evaluations of different splits.
        DataError: a file of an evaluation is missing, broken or of an older version.
    """
    recipes = _recipes(runs, split)
    folders = [folder for recipe in recipes for found in recipe.values() for folder in found]
    twice = [str(name) for name, n in Counter(f.resolve() for f in folders).items() if n > 1]
    if twice:
        raise ConfigError(f"runs names {', '.join(twice)} twice: name every evaluation once")
    n_arms = sum(len(next(iter(recipe.values()))) for recipe in recipes)
    if n_arms < 2:
        raise ConfigError(
            f"runs={_text(runs)} gives {n_arms} evaluation: name at least two (the runs of an inner "
            "list count as one), or a run with several evaluated stages"
        )
    loaded = [_stages(recipe) for recipe in recipes]
    splits = sorted({e.run["split"] for stages in loaded for seeds in stages for e in seeds})
    if len(splits) > 1:
        raise ConfigError(f"runs holds evaluations of the splits {splits}: compare within one")
    return _named(loaded)


def _text(runs: Sequence[Sequence[str]]) -> str:
    return f"[{','.join(e[0] if len(e) == 1 else '[' + ','.join(e) + ']' for e in runs)}]"


def _recipes(runs: Sequence[Sequence[str]], split: str) -> list[dict[Path, list[Path]]]:
    """Per recipe: evaluation folders by the folder of the run, one run per seed."""
    recipes: dict[frozenset[Path], dict[Path, list[Path]]] = {}
    for entry in runs:
        chains = [resolve(Path(run), split) for run in entry]
        roots = [chain.root.resolve() for chain in chains]
        twice = [str(root) for root, times in Counter(roots).items() if times > 1]
        if twice:
            raise ConfigError(
                f"an inner list of runs names the run {', '.join(twice)} twice: it holds the runs of one "
                "recipe with different seeds, each once; stages of one run need no list of their own"
            )
        recipe = recipes.setdefault(frozenset(roots), {})
        for root, chain in zip(roots, chains, strict=True):
            recipe.setdefault(root, []).extend(chain.folders)
    return [
        {root: in_order(root, folders) for root, folders in recipe.items()}
        for recipe in recipes.values()
    ]


def _stages(recipe: dict[Path, list[Path]]) -> Stages:
    """The evaluations of a recipe, which must be of the same stages in every run."""
    chains = [[load(folder, root) for folder in folders] for root, folders in recipe.items()]
    stages = [[evaluation.run["stage"] for evaluation in chain] for chain in chains]
    for chain, own in zip(chains, stages, strict=True):
        if own != stages[0]:
            raise ConfigError(
                f"{chain[0].root} is evaluated at {', '.join(own)} and {chains[0][0].root} at "
                f"{', '.join(stages[0])}: the runs of an inner list must have the same stages; name "
                "one stage of each, or evaluate what is missing"
            )
    return list(zip(*chains, strict=True))


def _named(recipes: Sequence[Stages]) -> list[list[Arm]]:
    """Arms under their names, and where they have several seeds, those under names of their own."""
    firsts = [seeds[0] for stages in recipes for seeds in stages]
    roots = _recipe_roots(recipes)
    places = [root for root, stages in zip(roots, recipes, strict=True) for _ in stages]
    names = iter(_unique(firsts, places))
    everything = [e for stages in recipes for seeds in stages for e in seeds]
    own = iter(_unique(everything, [e.root for e in everything]))
    return [[_arm(next(names), seeds, own) for seeds in stages] for stages in recipes]


def _arm(name: str, seeds: tuple[Evaluation, ...], own: Any) -> Arm:
    named = tuple(replace(evaluation, name=next(own)) for evaluation in seeds)
    if len(named) == 1:
        return Arm(name, (replace(named[0], name=name),))
    return Arm(f"{name} ({len(named)} seeds)", named)


def _recipe_roots(recipes: Sequence[Stages]) -> list[Path]:
    """The folder that holds all runs of a recipe, or its first run where that tells none apart."""
    runs = [[evaluation.root for evaluation in stages[0]] for stages in recipes]
    common = [Path(os.path.commonpath(own)) for own in runs]
    return common if len(set(common)) == len(common) else [own[0] for own in runs]


def _unique(evaluations: Sequence[Evaluation], roots: Sequence[Path]) -> list[str]:
    """Stage names where they are unique, else with as much of the run's path as it takes."""
    stages = [evaluation.name for evaluation in evaluations]
    if len(set(stages)) == len(stages):
        return stages
    parts = [root.resolve().parts for root in roots]
    for depth in range(1, max(map(len, parts)) + 1):
        found = ["/".join((*own[-depth:], stage)) for own, stage in zip(parts, stages, strict=True)]
        if len(set(found)) == len(found):
            return found
    return [str(evaluation.folder) for evaluation in evaluations]  # several of one stage
