"""Which part of an image is kept, and how it becomes a square.

| crop | box | made square by |
|---|---|---|
| center | the largest square in the middle | itself |
| border | what the microscope's dark border leaves (see `border`), else `center` | black bars |
| full | the whole image | black bars |
| squash | the whole image | squeezing the longer side |
"""

from typing import Final

import cv2

from dermaflow.images.border import find_field
from dermaflow.images.decode import Decoded, Pixels

Box = tuple[int, int, int, int]
"""Left, top, width, height, pixels of the upright original."""

CROPS: Final = ("center", "border", "full", "squash")

HALVE: Final = 2.5
"""From 2.0 on it would leave 48 dB to a full decode and one area step at 224 px (docs/decisions/0009)."""


def short_side(crop: str, width: int, height: int) -> int:
    """Return the side that a reduced decode must leave at twice the target, pixels.

    Where black bars make the square it is the longer side: that one becomes `target_px` long.
    """
    return max(width, height) if crop == "full" else min(width, height)


def find_box(crop: str, image: Decoded) -> Box:
    """Return the part of the image to keep, on the grid of its reduced decode."""
    box = (0, 0, image.width, image.height)
    if crop == "center":
        box = _center(box)
    elif crop == "border":
        field = find_field(image.pixels)
        box = _center(box) if field is None else _in_original(field, image)
    return aligned(box, image.reduction)


def aligned(box: Box, reduction: int) -> Box:
    """Move a box onto the pixel grid of a reduced decode: it starts and ends on multiples of `reduction`."""
    left, top, width, height = box
    return (
        left // reduction * reduction,
        top // reduction * reduction,
        width // reduction * reduction,
        height // reduction * reduction,
    )


def cut(crop: str, image: Decoded, box: Box, target_px: int) -> Pixels:
    """Cut the box out and resize it to a square, shape (target_px, target_px, 3)."""
    left, top, width, height = (edge // image.reduction for edge in box)
    part = image.pixels[top : top + height, left : left + width]
    if crop == "squash" or width == height:
        return resize(part, target_px, target_px)
    longer = max(width, height)
    small = resize(
        part, max(1, round(width * target_px / longer)), max(1, round(height * target_px / longer))
    )
    below, beside = target_px - small.shape[0], target_px - small.shape[1]
    framed: Pixels = cv2.copyMakeBorder(
        small,
        below // 2,
        below - below // 2,
        beside // 2,
        beside - beside // 2,
        cv2.BORDER_CONSTANT,
        value=(0, 0, 0),
    )
    return framed


def resize(pixels: Pixels, width: int, height: int) -> Pixels:
    """Resize by area where a side shrinks, by cubic interpolation where it grows.

    Halving is exact and fast; OpenCV's area step by another factor takes four times as long as a linear one,
    which below twice too long is as close to the true area (docs/decisions/0009). So halving does what it
    can, a linear step brings the rest to once or twice the target.
    """
    while _even(pixels) and min(_factors(pixels, width, height)) >= HALVE:
        pixels = _halved(pixels)
    factors = _factors(pixels, width, height)
    down = min(width, pixels.shape[1]), min(height, pixels.shape[0])
    if max(factors) < 2:  # noqa: PLR2004
        pixels = _to(pixels, down, cv2.INTER_LINEAR)
    elif min(factors) >= 2 and max(factors) < HALVE:  # noqa: PLR2004
        pixels = _halved(_to(pixels, (2 * width, 2 * height), cv2.INTER_LINEAR))
    else:  # odd or lopsided
        pixels = _to(pixels, down, cv2.INTER_AREA)
    return _to(pixels, (width, height), cv2.INTER_CUBIC)


def _factors(pixels: Pixels, width: int, height: int) -> tuple[float, float]:
    return pixels.shape[1] / width, pixels.shape[0] / height


def _halved(pixels: Pixels) -> Pixels:
    return _to(pixels, (pixels.shape[1] // 2, pixels.shape[0] // 2), cv2.INTER_AREA)


def _to(pixels: Pixels, size: tuple[int, int], way: int) -> Pixels:
    """Resize to (width, height); what has that size already stays as it is."""
    return pixels if pixels.shape[1::-1] == size else cv2.resize(pixels, size, interpolation=way)


def _even(pixels: Pixels) -> bool:
    height, width = pixels.shape[:2]
    return bool(height % 2 == 0 and width % 2 == 0)


def scale(crop: str, box: Box, target_px: int) -> float:
    """Return stored pixels an original pixel (squash: geometric mean of both axes)."""
    if crop == "squash":
        return float(target_px / (box[2] * box[3]) ** 0.5)
    return target_px / max(box[2], box[3])


def _center(box: Box) -> Box:
    left, top, width, height = box
    side = min(width, height)
    return left + (width - side) // 2, top + (height - side) // 2, side, side


def _in_original(box: Box, image: Decoded) -> Box:
    left, top, width, height = (edge * image.reduction for edge in box)
    return left, top, min(width, image.width - left), min(height, image.height - top)
