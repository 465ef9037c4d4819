"""Which weights a run starts from: ``init_from`` of ``conf/train.yaml``.

``auto`` takes those of the weights that come with the project that fit the model. They were trained on
synthetic heads alone (``brainmtl/models/weights/README.md``), and save small cohorts from learning from
nothing what a head looks like. They are checkpoints like any other, with weights in float16.
"""

from __future__ import annotations

import inspect
import sys
from functools import cache
from pathlib import Path
from typing import Any

from brainmtl.errors import ConfigError
from brainmtl.files import atomic_path

AUTO = "auto"
WEIGHTS = Path(__file__).parents[2] / "models" / "weights"
BUILT_IN = WEIGHTS / "phantom.ckpt"  # of the default model
KEPT = ("preprocessing_version", "stage", "trained_parts")  # of the description of a run
Options = dict[str, Any]


def starting_weights(options: Options) -> Path | None:
    """The checkpoint that the first stage starts from, None for random weights.

    ``options["init_from"]`` is null, a path, or "auto": those of the built-in weights that have the model's
    architecture and were trained on data prepared as now, else none.
    """
    given = options["init_from"]
    if given != AUTO:
        return Path(given) if given else None
    built_in = sorted(WEIGHTS.glob("*.ckpt"))
    return next((path for path in built_in if _fits(path, options["model"])), None)


def _fits(built_in: Path, model: dict[str, Any]) -> bool:
    """Whether the weights are for a model of these options, and for images prepared as now."""
    from brainmtl.data.preprocessing.preprocess import PREPROCESSING_VERSION

    about = _about(built_in)
    own, theirs = _shapes(model), _shapes(about["config"]["model"])
    return own == theirs and about["preprocessing_version"] == PREPROCESSING_VERSION


@cache  # several parts of a run ask, and the files do not change meanwhile
def _about(built_in: Path) -> dict[str, Any]:
    from brainmtl.training.continuation.checkpoints import read_checkpoint

    return read_checkpoint(built_in)["brainmtl"]


def _shapes(model: dict[str, Any]) -> dict[str, Any]:
    """What decides the shapes of weights: all options of a model, also those that its file does not name (an
    older one), but dropout."""
    from brainmtl.models import create_multi_task_model

    parameters = inspect.signature(create_multi_task_model).parameters
    whole = {name: parameter.default for name, parameter in parameters.items()} | model
    return {name: value for name, value in whole.items() if name not in ("_target_", "dropout")}


def write_built_in(checkpoint: Path, target: Path = BUILT_IN) -> None:
    """Make the built-in weights of a checkpoint: nothing but weights (float16) and where they come from.

    Raises:
        ConfigError: a checkpoint that real data took part in.
        DataError: no checkpoint.
    """
    import torch

    from brainmtl.data.manifest import SYNTHETIC_PREFIX
    from brainmtl.training.continuation.checkpoints import read_checkpoint

    found = read_checkpoint(checkpoint)
    about = found["brainmtl"]
    made_up = [source.startswith(SYNTHETIC_PREFIX) for source in about["sources"]]
    if not (about["synthetic_training"] and all(made_up)):
        raise ConfigError(
            f"{checkpoint} was trained on {', '.join(about['sources'])}: weights that come with the "
            "project must be of synthetic data alone"
        )
    kept = {name: about[name] for name in KEPT}
    kept |= {
        "config": {"model": about["config"]["model"]},
        "sources": [],  # none of those that a run is judged on
        "synthetic_training": False,
        "pretrained": f"synthetic heads ({', '.join(about['sources'])})",
    }
    weights = {
        name: value.half() if value.is_floating_point() else value
        for name, value in found["state_dict"].items()
    }
    with atomic_path(target) as temporary:
        torch.save({"state_dict": weights, "brainmtl": kept}, temporary)


if __name__ == "__main__":
    write_built_in(Path(sys.argv[1]), *(WEIGHTS / name for name in sys.argv[2:3]))
