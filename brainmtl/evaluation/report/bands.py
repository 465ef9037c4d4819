"""What the bands of the calibrated probability meant in the data at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from brainmtl.inference.operating.bands import Band, band_of


def observed(rows: Sequence[Mapping[str, Any]], bands: Sequence[Band]) -> list[dict[str, Any]]:
    """What happened in each band among the labelled ``rows`` of one source.

    Per band: ``name, low, high, n, n_groups, n_positive, share`` (of images with tumour) and the
    95 % Wilson interval ``share_low, share_high`` (Wilson, JASA 22, 1927), which takes the images
    for independent; None where no image fell into the band.
    """
    from brainmtl.evaluation.statistics.proportions import wilson

    found = []
    for band in bands:
        own = [r for r in rows if r["cls"] >= 0 and band_of(bands, r["calibrated"]) is band]
        n, positive = len(own), sum(r["cls"] == 1 for r in own)
        share = wilson(positive, n)
        found.append(
            {
                **{key: value for key, value in asdict(band).items() if key != "advice"},
                "n": n,
                "n_groups": len({r["group"] for r in own}),
                "n_positive": positive,
                "share": positive / n if n else None,
                "share_low": share.low,
                "share_high": share.high,
            }
        )
    return found
