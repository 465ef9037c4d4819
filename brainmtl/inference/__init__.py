"""From what a network says to what is told: calibration, decision, mask, and where it looked.

Evaluation and serving call the same functions, so that measured figures are those of what is served.
"""

from __future__ import annotations

from typing import Any

__all__ = ["MultiTaskPredictor"]


def __getattr__(name: str) -> Any:
    """``brainmtl.inference.MultiTaskPredictor``, imported when it is first asked for."""
    if name == "MultiTaskPredictor":
        from brainmtl.inference.predictor import MultiTaskPredictor

        return MultiTaskPredictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
