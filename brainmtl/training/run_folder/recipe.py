"""Which options make a recipe: runs of one recipe differ in what is said here, and in nothing else."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from brainmtl.training.run_folder.run_record import differences

SEEDS = ("seed", "data.seed")
FOLD = ("fold", "data.fold")
# Where data, initial weights and results lie, what is watched or kept of a training, and who loads its data.
# (Whether data and initial weights that lie elsewhere are the same is known by their hashes: run_record.HASHES.)
_NO_PART_OF_A_RECIPE = (
    *("data_dir", "data.data_dir", "init_from", "run_dir", "experiment_name", "from_run"),
    *("resume", "reuse_stages", "checkpoint_every", "logger", "callbacks"),
    *("trainer.log_every_n_steps", "trainer.enable_progress_bar", "trainer.enable_model_summary"),
    *("data.num_workers", "data.pin_memory"),
)


def recipe_differences(
    first: Mapping[str, Any], second: Mapping[str, Any], apart_from: Collection[str]
) -> dict[str, tuple[Any, Any]]:
    """{dotted option: (in the first, in the second)} of two runs' configurations, but for the options
    ``apart_from`` (:data:`SEEDS`, :data:`FOLD`) and all that is no part of a recipe."""
    left_out = (*_NO_PART_OF_A_RECIPE, *apart_from)
    return {
        key: pair
        for key, pair in differences(first, second).items()
        if not any(key == name or key.startswith(f"{name}.") for name in left_out)
    }
