"""Whole-number arithmetic for drawing: random numbers, sines, roots, soft noise.

Everything that decides a pixel is an integer here, so that the drawn release is the same to the byte on
every processor: no float whose last bit an instruction set could change.
"""

import hashlib
from collections.abc import Sequence
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Words = NDArray[np.uint64]
T = TypeVar("T")

TURN: Final = 1024
"""Angle units in a full turn."""
ONE_SHIFT: Final = 14
"""Sines and cosines are scaled by 2 ** 14."""
FULL: Final = 256
"""A weight, opacity or strength of one."""

_PI_64: Final = 0x3243F6A8885A308D3  # floor(pi * 2 ** 64)
_GOLDEN: Final = 0x9E3779B97F4A7C15  # splitmix64's step (Steele, Lea, Flood 2014)
_MIX_A: Final = 0xBF58476D1CE4E5B9
_MIX_B: Final = 0x94D049BB133111EB
_MASK_64: Final = (1 << 64) - 1


def _sine_table() -> Ints:
    """Tabulate one turn of the sine by its power series in 64-bit fixed point."""
    table = []
    for step in range(TURN):
        quarter, rest = divmod(step, TURN // 4)
        rest = TURN // 4 - rest if quarter % 2 else rest
        x = 2 * _PI_64 * rest // TURN
        term, total, n = x, x, 1
        while term:
            term = -(((term * x) >> 64) * x >> 64) // ((n + 1) * (n + 2))
            total, n = total + term, n + 2
            if abs(term) <= 1:
                break
        value = (total + (1 << (63 - ONE_SHIFT))) >> (64 - ONE_SHIFT)
        table.append(value if step <= TURN // 2 else -value)
    return np.array(table, np.int32)


SINE: Final = _sine_table()
COSINE: Final = np.roll(SINE, -TURN // 4)


def sine(angle: int) -> int:
    """Return the sine of an angle in 1/1024 turns, scaled by 2 ** 14."""
    return int(SINE[angle % TURN])


def cosine(angle: int) -> int:
    """Return the cosine of an angle in 1/1024 turns, scaled by 2 ** 14."""
    return int(COSINE[angle % TURN])


def root(square: NDArray[np.integer]) -> Ints:
    """Return the whole part of the square root, exactly.

    IEEE 754 demands a correctly rounded root, and below 2 ** 52 its whole part can't be wrong, so this
    one float operation is the same everywhere.
    """
    return np.sqrt(square.astype(np.float64)).astype(np.int32)


class Stream:
    """Random whole numbers by counter (splitmix64); the name alone decides them, never the order of use."""

    def __init__(self, *path: object) -> None:
        """Name the stream, e.g. `Stream(seed, "lesion", 12)`."""
        self.path = "/".join(str(part) for part in path)
        self._key = int.from_bytes(hashlib.blake2b(self.path.encode(), digest_size=8).digest(), "little")
        self._used = 0

    def child(self, *path: object) -> "Stream":
        """Return an independent stream below this one."""
        return Stream(self.path, *path)

    def words(self, count: int) -> Words:
        """Return 64-bit words, shape (count,)."""
        counter = np.arange(self._used + 1, self._used + count + 1, dtype=np.uint64)
        self._used += count
        z = counter * np.uint64(_GOLDEN) + np.uint64(self._key)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(_MIX_A)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(_MIX_B)
        mixed: Words = z ^ (z >> np.uint64(31))
        return mixed

    def ints(self, low: int, high: int, *shape: int) -> Ints:
        """Return numbers from low to high, both included."""
        count = int(np.prod(shape))
        scaled = ((self.words(count) >> np.uint64(32)) * np.uint64(high - low + 1)) >> np.uint64(32)
        return (scaled.astype(np.int32) + np.int32(low)).reshape(shape)

    def noise_bytes(self, count: int) -> Ints:
        """Return numbers 0 to 255, eight from each word, shape (count,)."""
        return self.words((count + 7) // 8).astype("<u8").view(np.uint8)[:count].astype(np.int32)

    def integer(self, low: int, high: int) -> int:
        """Return one number from low to high, both included."""
        self._used += 1
        z = (self._used * _GOLDEN + self._key) & _MASK_64
        z = ((z ^ (z >> 30)) * _MIX_A) & _MASK_64
        z = ((z ^ (z >> 27)) * _MIX_B) & _MASK_64
        z ^= z >> 31
        return low + ((z >> 32) * (high - low + 1) >> 32)

    def chance(self, per_mille: int) -> bool:
        """Return True in so many of 1000 draws."""
        return self.integer(0, 999) < per_mille

    def choice(self, items: Sequence[T]) -> T:
        """Return one of the items."""
        return items[self.integer(0, len(items) - 1)]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return the items in another order (Fisher and Yates)."""
        mixed = list(items)
        for last in range(len(mixed) - 1, 0, -1):
            other = self.integer(0, last)
            mixed[last], mixed[other] = mixed[other], mixed[last]
        return mixed


def soft_noise(stream: Stream, size: int, cells: int, octaves: int = 3) -> Ints:
    """Return value noise, shape (size, size), about -350 to 350 with a spread near 120.

    Args:
        stream: where the lattice comes from.
        size: edge in pixels.
        cells: lattice cells across the edge in the first octave; each further octave doubles them.
        octaves: layers, each half as strong as the one before.
    """
    total = np.zeros((size, size), np.int32)
    for octave in range(octaves):
        count = cells << octave
        lattice = stream.ints(-FULL, FULL, count + 1, count + 1)
        total += _stretched(lattice, size) >> octave
    return total


def _stretched(lattice: Ints, size: int) -> Ints:
    cells = lattice.shape[0] - 1
    place = np.arange(size, dtype=np.int32) * (cells << 8) // size
    whole, part = place >> 8, place & 255
    weight = (part * part * (768 - 2 * part)) >> 16  # smooth step, 0 to 256
    rows = lattice[whole] * (FULL - weight)[:, None] + lattice[whole + 1] * weight[:, None] >> 8
    stretched: Ints = rows[:, whole] * (FULL - weight) + rows[:, whole + 1] * weight >> 8
    return stretched


def ramp(values: Ints, start: int, width: int) -> Ints:
    """Rise from 0 at `start` to 256 at `start + width`; a negative width falls instead."""
    risen: Ints = np.clip((values - start) * FULL // width, 0, FULL)
    return risen


def lay(planes: Ints, colour: tuple[int, int, int], cover: Ints) -> None:
    """Lay a colour over a picture in place: planes (3, h, w), cover (h, w) from 0 to 256."""
    for index, value in enumerate(colour):
        planes[index] += (value - planes[index]) * cover >> 8
