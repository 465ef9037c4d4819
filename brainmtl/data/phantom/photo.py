"""One slice as it turns up in picture collections: skull and scalp, 8 bit, any size, burnt-in text."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage as ndi

from brainmtl.data.phantom.atlas import Atlas
from brainmtl.data.phantom.fields import Axes, gaussian_field, sigmoid
from brainmtl.data.phantom.lesion import CENTRE_HEIGHTS, Lesion
from brainmtl.data.phantom.render import (
    Rendering,
    Subject,
    acquire,
    brain_axes,
    draw_subject,
    render,
)
from brainmtl.data.phantom.variety import TEXTBOOK, Variety

MIN_LESION_MM2 = 150  # a picture filed under "yes" shows at least this much lesion
PHOTO_HEIGHTS = (64.0, 136.0)  # mm; further down the outline of the head is not that of the brain
HEAD_MARGIN = 26  # mm around the brain that hold skull, scalp and air


def lesion_heights(lesion: Lesion) -> np.ndarray:
    """Heights (mm) at which the lesion's cross-section is at least two thirds of its largest one."""
    inside = (lesion.core_level < 0) | (lesion.arrival < lesion.reach)
    area = inside.sum((0, 1))
    return lesion.axes[2][area >= 0.66 * area.max()]


def draw_height(subject: Subject, rng: np.random.Generator) -> float:
    """Height (mm) of the axial picture; both classes cover the same range."""
    if subject.lesion is None:
        # as lesions are placed (draw_centre), plus the spread that cutting through them adds
        height = rng.uniform(*CENTRE_HEIGHTS) + rng.normal(0, 4)
    else:
        height = rng.choice(lesion_heights(subject.lesion)) + rng.uniform(-1.5, 1.5)
    return float(np.clip(height, *PHOTO_HEIGHTS))


def render_slice(
    atlas: Atlas,
    rng: np.random.Generator,
    tumour: bool,
    sequence: str = "flair",
    variety: Variety = TEXTBOOK,
) -> Rendering:
    """Rendering of shape (X, Y, 1); redraws the head until a patient's slice shows enough lesion."""
    while True:
        subject = draw_subject(atlas, rng, tumour, variety)
        axes = brain_axes(subject.anatomy, np.array([draw_height(subject, rng)]))
        picture = render(atlas, subject, axes, variety.sequences[sequence], rng)
        if not tumour or np.count_nonzero(picture.labels) >= MIN_LESION_MM2:
            return picture


def _band(distance: np.ndarray, low: float, high: float) -> np.ndarray:
    return sigmoid((distance - low) / 0.6) * sigmoid((high - distance) / 0.6)


def add_head(picture: Rendering, rng: np.random.Generator) -> tuple[np.ndarray, Axes]:
    """Put meninges, skull with marrow, and scalp round a skull-stripped slice (X, Y, 1)."""
    pads = [(HEAD_MARGIN, HEAD_MARGIN)] * 2 + [(0, 0)]
    signal = np.pad(picture.signal * picture.brain, pads)
    brain = np.pad(picture.brain, pads)[:, :, 0]
    axes = (
        *(
            np.arange(a[0] - HEAD_MARGIN, a[-1] + HEAD_MARGIN + 1, dtype=np.float32)
            for a in picture.axes[:2]
        ),
        picture.axes[2],
    )
    smooth = ndi.gaussian_filter(brain.astype(np.float32), 7, truncate=3) > 0.34
    outside = ndi.distance_transform_edt(~smooth).astype(np.float32) - 0.5
    outside = ndi.gaussian_filter(outside, 1.5) + 0.8 * gaussian_field(rng, axes[:2], 22.0)
    dura = rng.uniform(2.0, 4.0)
    skull, scalp = rng.uniform(5, 8), rng.uniform(3, 6.5)
    bone_end = dura + skull
    marrow = _band(outside, dura + 0.3 * skull, dura + 0.75 * skull)
    head = 0.14 * _band(outside, 0.5, dura) + 0.07 * _band(outside, dura, bone_end)
    head += rng.uniform(0, 0.35) * marrow * (1 + 0.3 * gaussian_field(rng, axes[:2], 9.0))
    fat = rng.uniform(0.45, 1.1) * _band(outside, bone_end, bone_end + scalp)
    head += fat * (1 + 0.15 * gaussian_field(rng, axes[:2], 5.0))
    return signal + (head * ~brain)[:, :, None], axes


def to_display(array: np.ndarray) -> np.ndarray:
    """(X, Y) left->right, posterior->anterior to rows anterior->posterior, columns right->left."""
    return np.ascontiguousarray(array[::-1, ::-1].T)


def window_8bit(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random gamma, window and brightness, as different viewers export them; uint8."""
    values = values ** rng.uniform(0.75, 1.3)
    low = np.percentile(values, rng.uniform(0, 4))
    high = np.percentile(values, rng.uniform(97.5, 99.9))
    floor, ceiling = rng.uniform(0, 14), rng.uniform(205, 255)
    scaled = np.clip((values - low) / max(high - low, 1e-6), 0, 1)
    return np.rint(floor + scaled * (ceiling - floor)).astype(np.uint8)


def compose_page(pixels: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Crop or frame the slice, resize it to some size and aspect, sometimes with burnt-in text."""
    image = Image.fromarray(pixels)
    left, top, right, bottom = (int(v) for v in rng.integers(-14, 30, 4))
    background = int(pixels[0, 0])
    page = Image.new("L", (image.width + left + right, image.height + top + bottom), background)
    page.paste(image, (left, top))
    page = page.rotate(float(rng.normal(0, 3)), Image.Resampling.BICUBIC, fillcolor=background)
    scale = float(np.exp(rng.uniform(np.log(0.75), np.log(2.2))))
    width = max(16, round(page.width * scale * rng.uniform(0.93, 1.07)))
    page = page.resize((width, max(16, round(page.height * scale))), Image.Resampling.BICUBIC)
    if rng.random() < 0.4:
        text = f"SE {rng.integers(1, 9)}  IM {rng.integers(1, 30)}  W{rng.integers(200, 1800)}"
        corner = (6, 6) if rng.random() < 0.5 else (6, page.height - 18)
        ImageDraw.Draw(page).text(corner, text, fill=int(rng.integers(160, 256)))
    return page.convert("RGB") if rng.random() < 0.5 else page


def render_photo(
    atlas: Atlas,
    rng: np.random.Generator,
    tumour: bool,
    sequence: str = "flair",
    variety: Variety = TEXTBOOK,
) -> Image.Image:
    """An axial picture of a new head in one of the sequences of ``variety``, mode "L" or "RGB", any size."""
    signal, axes = add_head(render_slice(atlas, rng, tumour, sequence, variety), rng)
    noisy = acquire(signal, axes, rng, rng.uniform(0.008, 0.03), rng.uniform(0.06, 0.2))
    return compose_page(window_8bit(to_display(noisy[:, :, 0]), rng), rng)
