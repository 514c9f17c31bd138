"""Painters of the dermoscopic features: each adds one feature to a lesion's texture.

A painter is called as `painter(lesion, strength)`; `lesion.canvas` is the picture, (3, size, size) int32
RGB, `lesion.depth` 256 in the middle, 0 at the border and negative outside, in 1/256 of the radius.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from dermaflow.sample.integers import (
    COSINE,
    FULL,
    ONE_SHIFT,
    TURN,
    Ints,
    Stream,
    cosine,
    lay,
    ramp,
    sine,
    soft_noise,
)
from dermaflow.sample.looks import Colour
from dermaflow.sample.strokes import SUB, branch, curve, discs, polar

SIZE: Final = 448
"""Edge of a lesion's texture, pixels."""


@dataclass
class Lesion:
    """A texture being painted.

    Attributes:
        canvas: (3, SIZE, SIZE) RGB.
        depth: (SIZE, SIZE), see above.
        cover: (SIZE, SIZE), 0 to 256: the lesion's opacity.
        radius: texture pixels.
        stream: the feature's own random numbers.
    """

    canvas: Ints
    depth: Ints
    cover: Ints
    radius: int
    stream: Stream

    def blend(self, colour: Colour, opacity: Ints, strength: int = FULL) -> None:
        """Lay a colour over the canvas; opacity is (SIZE, SIZE), 0 to 256."""
        lay(self.canvas, colour, opacity * strength >> 8)

    def noise(self, cells: int, octaves: int = 3) -> Ints:
        """Return fresh soft noise over the texture."""
        return soft_noise(self.stream, SIZE, cells, octaves)

    def spots(self, count: int, *, inner: int = 20, outer: int = 256) -> tuple[Ints, Ints]:
        """Return places inside the lesion whose depth lies between inner and outer; 1/16 pixel, (n,) each."""
        tries = count * 6
        reach = self.radius * 5 // 4
        x = np.clip(self.stream.ints(-reach, reach, tries) + SIZE // 2, 0, SIZE - 1)
        y = np.clip(self.stream.ints(-reach, reach, tries) + SIZE // 2, 0, SIZE - 1)
        depth = self.depth[y, x]
        kept = np.flatnonzero((depth >= inner) & (depth <= outer))[:count]
        return x[kept] * SUB + 8, y[kept] * SUB + 8

    def spot(self, inner: int = 60) -> tuple[int, int]:
        """Return one place inside, 1/16 pixel; the middle if none is found."""
        x, y = self.spots(1, inner=inner)
        return (int(x[0]), int(y[0])) if x.size else (SIZE // 2 * SUB, SIZE // 2 * SUB)


Painter = Callable[[Lesion, int], None]


def _blank() -> Ints:
    return np.zeros((SIZE, SIZE), np.int32)


def _honeycomb(lesion: Lesion, spacing: int, warp: int) -> Ints:
    """Return a warped honeycomb, -1.5 (on the lines) to 3 (in the holes), scaled by 2 ** 14."""
    place = np.arange(SIZE, dtype=np.int32) * SUB
    x = place[None, :] + (lesion.noise(14, 2) * warp >> 6)
    y = place[:, None] + (lesion.noise(14, 2) * warp >> 6)
    turn = lesion.stream.integer(0, TURN - 1)
    total = _blank()
    for third in range(3):
        angle = turn + third * TURN // 3
        phase = ((x * cosine(angle) + y * sine(angle)) >> ONE_SHIFT) * (TURN // SUB) // spacing
        total += COSINE[phase & (TURN - 1)]
    return total


def network(lesion: Lesion, strength: int) -> None:
    """Pigment network: brown lines around paler holes; coarser where the border is ragged."""
    spacing, warp = lesion.stream.integer(9, 15), lesion.stream.integer(16, 48)
    comb = _honeycomb(lesion, spacing, warp)
    fade = ramp(lesion.depth, -10, 60) * ramp(lesion.depth, 300, -150) >> 8
    dark, light = ramp(comb, 2000, -14000), ramp(comb, 14000, 20000)
    lesion.blend((58, 36, 26), dark * fade >> 8, strength * 3 // 4)
    lesion.blend((206, 164, 128), light * fade >> 8, strength // 3)


def fine_rim(lesion: Lesion, strength: int) -> None:
    """Delicate peripheral network (dermatofibroma)."""
    comb = _honeycomb(lesion, lesion.stream.integer(7, 10), 14)
    fade = ramp(lesion.depth, -20, 50) * ramp(lesion.depth, 150, -70) >> 8
    lesion.blend((104, 64, 44), ramp(comb, 0, -12000) * fade >> 8, strength * 3 // 4)


def globules(lesion: Lesion, strength: int) -> None:
    """Round brown globules of even size."""
    cover = _blank()
    x, y = lesion.spots(lesion.stream.integer(30, 80))
    discs(cover, x, y, lesion.stream.ints(40, 66, x.size), edge=24)
    lesion.blend((70, 44, 32), cover, strength * 3 // 4)


def dots(lesion: Lesion, strength: int) -> None:
    """Black dots of uneven size, mostly to one side."""
    cover = _blank()
    x, y = lesion.spots(lesion.stream.integer(20, 60), inner=-20, outer=170)
    side = lesion.stream.integer(0, TURN - 1)
    near = (x - SIZE * SUB // 2) * cosine(side) + (y - SIZE * SUB // 2) * sine(side) > 0
    discs(cover, x[near], y[near], lesion.stream.ints(20, 62, int(near.sum())))
    lesion.blend((24, 18, 20), cover, strength)


def blotches(lesion: Lesion, strength: int) -> None:
    """Several colours side by side: black, dark brown, red-brown, grey."""
    for colour in ((30, 22, 22), (88, 52, 34), (146, 72, 58), (96, 88, 92)):
        patch = ramp(lesion.noise(3, 3), 40, 60) * lesion.cover >> 8
        lesion.blend(colour, patch, strength * lesion.stream.integer(70, 100) // 100)


def streaks(lesion: Lesion, strength: int) -> None:
    """Radial streaks and pseudopods at part of the border."""
    cover = _blank()
    start, middle = lesion.stream.integer(0, TURN - 1), SIZE * SUB // 2
    for _ in range(lesion.stream.integer(12, 26)):
        angle = start + lesion.stream.integer(0, TURN // 2)
        edge = _border(lesion, angle)
        root_place = polar(middle, middle, angle, max(edge - 14 * SUB, SUB))
        tip = polar(
            middle, middle, angle + lesion.stream.integer(-12, 12), edge + lesion.stream.integer(5, 20) * SUB
        )
        bend = ((root_place[0] + tip[0]) // 2, (root_place[1] + tip[1]) // 2)
        curve(cover, (root_place, bend, tip), (36, lesion.stream.integer(16, 44)))
    lesion.blend((46, 32, 30), cover, strength)


def _border(lesion: Lesion, angle: int) -> int:
    """Return how far the border lies from the middle along a ray, 1/16 pixel."""
    steps = np.arange(SIZE // 2 - 1, dtype=np.int32)
    x = SIZE // 2 + (steps * cosine(angle) >> ONE_SHIFT)
    y = SIZE // 2 + (steps * sine(angle) >> ONE_SHIFT)
    inside = np.flatnonzero(lesion.depth[y, x] > 0)
    return int(inside[-1]) * SUB if inside.size else lesion.radius * SUB


def veil(lesion: Lesion, strength: int) -> None:
    """Blue-white veil: a structureless off-centre haze."""
    cover = _blank()
    x, y = lesion.spot(80)
    reach = lesion.radius * SUB * lesion.stream.integer(25, 50) // 100
    discs(cover, np.array([x], np.int32), np.array([y], np.int32), reach, edge=reach)
    patch = cover * ramp(lesion.noise(6, 2), -160, 160) >> 8
    lesion.blend((112, 126, 158), patch * lesion.cover >> 8, strength)


def regression(lesion: Lesion, strength: int) -> None:
    """Scar-like white areas with grey peppering."""
    patch = ramp(lesion.noise(4, 2), 90, 60) * lesion.cover >> 8
    lesion.blend((214, 194, 184), patch, strength * 3 // 4)
    lesion.blend((112, 108, 116), ramp(lesion.noise(60, 1), 110, 60) * patch >> 8, strength)


def white_lines(lesion: Lesion, strength: int) -> None:
    """Shiny white lines: short, straight, in two directions."""
    cover = _blank()
    turn = lesion.stream.integer(0, TURN - 1)
    x, y = lesion.spots(lesion.stream.integer(8, 16), inner=70)
    for a, b in zip(x.tolist(), y.tolist(), strict=True):
        angle = turn + lesion.stream.choice((0, TURN // 4)) + lesion.stream.integer(-15, 15)
        end = polar(a, b, angle, lesion.stream.integer(18, 40) * SUB)
        curve(cover, ((a, b), ((a + end[0]) // 2, (b + end[1]) // 2), end), (18, 14))
    lesion.blend((240, 226, 220), cover, strength)


def vessels(lesion: Lesion, strength: int) -> None:
    """Arborising vessels: sharp, bright red, thick stems that fork to thin twigs."""
    cover = _blank()
    middle = SIZE * SUB // 2
    for _ in range(lesion.stream.integer(3, 6)):
        angle = lesion.stream.integer(0, TURN - 1)
        start = polar(middle, middle, angle, lesion.radius * SUB * lesion.stream.integer(60, 110) // 100)
        heading = angle + TURN // 2 + lesion.stream.integer(-110, 110)
        length = lesion.radius * SUB * lesion.stream.integer(35, 60) // 100
        branch(cover, lesion.stream, start, angle=heading, length=length, radius=30)
    lesion.blend((176, 28, 40), cover, strength)


def ulcer(lesion: Lesion, strength: int) -> None:
    """Ulceration: a dark red sore with an orange crust."""
    x, y = lesion.spot(90)
    reach = lesion.radius * SUB * lesion.stream.integer(16, 34) // 100
    cover = _blank()
    discs(cover, np.array([x], np.int32), np.array([y], np.int32), reach, edge=reach // 2)
    ragged = ramp(cover + (lesion.noise(14, 2) >> 1), 90, 60)
    lesion.blend((196, 116, 52), ragged * ramp(cover, 0, 60) >> 8, strength)
    lesion.blend(
        (112, 22, 24), ramp(cover + (lesion.noise(18, 2) >> 1), 190, 50) * ramp(cover, 60, 60) >> 8, strength
    )


def leaves(lesion: Lesion, strength: int) -> None:
    """Leaf-like areas: brown-grey bulbs that join at a stem, near the border."""
    cover = _blank()
    for _ in range(lesion.stream.integer(2, 4)):
        angle, middle = lesion.stream.integer(0, TURN - 1), SIZE * SUB // 2
        stem = polar(middle, middle, angle, max(_border(lesion, angle) - 30 * SUB, SUB))
        for finger in range(5):
            tip = polar(*stem, angle + (finger - 2) * 70, lesion.stream.integer(12, 24) * SUB)
            curve(cover, (stem, stem, tip), (40, lesion.stream.integer(70, 110)))
    lesion.blend((104, 84, 82), cover, strength)


def nests(lesion: Lesion, strength: int) -> None:
    """Blue-grey ovoid nests."""
    cover = _blank()
    x, y = lesion.spots(lesion.stream.integer(4, 10), inner=50)
    discs(cover, x, y, lesion.stream.ints(80, 220, x.size), edge=64)
    lesion.blend((88, 92, 118), cover, strength)


def strawberry(lesion: Lesion, strength: int) -> None:
    """Strawberry pattern: a red net around pale follicles with a yellow plug."""
    comb = _honeycomb(lesion, lesion.stream.integer(16, 24), 44)
    lesion.blend((196, 66, 62), ramp(comb, 6000, -16000) * lesion.cover >> 8, strength * 3 // 4)
    lesion.blend((236, 206, 184), ramp(comb, 26000, 8000) * lesion.cover >> 8, strength)
    lesion.blend((214, 172, 96), ramp(comb, 43000, 4000) * lesion.cover >> 8, strength)


def scale(lesion: Lesion, strength: int) -> None:
    """Surface scale: white to yellow flakes with ragged edges."""
    flakes = ramp(lesion.noise(16, 3), 90, 40) * ramp(lesion.noise(4, 1), -80, 120) >> 8
    lesion.blend((236, 224, 198), flakes * lesion.cover >> 8, strength)


def milia(lesion: Lesion, strength: int) -> None:
    """Milia-like cysts: small bright dots with a haze around them."""
    x, y = lesion.spots(lesion.stream.integer(14, 36), inner=30)
    haze, cover = _blank(), _blank()
    radius = lesion.stream.ints(30, 70, x.size)
    discs(haze, x, y, radius * 2, edge=64)
    discs(cover, x, y, radius, edge=24)
    lesion.blend((214, 190, 150), haze, strength // 2)
    lesion.blend((246, 234, 206), cover, strength)


def comedones(lesion: Lesion, strength: int) -> None:
    """Comedo-like openings: brown-black plugs with a sharp edge."""
    x, y = lesion.spots(lesion.stream.integer(8, 20), inner=30)
    halo, cover = _blank(), _blank()
    radius = lesion.stream.ints(50, 110, x.size)
    discs(halo, x, y, radius + 30, edge=24)
    discs(cover, x, y, radius, edge=16)
    lesion.blend((176, 132, 84), halo, strength // 2)
    lesion.blend((48, 30, 20), cover, strength)


def fissures(lesion: Lesion, strength: int) -> None:
    """Fissures and ridges: dark winding furrows (brain-like surface)."""
    furrow = ramp(np.abs(lesion.noise(8, 2)), 34, -26)
    lesion.blend((76, 50, 34), furrow * lesion.cover >> 8, strength)


def white_patch(lesion: Lesion, strength: int) -> None:
    """Central white scar-like patch."""
    patch = ramp(lesion.depth + (lesion.noise(6, 3) >> 2), 80, 130)
    lesion.blend((236, 214, 200), patch, strength * 7 // 8)


def lacunae(lesion: Lesion, strength: int) -> None:
    """Red, purple and black lacunes, parted by paler septa."""
    lesion.blend((224, 170, 164), lesion.cover, strength // 2)
    for colour in ((176, 24, 44), (120, 22, 60), (198, 44, 54), (64, 20, 42)):
        x, y = lesion.spots(lesion.stream.integer(5, 14), inner=30)
        cover = _blank()
        discs(cover, x, y, lesion.stream.ints(110, 260, x.size), edge=48)
        lesion.blend(colour, cover * lesion.cover >> 8, strength)


def keratin(lesion: Lesion, strength: int) -> None:
    """Keratin: white-yellow structureless mass, and white circles around it."""
    mass = ramp(lesion.depth + (lesion.noise(5, 3) >> 1), 130, 50)
    lesion.blend((238, 220, 182), mass, strength)
    rings, holes = _blank(), _blank()
    x, y = lesion.spots(lesion.stream.integer(8, 18), inner=40, outer=160)
    radius = lesion.stream.ints(80, 120, x.size)
    discs(rings, x, y, radius, edge=20)
    discs(holes, x, y, radius - 44, edge=20)
    lesion.blend((244, 230, 214), np.maximum(rings - holes, 0), strength)
    lesion.blend((206, 164, 104), holes, strength // 2)


def coils(lesion: Lesion, strength: int) -> None:
    """Glomerular vessels: small coiled red tufts in clusters."""
    cover = _blank()
    x, y = lesion.spots(lesion.stream.integer(20, 44), inner=10, outer=190)
    discs(cover, x, y, 58, edge=20)
    hollow = _blank()
    discs(hollow, x, y, 24, edge=20)
    lesion.blend((172, 30, 44), np.maximum(cover - hollow // 2, 0), strength)


def hairpins(lesion: Lesion, strength: int) -> None:
    """Hairpin vessels: looped red lines, a pale halo inside the loop."""
    cover = _blank()
    x, y = lesion.spots(lesion.stream.integer(8, 18), inner=10, outer=150)
    for a, b in zip(x.tolist(), y.tolist(), strict=True):
        angle = lesion.stream.integer(0, TURN - 1)
        foot = polar(a, b, angle + TURN // 4, 7 * SUB)
        top = polar(a, b, angle, lesion.stream.integer(28, 44) * SUB)
        curve(cover, ((a, b), top, foot), (16, 16))
    lesion.blend((178, 32, 44), cover, strength)


PAINTERS: Final[dict[str, Painter]] = {
    painter.__name__: painter
    for painter in (
        veil, regression, white_patch, keratin, blotches, lacunae, network, fine_rim, strawberry, globules,
        dots, streaks, fissures, nests, leaves, vessels, coils, hairpins, ulcer, white_lines, scale, milia,
        comedones,
    )
}  # fmt: skip
"""In the order of painting: what lies deeper comes first."""
