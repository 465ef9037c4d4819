"""The one place where the label of a slice is derived from its mask."""

from __future__ import annotations

TUMOUR, NO_TUMOUR, NO_LABEL = 1, 0, -1


def derive_label(tumour_pixels: int, min_tumour_pixels: int = 100) -> int:
    """Label of a slice with ``tumour_pixels`` mask pixels on the prepared 256x256 grid.

    Returns 1 (tumour) from ``min_tumour_pixels`` on, 0 for an empty mask, and -1 in between: the
    rim of a lesion is too little to call the slice positive and too much to call it negative, so
    such a slice serves segmentation only.
    """
    if tumour_pixels >= min_tumour_pixels:
        return TUMOUR
    return NO_TUMOUR if tumour_pixels == 0 else NO_LABEL
