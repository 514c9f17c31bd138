"""A lesion's texture: skin, the lesion's body and border, and its features, painted once a lesion.

All photographs of a lesion (`photo.py`) look at this one texture from other angles, in other light.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dermaflow.sample.features import PAINTERS, SIZE, Lesion
from dermaflow.sample.integers import FULL, Ints, Stream, ramp, root, soft_noise
from dermaflow.sample.looks import Colour, Look, draw_look

SKINS: Final[tuple[Colour, ...]] = (
    (232, 196, 182), (226, 184, 166), (220, 176, 152), (212, 164, 140), (196, 146, 118),
    (168, 118, 92), (134, 92, 72),
)  # fmt: skip
"""Skin tones, light to dark."""
TONES: Final = len(SKINS)
_ROOM: Final = 108  # pixels from the middle; further out a lesion fades, so that skin is all around it


@dataclass(frozen=True)
class Texture:
    """What the camera looks at.

    Attributes:
        packed: shape (SIZE * SIZE,), uint64: red, green, blue and the lesion's cover, 16 bits each.
        radius: the lesion's, pixels.
    """

    packed: NDArray[np.uint64]
    radius: int


def paint(diagnosis: str, tone: int, stream: Stream) -> Texture:
    """Paint one lesion on skin of a tone (index into SKINS)."""
    look = draw_look(diagnosis, stream.child("look"))
    canvas = _skin(SKINS[tone], stream.child("skin"))
    depth = _depth(look, stream.child("shape"))
    cover = ramp(depth, -look.soft // 2, look.soft)
    lesion = Lesion(canvas, depth, cover, look.radius, stream)
    _body(lesion, look, tone)
    for name, painter in PAINTERS.items():
        strength = look.strengths.get(name, 0)
        if strength:
            lesion.stream = stream.child(name)
            painter(lesion, strength)
    mask = np.clip(cover, 0, FULL - 1)
    planes = [np.clip(plane, 0, 255) for plane in canvas] + [mask]
    packed = np.zeros((SIZE, SIZE), np.uint64)
    for index, plane in enumerate(planes):
        packed |= plane.astype(np.uint64) << np.uint64(16 * index)
    return Texture(packed.reshape(-1), look.radius)


def _skin(colour: Colour, stream: Stream) -> Ints:
    blood, grain = soft_noise(stream, SIZE, 4, 3), soft_noise(stream, SIZE, 70, 2)
    lines = ramp(np.abs(soft_noise(stream, SIZE, 24, 1)), 24, -24)  # furrows of the skin
    shade = (grain >> 5) - (lines >> 5)
    red, green, blue = (value + stream.integer(-8, 8) for value in colour)
    return np.stack([red + shade + (blood >> 6), green + shade - (blood >> 5), blue + shade - (blood >> 5)])


def _depth(look: Look, stream: Stream) -> Ints:
    """Return 256 in the lesion's middle, 0 at its border, negative outside."""
    place = np.arange(SIZE, dtype=np.int32) - SIZE // 2
    stretch = stream.integer(80, 100)
    wide, high = look.radius, look.radius * stretch // 100
    far = root(((place[None, :] * FULL) // wide) ** 2 + ((place[:, None] * FULL) // high) ** 2)
    shift = look.radius * look.lobe // FULL
    x, y = place[None, :] - shift * 3 // 4, place[:, None] - shift // 2
    small = look.radius * 3 // 4
    lobe = root(((x * FULL) // small) ** 2 + ((y * FULL) // small) ** 2)
    ragged = soft_noise(stream, SIZE, 7, 3) * look.ragged >> 8
    beyond = np.maximum(root(place[None, :] ** 2 + place[:, None] ** 2) - _ROOM, 0)
    depth: Ints = (FULL - np.minimum(far, lobe) + ragged - beyond * 7).astype(np.int32)
    return depth


def _body(lesion: Lesion, look: Look, tone: int) -> None:
    """Lay the lesion's own colours, darker towards the middle and uneven; less contrast on dark skin."""
    lesion.stream = lesion.stream.child("body")
    inward = ramp(lesion.depth + (lesion.noise(5, 3) >> 1), 0, 220)
    opacity = FULL - 14 * tone
    lesion.blend(look.rim, lesion.cover, opacity * 7 // 8)
    lesion.blend(look.centre, inward * lesion.cover >> 8, opacity)
    lesion.canvas += (lesion.noise(28, 2) >> 5) * lesion.cover >> 8
