"""What a run that Python has composed says of its choices."""

from __future__ import annotations

import pytest
from support import compose

from brainmtl.training.run_folder.settings import run_settings


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["augmentation=none"], "none"),
        (["augmentation.geometric=null", "augmentation.intensity=null"], "by hand"),  # skulls alone
        ([f"augmentation.{name}=null" for name in ("skull", "geometric", "intensity")], "none"),
        ([], "by hand"),
    ],
)
def test_augmentation_is_none_only_where_nothing_is_drawn(overrides: list[str], said: str) -> None:
    options = compose("train", "run_dir=.", *overrides)
    assert run_settings(options)["augmentation"] == said
