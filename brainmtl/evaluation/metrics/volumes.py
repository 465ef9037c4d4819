"""Agreement of measured volumes."""

from __future__ import annotations

from collections.abc import Sequence

from brainmtl.evaluation.metrics.common import mean_sd


def bland_altman(differences: Sequence[float]) -> dict[str, float | int] | None:
    """Bias and 95 % limits of agreement of (N,) differences (Bland & Altman 1986, Lancet 327:307).

    Returns:
        ``{"bias", "lower", "upper", "sd", "n"}`` in the unit of the differences: their mean, bias
        -+ 1.96 SD, and the SD itself; None for fewer than two differences. The limits take the
        differences to be roughly normal.
    """
    found = mean_sd(differences)
    bias, sd = found["mean"], found["sd"]
    if bias is None or sd is None:
        return None
    return {
        "bias": bias,
        "lower": bias - 1.96 * sd,
        "upper": bias + 1.96 * sd,
        "sd": sd,
        "n": len(differences),
    }
