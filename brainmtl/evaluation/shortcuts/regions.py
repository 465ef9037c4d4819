"""Head, brain and surroundings of a prepared image.

Preprocessing sets all that is not head to one constant (``BACKGROUND_VALUE``), whatever the source:
the background of a prepared image has no values of its own to learn from, only an outline. What
still surrounds the brain is scalp and skull, in sources that are not skull-stripped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from brainmtl.data.preprocessing.geometry import resize
from brainmtl.data.preprocessing.preprocess import BACKGROUND_VALUE
from brainmtl.data.preprocessing.regions import bounding_box

DEPTHS = np.linspace(0.0, 0.6, 21)  # bins of depth, as a share of the deepest point of the head
SCALP_DEPTH = 0.25  # the scalp's bright ring lies above this depth
MIN_DROP = 0.5  # z-score units by which the skull must be darker than the scalp


@dataclass(frozen=True)
class Rim:
    """How deep scalp and skull reach in a source: ``depth`` 0 where it is skull-stripped.

    ``depth`` is a share of the depth of the head's innermost point, ``drop`` the fall of intensity
    from scalp to skull that was found (z-score units), ``n`` the images it was taken from.
    """

    depth: float
    drop: float
    n: int

    @property
    def stripped(self) -> bool:
        return self.depth == 0


def head_region(image: np.ndarray) -> np.ndarray:
    """All that is not background in an image (C, H, W), holes filled: bool (H, W)."""
    return ndimage.binary_fill_holes((image != BACKGROUND_VALUE).any(axis=0))


def relative_depth(head: np.ndarray) -> np.ndarray:
    """Distance from the head's outline as a share of the largest one, (H, W); 0 outside."""
    # The frame is outline too: a head that the picture cuts off ends there.
    distance = ndimage.distance_transform_edt(np.pad(head, 1))[1:-1, 1:-1]
    return distance / max(distance.max(), 1.0)


def find_rim(images: Sequence[np.ndarray]) -> Rim:
    """Where the skull lies in images (C, H, W) of one source, from their median depth profile.

    Scalp (fat) is bright and skull (cortical bone) dark in the common sequences: from outside in,
    the mean intensity of a head with skull rises to the scalp, falls to the skull and rises to the
    brain. A skull-stripped brain only rises. The rim ends at the darkest depth after the scalp.
    """
    profiles = [_profile(image) for image in images]
    profile = np.median(profiles, axis=0) if profiles else np.zeros(len(DEPTHS) - 1)
    scalp = int(np.argmax(profile[DEPTHS[1:] <= SCALP_DEPTH]))
    skull = scalp + int(np.argmin(profile[scalp:]))
    drop = float(profile[scalp] - profile[skull])
    depth = float(DEPTHS[skull + 1]) if drop >= MIN_DROP else 0.0
    return Rim(depth, drop, len(profiles))


def brain_region(image: np.ndarray, rim: Rim) -> np.ndarray:
    """The head without its rim, bool (H, W); at least its innermost point."""
    head = head_region(image)
    return head & (relative_depth(head) > rim.depth) if rim.depth else head


def swap_surroundings(
    image: np.ndarray, brain: np.ndarray, donor: np.ndarray, donor_brain: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The brain of ``image`` in the surroundings of ``donor``: (composite (C, H, W), where it lies).

    The brain is resized, aspect kept, until it fits the box of the donor's brain, and centred there.
    It replaces the donor's brain; where it covers less, there is background (as dark as bone). All
    other pixels are the donor's, untouched. Intensities are not normalised again.
    """
    pasted, place = _fit(image, brain, donor_brain)
    composite = donor.copy()
    composite[:, donor_brain] = BACKGROUND_VALUE
    composite[:, place] = pasted[:, place]
    return composite, place


def _fit(image: np.ndarray, brain: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``image`` and ``brain`` moved and resized into the bounding box of ``target``."""
    r0, r1, c0, c1 = bounding_box(brain)
    t0, t1, u0, u1 = bounding_box(target)
    scale = min((t1 - t0) / (r1 - r0), (u1 - u0) / (c1 - c0))
    shape = (max(round(scale * (r1 - r0)), 1), max(round(scale * (c1 - c0)), 1))
    weights = brain[r0:r1, c0:c1].astype(np.float32)
    share = resize(weights, shape)
    # Divided by the share of brain, so that no scalp is blended into its outermost pixels.
    planes = [
        resize(plane[r0:r1, c0:c1] * weights, shape) / np.maximum(share, 1e-6) for plane in image
    ]
    top, left = t0 + (t1 - t0 - shape[0]) // 2, u0 + (u1 - u0 - shape[1]) // 2
    window = (slice(top, top + shape[0]), slice(left, left + shape[1]))
    place = np.zeros(target.shape, dtype=bool)
    place[window] = share >= 0.5
    pasted = np.zeros((len(image), *target.shape), dtype=np.float32)
    pasted[(slice(None), *window)] = np.stack(planes)
    return pasted, place


def _profile(image: np.ndarray) -> np.ndarray:
    """Mean of the first channel per bin of depth; empty bins are interpolated."""
    head = head_region(image)
    bins = np.digitize(relative_depth(head)[head], DEPTHS, right=True) - 1
    inside = bins < len(DEPTHS) - 1
    count = np.bincount(bins[inside], minlength=len(DEPTHS) - 1)
    total = np.bincount(bins[inside], image[0][head][inside], minlength=len(DEPTHS) - 1)
    filled = np.flatnonzero(count)
    return np.interp(np.arange(len(count)), filled, total[filled] / count[filled])
