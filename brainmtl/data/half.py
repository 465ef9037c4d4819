"""float16 as samples are stored, and back: what NumPy's ``astype`` gives, sooner where torch is at hand.

NumPy converts value by value; torch uses the processor's own instructions, a tenth of the time or less. Both
round to nearest, ties to even, and agree in every bit of every number (not of NaN, which no sample holds).
Torch is not imported for it: a process that only prepares would spend more on that than it saves.
"""

from __future__ import annotations

import sys

import numpy as np


def to_half(values: np.ndarray) -> np.ndarray:
    """Any shape and type -> float16, rounded to nearest; beyond 65504 infinite."""
    torch = sys.modules.get("torch")
    if torch is None or values.dtype != np.float32:
        return values.astype(np.float16)
    # A copy, since torch takes neither negative strides nor memory that is not to be written.
    return torch.from_numpy(np.array(values, order="C")).half().numpy()


def from_half(values: np.ndarray) -> np.ndarray:
    """float16 of any shape -> float32, exact; other types too."""
    torch = sys.modules.get("torch")
    if torch is None or values.dtype != np.float16:
        return values.astype(np.float32)
    return torch.from_numpy(np.array(values, order="C")).float().numpy()
