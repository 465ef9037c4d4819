"""All shortcut evidence of one model on one split, as plain JSON."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainmtl.errors import ConfigError
from brainmtl.evaluation.shortcuts.association import label_source_association
from brainmtl.evaluation.shortcuts.background import background_report
from brainmtl.evaluation.shortcuts.baselines import baseline_lines
from brainmtl.evaluation.shortcuts.comparison import summarise_baselines
from brainmtl.evaluation.shortcuts.heat import heat_report
from brainmtl.evaluation.shortcuts.images import at_most
from brainmtl.evaluation.shortcuts.probe import probe_features, probe_report
from brainmtl.evaluation.shortcuts.unseen import unseen_report

if TYPE_CHECKING:
    import pandas as pd

    from brainmtl.models.multitask import MultiTaskModel

DEFAULT_LIMIT = 120  # about a minute for five sources on a small CPU
TEST_SHARE = 0.5  # of the limit: test images of a probe
ALTERED_SHARE = 1 / 3  # images whose surroundings are changed, and images with a heat map


def shortcut_section(
    model: MultiTaskModel,
    data_dir: str | Path,
    train: pd.DataFrame,
    test: pd.DataFrame,
    rows: Sequence[Mapping[str, Any]],
    result: Mapping[str, Any],
    run: Mapping[str, Any],
    *,
    progress: bool = True,
    limit: int = DEFAULT_LIMIT,
    seed: int = 0,
) -> dict[str, Any]:
    """Did the model learn the tumour or the source?

    Args:
        model: in eval mode; runs where its weights are.
        train, test: parts of the manifest. Training rows whose group is tested are left out: when
            the training split itself is evaluated, a probe would meet its own images.
        rows: lines of predictions.csv of all images of ``test``.
        result: metrics.json; run: run.json with ``training_sources`` and ``operating_point``.
        limit: training images per source of a probe. Test images are half as many, images whose
            surroundings are changed and images with a heat map a third each.

    Returns:
        ``association``, ``probe``, ``baselines`` (with ``sentences``), ``background``, ``heat``,
        ``unseen`` and ``baseline_lines``, from which ``baselines`` can be made again over folds;
        ``options`` and ``seconds``. The same seed gives the same figures.

    Raises:
        ConfigError: a limit too small for any probe.
        DataError: an unreadable sample.
    """
    import pandas as pd

    if limit < 12:
        raise ConfigError(f"limit={limit} images per source must be at least 12")
    train = train[~train["group"].astype(str).isin(set(test["group"].astype(str)))]
    few = {"limit": max(1, round(ALTERED_SHARE * limit)), "progress": progress}
    common = {"seed": seed, "progress": progress}
    lines: list[dict[str, Any]] = []

    def baselines() -> dict[str, Any]:
        lines.extend(baseline_lines(data_dir, train, test, **common))
        return summarise_baselines(lines, rows)

    steps: dict[str, Callable[[], dict[str, Any]]] = {
        "association": lambda: label_source_association(train, test),
        "probe": lambda: _probe(model, data_dir, train, test, limit, common),
        "baselines": baselines,
        "background": lambda: background_report(
            model, data_dir, test, run["operating_point"], seed=seed, **few
        ),
        "heat": lambda: heat_report(model, data_dir, test, rows, **few),
        "unseen": lambda: unseen_report(pd.concat([train, test]), result, run),
    }
    options = {"limit": limit, "seed": seed}
    return {"options": options, **_timed(steps), "baseline_lines": lines}


def _probe(
    model: MultiTaskModel,
    data_dir: str | Path,
    train: pd.DataFrame,
    test: pd.DataFrame,
    limit: int,
    common: Mapping[str, Any],
) -> dict[str, Any]:
    parts = (at_most(train, limit), at_most(test, round(TEST_SHARE * limit)))
    return probe_report(*(probe_features(model, data_dir, part, **common) for part in parts))


def _timed(steps: Mapping[str, Callable[[], dict[str, Any]]]) -> dict[str, Any]:
    """What every step returns, and under ``seconds`` how long it took."""
    found: dict[str, Any] = {"seconds": {}}
    for name, step in steps.items():
        start = time.perf_counter()
        found[name] = step()
        found["seconds"][name] = round(time.perf_counter() - start, 1)
    return found
