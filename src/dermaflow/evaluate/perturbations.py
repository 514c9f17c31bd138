"""Edits that do not change a diagnosis: what lies over, around or between lesion and picture.

Each takes an RGB image (h, w, 3) uint8 and a lesion mask (h, w) bool or None, and returns an image of the
same shape. What is drawn differs from image to image, but is the same each time for the same image. What has
a place lies in the centred square, which is all that the networks see of an image by `images.crop: center`.
"""

import zlib
from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Edit = Callable[[Image, Mask | None], Image]

BLUE_INK, DARK = (70, 60, 150), (28, 20, 16)


def ink(rgb: Image, _mask: Mask | None) -> Image:
    """A surgeon's marker: two strokes and dots beside the middle."""
    rng, side, height, width = _setting(rgb)
    drawn = rgb.copy()
    for end in (-1, 1):
        x = int(width / 2 + end * side * rng.uniform(0.28, 0.38))
        ys = height / 2 + side * np.linspace(-0.25, 0.25, 12)
        points = np.stack([x + rng.normal(0, side * 0.012, 12).cumsum(), ys], axis=1).astype(np.int32)
        cv2.polylines(drawn, [points], False, BLUE_INK, max(1, side // 60), cv2.LINE_AA)
    for _ in range(3):
        right, up = rng.uniform(-0.35, 0.35), rng.uniform(0.35, 0.45)
        where = int(width / 2 + side * right), int(height / 2 - side * up)
        cv2.circle(drawn, where, max(1, side // 50), BLUE_INK, -1, cv2.LINE_AA)
    return _image(cv2.addWeighted(drawn, 0.75, rgb, 0.25, 0))


def ruler(rgb: Image, _mask: Mask | None) -> Image:
    """A scale with ticks along the lower edge of the centred square."""
    _, side, height, width = _setting(rgb)
    drawn = rgb.copy()
    line, foot = max(1, side // 200), (height + side) // 2 - 1
    for number, x in enumerate(range(0, width, max(2, side // 40))):
        length = side // (12 if number % 5 == 0 else 24)
        cv2.line(drawn, (x, foot), (x, foot - length), DARK, line, cv2.LINE_AA)
    return _image(drawn)


def hair(rgb: Image, _mask: Mask | None) -> Image:
    """A dozen dark, bent hairs across the picture."""
    rng, side, height, width = _setting(rgb)
    drawn = rgb.copy()
    t = np.linspace(0, 1, 24)[:, None]
    for _ in range(12):
        start, end = rng.uniform(-0.1, 1.1, (2, 2)) * (width, height)
        bend = (start + end) / 2 + rng.normal(0, 0.12 * side, 2)
        curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
        cv2.polylines(drawn, [curve.astype(np.int32)], False, DARK, max(1, side // 180), cv2.LINE_AA)
    return _image(cv2.addWeighted(drawn, 0.85, rgb, 0.15, 0))


def dark_border(rgb: Image, _mask: Mask | None) -> Image:
    """A microscope's round field: dark outside a circle as wide as the shorter side."""
    _, side, height, width = _setting(rgb)
    field = np.zeros((height, width), np.uint8)
    cv2.circle(field, (width // 2, height // 2), side // 2, 255, -1, cv2.LINE_AA)
    soft = cv2.GaussianBlur(field, (0, 0), max(1.0, side / 80))[..., None] / 255.0
    return _image(rgb * soft + 8 * (1 - soft))


def blur(rgb: Image, _mask: Mask | None) -> Image:
    """Out of focus: a Gaussian of 0.8 % of the shorter side."""
    return _image(cv2.GaussianBlur(rgb, (0, 0), max(0.8, min(rgb.shape[:2]) * 0.008)))


def jpeg(rgb: Image, _mask: Mask | None) -> Image:
    """A strongly compressed copy: JPEG quality 25."""
    _, encoded = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 25])
    return _image(np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))[..., ::-1])


def brighter(rgb: Image, _mask: Mask | None) -> Image:
    """A fifth more light."""
    return _image(rgb * 1.2)


def darker(rgb: Image, _mask: Mask | None) -> Image:
    """A fifth less light."""
    return _image(rgb * 0.8)


def masked_lesion(rgb: Image, mask: Mask | None) -> Image:
    """The lesion painted over with the mean colour of the skin around it.

    Raises:
        ValueError: there is no mask.
    """
    if mask is None:
        raise ValueError("a lesion can't be masked without its mask")
    _, side, height, width = _setting(rgb)
    grown, ring = (_dilate(mask, max(3, side // part)) for part in (40, 10))
    skin = ring & ~grown
    colour = rgb[skin if skin.any() else ~mask if (~mask).any() else mask].mean(axis=0)
    soft = cv2.GaussianBlur(grown.astype(np.float32), (0, 0), max(0.8, side / 150))
    soft = np.maximum(soft, mask.astype(np.float32)).reshape(height, width, 1)
    return _image(rgb * (1 - soft) + colour * soft)


PERTURBATIONS: Final[dict[str, Edit]] = {
    edit.__name__: edit
    for edit in (ink, ruler, hair, dark_border, blur, jpeg, brighter, darker, masked_lesion)
}
"""All edits by name; `masked_lesion` alone changes what should be seen."""


def _setting(rgb: Image) -> tuple[np.random.Generator, int, int, int]:
    """A generator of the image's own, the shorter side, height and width."""
    height, width = rgb.shape[:2]
    seed = zlib.crc32(np.ascontiguousarray(rgb[:: max(1, height // 16)]).tobytes())
    return np.random.default_rng(seed), min(height, width), height, width


def _dilate(mask: Mask, radius: int) -> Mask:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel) > 0)


def _image(values: NDArray[np.generic]) -> Image:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)
