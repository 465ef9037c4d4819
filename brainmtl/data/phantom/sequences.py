"""What tissues and lesions look like in a sequence: the ranges that each head's signals are drawn from.

Signals are relative: about 1 for the brightest tissue. The order of brightness is that of textbooks, the
widths of the ranges stand for what scanners and protocols make of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from brainmtl.data.ranges import Range
from brainmtl.errors import ConfigError


@dataclass(frozen=True)
class MrSequence:
    """Ranges of signals. ``findings``: what white-matter hyperintensities add, as a factor on what they
    add in FLAIR; ``artefacts``: whether fluid may fail to be nulled, and signal pile up at the surface;
    ``lesions``: oedema, core and necrosis for each kind of lesion."""

    csf: Range
    grey: Range
    white: Range
    detail: Range
    findings: float
    artefacts: bool
    lesions: dict[str, tuple[Range, Range, Range]]


SEQUENCES = {
    "flair": MrSequence(
        csf=(0.06, 0.26),
        grey=(0.62, 0.74),
        white=(0.47, 0.59),
        detail=(0.10, 0.22),
        findings=1.0,
        artefacts=True,
        lesions={
            "necrotic": ((0.93, 1.13), (0.82, 1.05), (0.15, 0.45)),
            "infiltrative": ((0.9, 1.03), (0.92, 1.06), (0.0, 0.0)),
            "dark": ((0.9, 1.03), (0.18, 0.36), (0.0, 0.0)),
        },
    ),
    "t2": MrSequence(
        csf=(0.90, 1.10),
        grey=(0.52, 0.64),
        white=(0.36, 0.48),
        detail=(0.0, 0.10),
        findings=0.8,
        artefacts=False,
        lesions={
            "necrotic": ((0.78, 0.98), (0.55, 0.85), (0.85, 1.10)),
            "infiltrative": ((0.75, 0.95), (0.72, 0.98), (0.0, 0.0)),
            "dark": ((0.75, 0.95), (0.85, 1.10), (0.0, 0.0)),
        },
    ),
    "t1": MrSequence(
        csf=(0.10, 0.24),
        grey=(0.46, 0.56),
        white=(0.62, 0.76),
        detail=(0.0, 0.08),
        findings=-0.4,
        artefacts=False,
        lesions={
            "necrotic": ((0.42, 0.54), (0.38, 0.52), (0.16, 0.32)),
            "infiltrative": ((0.42, 0.54), (0.34, 0.48), (0.0, 0.0)),
            "dark": ((0.42, 0.54), (0.18, 0.34), (0.0, 0.0)),
        },
    ),
    # With contrast agent: the rim of necrotic lesions and some solid ones light up.
    "t1ce": MrSequence(
        csf=(0.10, 0.24),
        grey=(0.46, 0.58),
        white=(0.58, 0.72),
        detail=(0.0, 0.08),
        findings=-0.4,
        artefacts=False,
        lesions={
            "necrotic": ((0.40, 0.54), (0.90, 1.30), (0.14, 0.36)),
            "infiltrative": ((0.42, 0.54), (0.85, 1.25), (0.0, 0.0)),
            "dark": ((0.40, 0.54), (0.20, 0.36), (0.0, 0.0)),
        },
    ),
}


def check_sequences(names: tuple[str, ...]) -> None:
    """Refuse names that :data:`SEQUENCES` lacks.

    Raises:
        ConfigError: an unknown name, or none.
    """
    unknown = [name for name in names if name not in SEQUENCES]
    if unknown or not names:
        raise ConfigError(
            f"phantom.photo_sequences={list(names)}: one or more of {', '.join(SEQUENCES)}"
        )
