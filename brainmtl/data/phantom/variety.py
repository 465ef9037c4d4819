"""How widely synthetic heads and lesions are drawn: as textbooks show them, or wider than nature.

A network that has to cope with more variety than real images have takes real ones for just another draw
(domain randomisation: Tobin et al. 2017; of MR contrasts: Billot et al. 2023, SynthSeg).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from brainmtl.data.phantom.sequences import SEQUENCES, MrSequence
from brainmtl.data.ranges import Range
from brainmtl.errors import ConfigError


@dataclass(frozen=True)
class Variety:
    """Ranges that a lesion's shape is drawn from, and those of the signals per sequence.

    A range of one value takes no random number, so that a new range changes no head drawn without it.
    """

    radius: Range  # mm, of the core
    stretch: Range  # of each axis of the core; more makes it shorter
    reach: Range  # of the oedema, in radii
    reach_infiltrative: Range  # the same of infiltrative lesions, which are core for the most part
    roughness: Range  # factor on how far the core's surface departs from an ellipsoid
    border: Range  # factor on the width of the core's and the oedema's border
    cortex_cost: Range  # what keeps oedema out of grey matter, in lengths of white matter
    cortex_spared: Range  # least share of white matter in voxels of oedema; below 0: none is spared
    sequences: dict[str, MrSequence]


TEXTBOOK = Variety(
    radius=(13, 23),
    stretch=(0.8, 1.25),
    reach=(0.4, 1.1),
    reach_infiltrative=(0.15, 0.5),
    roughness=(1, 1),
    border=(1, 1),
    cortex_cost=(2.6, 2.6),
    cortex_spared=(0.30, 0.30),
    sequences=SEQUENCES,
)
# Small, faint, blurred and ragged lesions, cores as grey as the brain, oedema of the cortex, and brains
# whose grey and white matter hardly differ.
WIDE = Variety(
    radius=(6, 26),
    stretch=(0.65, 1.5),
    reach=(0.2, 1.2),
    reach_infiltrative=(0.1, 0.8),
    roughness=(0.7, 1.9),
    border=(1, 3.5),
    cortex_cost=(0.8, 3.0),
    cortex_spared=(-0.4, 0.35),
    sequences={
        **SEQUENCES,
        "flair": replace(
            SEQUENCES["flair"],
            csf=(0.03, 0.36),
            grey=(0.56, 0.76),
            white=(0.44, 0.64),
            detail=(0.05, 0.24),
            lesions={
                "necrotic": ((0.78, 1.20), (0.60, 1.15), (0.10, 0.60)),
                "infiltrative": ((0.76, 1.10), (0.78, 1.15), (0.0, 0.0)),
                "dark": ((0.78, 1.15), (0.12, 0.50), (0.0, 0.0)),
            },
        ),
    },
)
VARIETIES = {"textbook": TEXTBOOK, "wide": WIDE}


def draw(rng: np.random.Generator, span: Range) -> float:
    """A number of ``span``; where that is one value, this one, and ``rng`` stays as it was."""
    low, high = span
    return float(low) if low == high else float(rng.uniform(low, high))


def check_variety(name: str) -> None:
    """Refuse a name that :data:`VARIETIES` lacks.

    Raises:
        ConfigError: an unknown name.
    """
    if name not in VARIETIES:
        raise ConfigError(f"phantom.variety={name}: one of {', '.join(VARIETIES)}")
