"""Find the round field that a dermatoscope leaves bright inside its dark border.

The border is what is dark and joined to a corner; a circle is fitted to its inner edge. A dark lesion that
touches the border bends a part of that edge only, and the fit leaves such points out. The field is taken
only when the circle explains what is seen: few dark pixels inside it, few bright ones outside.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from dermaflow.images.decode import Pixels

Field = tuple[int, int, int, int]
"""Left, top, width, height, pixels of the image that was looked at."""

LOOK_PX: Final = 160
"""The longer side at which the border is looked for."""
DARK: Final = (0.33, 0.25, 0.45)
"""Of the bright part's level (the 90th percentile): darker than this may be border; tried in this order."""
MIN_BORDER: Final = 0.003
"""Share of the image: with less dark rim there is no border to cut."""
MIN_EDGE_POINTS: Final = 12
MAX_MISFIT: Final = 0.03
"""Of the radius: the median distance of the whole edge from the circle."""
MAX_WRONG: Final = 0.04
"""Share of the circle's inside that may be border-dark, and of the image that may be bright outside."""
MARGIN: Final = 0.03
"""Of the radius, added around the circle."""
MIN_SIDE: Final = 0.4
"""Of the image's shorter side: a smaller field is no field."""


@dataclass(frozen=True)
class Circle:
    """Centre and radius, pixels."""

    x: float
    y: float
    radius: float

    def distance(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how far points lie outside the circle (inside: negative)."""
        return np.hypot(x - self.x, y - self.y) - self.radius


def find_field(pixels: Pixels) -> Field | None:
    """Return the box around the bright field, or None if there is no border or it is not sure.

    Args:
        pixels: shape (h, w, 3), any channel order.
    """
    height, width = pixels.shape[:2]
    zoom = max(1.0, max(height, width) / LOOK_PX)
    small = max(1, round(width / zoom)), max(1, round(height / zoom))
    level = cv2.resize(pixels, small, interpolation=cv2.INTER_AREA).max(axis=2)
    circle = next((found for dark in DARK if (found := _circle(_border(level, dark)))), None)
    if circle is None:
        return None
    reach = circle.radius * (1 + MARGIN)
    left, right = (
        round(float(np.clip((circle.x + s * reach) * width / small[0], 0, width))) for s in (-1, 1)
    )
    top, bottom = (
        round(float(np.clip((circle.y + s * reach) * height / small[1], 0, height))) for s in (-1, 1)
    )
    if min(right - left, bottom - top) < MIN_SIDE * min(width, height):
        return None
    return left, top, right - left, bottom - top


def _circle(border: NDArray[np.bool_]) -> Circle | None:
    """Return the field's circle, or None if there is none or it is not sure."""
    if border.mean() < MIN_BORDER:
        return None
    circle = _fit(border)
    return circle if circle is not None and _explains(circle, border) else None


def _border(level: Pixels, darkness: float) -> NDArray[np.bool_]:
    """Return what is dark and joined to a corner, shape (h, w)."""
    bright = float(np.percentile(level, 90))
    dark = (cv2.blur(level, (3, 3)) < darkness * bright).astype(np.uint8)
    _, parts = cv2.connectedComponents(dark, connectivity=4)
    k = 2  # a corner's very last pixels may be lit
    corners = (parts[:k, :k], parts[:k, -k:], parts[-k:, :k], parts[-k:, -k:])
    labels = np.unique(np.concatenate([corner.ravel() for corner in corners]))
    return np.isin(parts, labels[labels > 0])


def _fit(border: NDArray[np.bool_]) -> Circle | None:
    """Fit a circle to the border's inner edge, leaving out what does not lie on it.

    None if too little does: most of the whole edge must lie on it (`MAX_MISFIT`), not only what was kept.
    """
    inside = cv2.erode((~border).astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1)
    rows, columns = np.nonzero(~border & (inside == 0))
    h, w = border.shape
    framed = (rows > 0) & (rows < h - 1) & (columns > 0) & (columns < w - 1)
    x, y = edge = columns[framed] + 0.5, rows[framed] + 0.5
    circle = None
    for _ in range(8):
        if len(x) < MIN_EDGE_POINTS:
            return None
        circle = _least_squares(x, y)
        if circle is None:
            return None
        away = np.abs(circle.distance(x, y))
        kept = away <= max(2.5 * float(np.median(away)), 1.0)
        if kept.all():
            break
        x, y = x[kept], y[kept]
    if circle is None or np.median(np.abs(circle.distance(*edge))) > MAX_MISFIT * circle.radius:
        return None
    return circle


def _least_squares(x: NDArray[np.float64], y: NDArray[np.float64]) -> Circle | None:
    """Fit x^2 + y^2 = 2ax + 2by + c (Kasa, 1976)."""
    design = np.stack([2 * x, 2 * y, np.ones_like(x)], axis=1)  # (n, 3)
    normal = design.T @ design
    if np.linalg.cond(normal) > 1e12:  # noqa: PLR2004 - all points on one line
        return None
    a, b, c = np.linalg.solve(normal, design.T @ (x**2 + y**2))
    square = c + a * a + b * b
    return Circle(float(a), float(b), float(np.sqrt(square))) if square > 0 else None


def _explains(circle: Circle, border: NDArray[np.bool_]) -> bool:
    """Tell whether the circle's inside is free of border and its outside is border."""
    h, w = border.shape
    y, x = np.mgrid[0:h, 0:w] + 0.5
    distance = circle.distance(x, y) / circle.radius
    inside, outside = distance < -MARGIN, distance > MARGIN
    if not inside.any():
        return False
    wrong_inside = (border & inside).sum() / inside.sum()
    wrong_outside = (~border & outside).sum() / border.size
    return bool(wrong_inside < MAX_WRONG and wrong_outside < MAX_WRONG)
