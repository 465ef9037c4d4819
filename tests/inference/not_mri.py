"""Pictures that are no head MRI, drawn here: (H, W) uint8 by name."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont


def pictures() -> dict[str, np.ndarray]:
    """Checkerboards, stripes, noise, gradients, rings, pages of text, drawn faces, a chart, boxes."""
    rows, columns = np.indices((256, 256))
    rng = np.random.default_rng(0)
    radius = np.hypot(rows - 128, columns - 128)
    found = {f"checkerboard {n}": (rows // n + columns // n) % 2 * 255 for n in (4, 8, 16, 32, 64)}
    found |= {f"stripes {n}": columns // n % 2 * 255 for n in (4, 8, 16, 32)}
    found |= {f"lines {n}": rows // n % 2 * 255 for n in (4, 8, 16, 32)}
    found |= {
        "noise uniform": rng.uniform(0, 255, (256, 256)),
        "noise normal": rng.normal(128, 30, (300, 260)),
        "noise points": (rng.random((256, 256)) < 0.05) * 255,
        "gradient across": columns,
        "gradient down": rows,
        "gradient diagonal": (rows + columns) / 2,
        "gradient radial": radius,
        "waves": (np.sin(columns / 8) + 1) * 127,
        "rings": radius // 12 % 2 * 255,
    }
    found |= {f"text {size}": _page(size, *colours) for size, *colours in _PAGES}
    found |= {f"face {k}": _face(*colours) for k, colours in enumerate(_FACES)}
    found |= {"chart": _chart(), "boxes": _boxes()}
    return {name: np.clip(value, 0, 255).astype(np.uint8) for name, value in found.items()}


_PAGES = ((12, 255, 0), (20, 255, 30), (14, 0, 255))
_FACES = ((255, 255, 0), (0, 180, 255), (40, 200, 255))


def _page(size: int, paper: int, ink: int) -> np.ndarray:
    rng = np.random.default_rng(size)
    image = Image.new("L", (400, 500), paper)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size)
    letters = list("abcdefghijklmnopqrstuvwxyz")
    for top in range(10, 490, size + 6):
        words = ("".join(rng.choice(letters, rng.integers(2, 9))) for _ in range(10))
        draw.text((20, top), " ".join(words), fill=ink, font=font)
    return np.asarray(image)


def _face(ground: int, skin: int, outline: int) -> np.ndarray:
    image = Image.new("L", (256, 300), ground)
    draw = ImageDraw.Draw(image)
    draw.ellipse((30, 20, 226, 280), fill=skin, outline=outline, width=4)
    for x in (90, 166):
        draw.ellipse((x - 18, 110, x + 18, 136), fill=255, outline=0, width=3)
        draw.ellipse((x - 7, 116, x + 7, 130), fill=0)
    draw.arc((85, 170, 171, 240), 20, 160, fill=0, width=6)
    draw.line((128, 140, 118, 185, 135, 188), fill=0, width=4)
    return np.asarray(image)


def _chart() -> np.ndarray:
    rng = np.random.default_rng(1)
    image = Image.new("L", (256, 256), 255)
    draw = ImageDraw.Draw(image)
    for left in range(30, 240, 35):
        draw.rectangle((left, 230 - int(rng.integers(20, 200)), left + 25, 230), fill=90)
    draw.line((20, 10, 20, 230, 250, 230), fill=0, width=3)
    return np.asarray(image)


def _boxes() -> np.ndarray:
    rng = np.random.default_rng(2)
    image = Image.new("L", (256, 256), 0)
    draw = ImageDraw.Draw(image)
    for _ in range(30):
        x, y = rng.integers(0, 220, 2)
        width, height = rng.integers(5, 60, 2)
        draw.rectangle((x, y, x + width, y + height), fill=int(rng.integers(30, 255)))
    return np.asarray(image)
