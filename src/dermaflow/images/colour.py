"""Colour constancy: what the lamp and the camera did to the colours, taken out again.

Shades of Gray (Finlayson and Trezzi 2004): the Minkowski mean of an image's pixels is taken for the colour of
the light, and each channel scaled so that it becomes grey. On dermoscopic images with norm 6 as in Barata et
al. 2015 (IEEE J. Biomed. Health Inform. 19, 1146) and by the winners of ISIC 2019 (arXiv 1910.03910).
Black bars and dark corners hardly count.
"""

from typing import Final

import cv2
import numpy as np

from dermaflow.images.decode import Pixels

KINDS: Final = ("none", "shades_of_gray")

NORM: Final = 6
"""1 would be the mean, infinity the brightest pixel."""

_ONE: Final = 4096
"""Factors are whole parts of it, so that the last bit of a root can't move a pixel."""


def balanced(image: Pixels, kind: str) -> Pixels:
    """Return the image as under grey light; unchanged for `none`.

    Args:
        image: shape (h, w, 3), channels in any order.
        kind: one of `KINDS`.
    """
    if kind == "none":
        return image
    light = np.maximum([_minkowski(channel) for channel in cv2.split(image)], 1.0)
    factors = np.rint(_ONE * np.sqrt(np.mean(light**2)) / light).astype(np.int64)
    values = np.arange(256)[:, None] * factors + _ONE // 2
    table = np.minimum(values // _ONE, 255).astype(np.uint8)
    scaled: Pixels = cv2.LUT(image, table[None])
    return scaled


def _minkowski(channel: Pixels) -> float:
    """The Minkowski mean of all values; their powers are summed as whole numbers, exactly."""
    counts = np.bincount(channel.ravel(), minlength=256)
    total = sum(int(count) * value**NORM for value, count in enumerate(counts))
    return float((total / channel.size) ** (1 / NORM))
