"""One photograph of a lesion's texture: angle, crop, light, hair, rulers, dark corners, gel, noise.

The result is an RGB picture of a small canvas and the lesion's mask on it; `enlarged` makes the published
size of a camera with more pixels.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dermaflow.sample.features import SIZE
from dermaflow.sample.integers import FULL, ONE_SHIFT, TURN, Ints, Stream, cosine, lay, ramp, root, sine
from dermaflow.sample.lesion import Texture
from dermaflow.sample.strokes import SUB, curve, discs, polar

Bytes = NDArray[np.uint8]

_CHANNEL: Final = np.uint64(0xFF)
_GREY: Final = 140  # contrast turns about it
_MASK_FROM: Final = FULL // 2


@dataclass(frozen=True)
class Camera:
    """How one place takes pictures; chances in 1000.

    Attributes:
        dark_corners: chance of the dark circle of a contact dermatoscope.
        ruler: chance of a ruler at the edge.
        warmth: white balance, from and to: red up and blue down by so many 1/256.
        fill: the lesion's diameter as a share of the picture's height, from and to, in 100.
    """

    dark_corners: int
    ruler: int
    warmth: tuple[int, int]
    fill: tuple[int, int]


CAMERAS: Final = {
    "HAM": Camera(90, 60, (-10, 18), (45, 80)),
    "BCN": Camera(250, 90, (-20, 10), (40, 85)),
    "MSK": Camera(60, 160, (-12, 12), (40, 75)),
    "SIIM": Camera(140, 130, (-16, 14), (38, 78)),
}
"""Centres differ mildly, as they do in truth; no diagnosis can be read from the camera alone."""


def photograph(
    texture: Texture, camera: Camera, size: tuple[int, int], stream: Stream
) -> tuple[Bytes, Bytes]:
    """Take a picture.

    Args:
        texture: the lesion.
        camera: the place's habits.
        size: width and height of the canvas, pixels.
        stream: all chance of this picture.

    Returns:
        RGB, shape (height, width, 3), and the mask, shape (height, width), 0 or 255; both uint8.
    """
    planes, cover = _seen(texture, camera, size, stream.child("angle"))
    _light(planes, camera, stream.child("light"))
    _gel(planes, stream.child("gel"))
    _hair(planes, stream.child("hair"))
    _ink_and_ruler(planes, camera, stream.child("ruler"))
    if stream.child("focus").chance(250):
        planes = _blurred(planes)
    _corners(planes, camera, stream.child("corners"))
    _sensor_noise(planes, stream.child("noise"))
    picture = np.ascontiguousarray(np.clip(planes, 0, 255).astype(np.uint8).transpose(1, 2, 0))
    return picture, np.where(cover >= _MASK_FROM, 255, 0).astype(np.uint8)


def enlarged(picture: Bytes, factor: int) -> Bytes:
    """Enlarge a picture (h, w, 3) by a whole factor, with linear interpolation in whole numbers."""
    for axis in (0, 1):
        picture = _stretched(picture, factor, axis)
    return np.ascontiguousarray(picture)


def _stretched(picture: Bytes, factor: int, axis: int) -> Bytes:
    length = picture.shape[axis]
    before = np.take(picture, np.maximum(np.arange(length) - 1, 0), axis).astype(np.uint16)
    after = np.take(picture, np.minimum(np.arange(length) + 1, length - 1), axis).astype(np.uint16)
    here = picture.astype(np.uint16)
    parts = []
    for step in range(factor):
        lean = 2 * step + 1 - factor  # distance from the pixel's middle, 1 / (2 factor)
        other = after if lean > 0 else before
        blend = here * np.uint16(2 * factor - abs(lean)) + other * np.uint16(abs(lean)) + np.uint16(factor)
        parts.append((blend // np.uint16(2 * factor)).astype(np.uint8))
    shape = list(picture.shape)
    shape[axis] *= factor
    return np.stack(parts, axis + 1).reshape(shape)


def _seen(texture: Texture, camera: Camera, size: tuple[int, int], stream: Stream) -> tuple[Ints, Ints]:
    """Sample the texture turned, mirrored, scaled and shifted (linear, packed four channels at a time)."""
    width, height = size
    wanted = height * stream.integer(*camera.fill) // 100  # the lesion's diameter, canvas pixels
    step = 2 * texture.radius * 256 // wanted  # texture pixels a canvas pixel, 1/256
    angle, mirror = stream.integer(0, TURN - 1), stream.choice((-1, 1))
    slack = height * stream.integer(0, 9) // 100
    off_x, off_y = stream.integer(-slack, slack), stream.integer(-slack, slack)
    across = (np.arange(width, dtype=np.int32) - width // 2 + off_x) * mirror
    down = np.arange(height, dtype=np.int32) - height // 2 + off_y
    c, s = cosine(angle) * step >> 8, sine(angle) * step >> 8
    middle = SIZE // 2 * 256
    x = ((across * c)[None, :] - (down * s)[:, None] >> ONE_SHIFT - 8) + middle
    y = ((across * s)[None, :] + (down * c)[:, None] >> ONE_SHIFT - 8) + middle
    left, top = _REFLECT[(x >> 8) + _MARGIN], _REFLECT[(y >> 8) + _MARGIN]
    right, bottom = _REFLECT[(x >> 8) + _MARGIN + 1], _REFLECT[(y >> 8) + _MARGIN + 1]
    u, v = ((x & 255) + 8) >> 4, ((y & 255) + 8) >> 4  # sixteenths
    total = np.zeros((height, width), np.uint64)
    for rows, columns, weight in (
        (top, left, (16 - v) * (16 - u)),
        (top, right, (16 - v) * u),
        (bottom, left, v * (16 - u)),
        (bottom, right, v * u),
    ):
        total += texture.packed.take(rows * SIZE + columns) * weight.astype(np.uint64)
    channels = [((total >> np.uint64(16 * index + 8)) & _CHANNEL).astype(np.int32) for index in range(4)]
    return np.stack(channels[:3]), channels[3]


def _reflected(place: int) -> int:
    """Keep a place inside the texture: beyond its edge the skin of its outer band goes to and fro."""
    beyond = -1 - place if place < 0 else place - SIZE
    if beyond < 0:
        return place
    fold = beyond % (2 * _BAND)
    inward = min(fold, 2 * _BAND - 1 - fold)
    return inward if place < 0 else SIZE - 1 - inward


_BAND: Final = 56
_MARGIN: Final = 3 * SIZE
_REFLECT: Final = np.array([_reflected(place) for place in range(-_MARGIN, SIZE + _MARGIN)], np.int32)


def _light(planes: Ints, camera: Camera, stream: Stream) -> None:
    """Exposure, white balance, contrast, and light that falls off to one side."""
    _, height, width = planes.shape
    angle, fall = stream.integer(0, TURN - 1), stream.integer(0, 46)
    x = np.arange(width, dtype=np.int32) - width // 2
    y = np.arange(height, dtype=np.int32) - height // 2
    slope = ((x * cosine(angle))[None, :] + (y * sine(angle))[:, None] >> ONE_SHIFT) * fall // height
    exposure, warmth = stream.integer(216, 284), stream.integer(*camera.warmth)
    contrast = stream.integer(216, 280)
    planes -= _GREY
    planes *= contrast
    planes >>= 8
    planes += _GREY
    for index, warm in enumerate((warmth, 0, -warmth)):
        planes[index] = planes[index] * (slope + (exposure + warm)) >> 8


def _gel(planes: Ints, stream: Stream) -> None:
    """Bubbles in the immersion gel: thin bright rings with a glint."""
    if not stream.chance(200):
        return
    _, height, width = planes.shape
    rings, holes, glints = (np.zeros((height, width), np.int32) for _ in range(3))
    n = stream.integer(3, 14)
    x, y = stream.ints(0, width * SUB, n), stream.ints(0, height * SUB, n)
    radius = stream.ints(4 * SUB, max(height // 24, 6) * SUB, n)
    discs(rings, x, y, radius, edge=20)
    discs(holes, x, y, radius - 24, edge=20)
    discs(glints, x - radius // 3, y - radius // 3, radius // 6, edge=20)
    lay(planes, (226, 220, 214), np.maximum(np.maximum(rings - holes, 0) * 5 // 8, glints * 7 // 8))


def _hair(planes: Ints, stream: Stream) -> None:
    """Hair: none, a few, or many; dark, brown or grey."""
    amount = stream.choice((0, 0, 0, 0, 2, 4, 8, 14))
    if not amount:
        return
    _, height, width = planes.shape
    cover = np.zeros((height, width), np.int32)
    lie = stream.integer(0, TURN - 1)
    for _ in range(amount):
        start = (stream.integer(0, width) * SUB, stream.integer(0, height) * SUB)
        heading = lie + stream.integer(-90, 90)
        length = height * stream.integer(30, 110) // 100 * SUB
        bend = polar(*start, heading + stream.integer(-50, 50), length // 2)
        thick = stream.integer(10, 22) * height // 400
        curve(cover, (start, bend, polar(*start, heading, length)), (thick, max(thick // 2, 6)))
    lay(planes, stream.choice(((34, 26, 24), (62, 44, 34), (120, 104, 92))), cover * 220 >> 8)


def _ink_and_ruler(planes: Ints, camera: Camera, stream: Stream) -> None:
    """A ruler's ticks along an edge; seldom a surgeon's violet ink."""
    _, height, width = planes.shape
    if stream.chance(camera.ruler):
        cover = np.zeros((height, width), np.int32)
        gap = height * stream.integer(4, 7) // 100 * SUB
        base = stream.choice((height * SUB * 94 // 100, height * SUB * 5 // 100))
        inward = -1 if base > height * SUB // 2 else 1
        for index, x in enumerate(range(gap, width * SUB, gap)):
            length = height * (6 if index % 5 == 0 else 3) // 100 * SUB  # every fifth tick is longer
            curve(cover, ((x, base), (x, base), (x, base + inward * length)), (14, 14))
        lay(planes, (30, 28, 32), cover * 210 >> 8)
    if stream.chance(30):
        cover = np.zeros((height, width), np.int32)
        for _ in range(2):
            x, y = stream.integer(0, width) * SUB, stream.choice((height // 10, height * 9 // 10)) * SUB
            end = polar(x, y, stream.integer(-80, 80), height * SUB // 3)
            curve(cover, ((x, y), polar(x, y, stream.integer(0, 100), height * SUB // 6), end), (60, 44))
        lay(planes, (92, 52, 140), cover * 150 >> 8)


def _blurred(planes: Ints) -> Ints:
    """Soften by a 1-2-1 filter in both directions (slightly out of focus)."""
    for axis in (1, 2):
        padded = np.concatenate([planes.take([0], axis), planes, planes.take([-1], axis)], axis)
        length = planes.shape[axis]
        first, here, last = (padded.take(range(k, k + length), axis) for k in range(3))
        planes = first + 2 * here + last + 2 >> 2
    return planes


def _corners(planes: Ints, camera: Camera, stream: Stream) -> None:
    """Darken towards the edge, and in some pictures all around a circle that is not quite in the middle."""
    _, height, width = planes.shape
    off = height * stream.integer(-7, 7) // 100, height * stream.integer(-7, 7) // 100
    x = np.arange(width, dtype=np.int32)[None, :] - width // 2 + off[0]
    y = np.arange(height, dtype=np.int32)[:, None] - height // 2 + off[1]
    far = root(x * x + y * y) * FULL // height  # 128 at the upper edge
    shade = FULL - (far * far * stream.integer(0, 70) >> 16)
    if stream.chance(camera.dark_corners):
        shade = shade * ramp(far, stream.integer(128, 200), -stream.integer(6, 30)) >> 8
    planes *= shade
    planes >>= 8


def _sensor_noise(planes: Ints, stream: Stream) -> None:
    """Add grey and a little coloured noise."""
    count = planes[0].size
    grey = (stream.noise_bytes(count) + stream.noise_bytes(count) - 255) * stream.integer(4, 14) >> 8
    planes += grey.reshape(planes[0].shape)
    planes[stream.integer(0, 2)] += (stream.noise_bytes(count) - 127 >> 6).reshape(planes[0].shape)
