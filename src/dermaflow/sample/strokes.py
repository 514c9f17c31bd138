"""Discs and curves with soft edges, drawn into a cover map of 0 to 256.

Places are in 1/16 pixel; a cover map is an int32 array that keeps the strongest cover of each pixel.
"""

from typing import Final

import numpy as np

from dermaflow.sample.integers import ONE_SHIFT, Ints, Stream, cosine, root, sine

SUB: Final = 16
"""Parts of a pixel."""


def discs(cover: Ints, x: Ints, y: Ints, radius: Ints | int, *, edge: int = SUB, strength: int = 256) -> None:
    """Draw filled discs.

    Args:
        cover: shape (h, w), changed in place.
        x: shape (n,), centres in 1/16 pixel.
        y: shape (n,).
        radius: shape (n,) or one number, 1/16 pixel.
        edge: width of the soft edge, 1/16 pixel.
        strength: cover of the inside, at most 256.
    """
    radii = np.broadcast_to(np.asarray(radius, np.int32), x.shape)
    if not x.size:
        return
    reach = int(radii.max() + edge) // SUB + 1
    span = np.arange(-reach, reach + 1, dtype=np.int32)
    columns = (x // SUB)[:, None, None] + span[None, None, :]
    rows = (y // SUB)[:, None, None] + span[None, :, None]
    dx = columns * SUB + SUB // 2 - x[:, None, None]
    dy = rows * SUB + SUB // 2 - y[:, None, None]
    distance = root(dx * dx + dy * dy)
    value = np.clip((radii[:, None, None] + edge // 2 - distance) * strength // edge, 0, strength)
    height, width = cover.shape
    inside = (value > 0) & (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    np.maximum.at(cover.reshape(-1), (rows * width + columns)[inside], value[inside])


def curve(
    cover: Ints, points: tuple[tuple[int, int], ...], radius: tuple[int, int], strength: int = 256
) -> None:
    """Draw a quadratic curve through a start, a bend and an end.

    Args:
        cover: shape (h, w), changed in place.
        points: start, control point and end, (x, y) in 1/16 pixel.
        radius: half widths at start and end, 1/16 pixel.
        strength: cover of the inside, at most 256.
    """
    (x0, y0), (x1, y1), (x2, y2) = points
    length = max(abs(x1 - x0) + abs(x2 - x1), abs(y1 - y0) + abs(y2 - y1))
    n = max(length // SUB, 1)
    at = np.arange(n + 1, dtype=np.int64)
    rest = n - at
    x = (x0 * rest * rest + 2 * x1 * rest * at + x2 * at * at) // (n * n)
    y = (y0 * rest * rest + 2 * y1 * rest * at + y2 * at * at) // (n * n)
    radii = (radius[0] * rest + radius[1] * at) // n
    discs(cover, x.astype(np.int32), y.astype(np.int32), radii.astype(np.int32), strength=strength)


def polar(x: int, y: int, angle: int, length: int) -> tuple[int, int]:
    """Return the place at a length (1/16 pixel) and angle (1/1024 turn) from another."""
    return x + (length * cosine(angle) >> ONE_SHIFT), y + (length * sine(angle) >> ONE_SHIFT)


def branch(
    cover: Ints, stream: Stream, start: tuple[int, int], *, angle: int, length: int, radius: int
) -> None:
    """Draw a vessel that tapers, bends and forks (arborising)."""
    todo = [(start, angle, length, radius, 0)]
    while todo:
        place, heading, reach, thick, depth = todo.pop()
        bend = polar(*place, heading + stream.integer(-60, 60), reach // 2)
        end = polar(*place, heading, reach)
        curve(cover, (place, bend, end), (thick, max(thick * 3 // 4, 8)))
        if depth < 3 and reach > 10 * SUB:  # noqa: PLR2004 - generations of branches, shortest twig
            for side in (-1, 1):
                turn = heading + side * stream.integer(40, 150)
                todo.append(
                    (end, turn, reach * stream.integer(45, 80) // 100, max(thick * 3 // 4, 8), depth + 1)
                )
