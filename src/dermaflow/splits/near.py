"""Find images that show the same picture: candidates by perceptual hash, confirmed by correlation.

A hash alone does not do on skin: images of unlike lesions lie within 4 bits. So a pair is a candidate if
its 64-bit pHashes differ in at most `near_hamming` bits in one of the 8 orientations (4 turns, each also
mirrored), and is confirmed if the high-passed 64 x 64 thumbnails correlate by `near_correlation` there, or
by SHIFTED more when one is moved by up to SHIFT_PX: what is finer than a quarter of the thumbnail does not
correlate with itself a few hundredths of the side away (docs/decisions/0004).

In: thumbnails. Out: pairs. Knows no labels. Thumbnails are read a block at a time, first all of them, then
those of candidates: half a million weigh 2 GB, their hashes 32 MB.
"""

from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter1d, label

from dermaflow.splits.phash import ORIENTATIONS, candidates, hashes, turned
from dermaflow.splits.thumbnails import BLOCK, SIDE, Blocks, Held

SIGMA_PX: Final = 4.0
"""Of the blur that is subtracted: what is left is finer than about a quarter of the thumbnail."""

NARROW: Final = 0.05
"""Candidates this far below the correlation limit are kept as narrowly refused, to be looked at."""

SHIFT_PX: Final = 2
"""How far a thumbnail is moved each way, in its pixels: 3 % of the side."""

SHIFTED: Final = 0.055
"""By so much more must a moved thumbnail correlate: it is the best of 24 places."""

SHIFT_FROM: Final = 0.3
"""Pairs that correlate by less in place are not moved: no such one was confirmed."""

HALVED_FROM: Final = 0.65
"""Pairs that correlate by less at half the size, one moved by up to a pixel there, are not looked at further:
no confirmed one of real images has less than 0.775, and a third of the others have more."""

SHIFT_RIM: Final = 0.5
"""Pairs of which one is rim to a larger share are not moved: what is left are tubes, all of them round."""

RANGE: Final = 4
"""Grey levels between the darkest and the brightest pixel: with less there is nothing to compare."""

FLAT: Final = 1.0
"""Grey levels: a thumbnail whose high-passed deviation is below correlates with nothing."""

DARK: Final = 0.45
"""Darker than this share of the bright part, and joined to a corner, is the microscope's rim."""

BRIGHT_RANK: Final = 410
"""The bright part: the 410th brightest of 4,096 pixels (the 90th percentile)."""

RIM_PX: Final = 3
"""The rim is widened by this, so that its edge is left out too."""

TILE: Final = 32_768
"""High-passed thumbnails at a time, twice (0.5 GB each)."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of images by position; `first` < `second`.

    Attributes:
        first, second: shape (n,), positions.
        hamming: shape (n,), bits between the hashes in the orientation of the best correlation.
        correlation: shape (n,), of the high-passed thumbnails, best of 8 orientations; where one had to be
            moved, less SHIFTED.
        compared: number of thumbnails that show enough to be compared.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    hamming: NDArray[np.int16]
    correlation: NDArray[np.float32]
    compared: int


def find(thumbnails: NDArray[np.uint8] | Blocks, hamming: int, correlation: float) -> Pairs:
    """Return the pairs that correlate by at least `correlation - NARROW`.

    Args:
        thumbnails: shape (n, 64, 64), grey; or the same in blocks.
        hamming: most bits between the hashes of a candidate.
        correlation: the limit of confirmation; who calls decides by it.
    """
    blocks = Held(thumbnails) if isinstance(thumbnails, np.ndarray) else thumbnails
    index, hashed = _hashed(blocks)
    first, second, turn, bits = candidates(hashed, hamming)
    values = _correlations(blocks, index, first, second, turn)
    close = values >= correlation - NARROW
    a, b, bits, values = index[first[close]], index[second[close]], bits[close], values[close]
    order = np.lexsort((bits, -values, b, a))
    a, b, bits, values = a[order], b[order], bits[order], values[order]
    once = np.ones(len(a), bool)
    once[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    return Pairs(a[once], b[once], bits[once].astype(np.int16), values[once].astype(np.float32), len(index))


def _hashed(blocks: Blocks) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Return the positions of the comparable thumbnails, ascending, and their hashes, shape (8, n)."""
    positions, found = [np.zeros(0, np.int64)], [np.zeros((ORIENTATIONS, 0), np.uint64)]
    for position, block in blocks:
        seen = comparable(block)
        if seen.any():
            positions.append(position[seen])
            found.append(hashes(block[seen]))
    index = np.concatenate(positions)
    order = np.argsort(index)
    return index[order], np.concatenate(found, axis=1)[:, order]


def comparable(thumbnails: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Say which thumbnails show enough detail to be compared (a plain field does not)."""
    flat = thumbnails.reshape(len(thumbnails), SIDE * SIDE)
    enough: NDArray[np.bool_] = np.ptp(flat, axis=1) > RANGE
    return enough


def _high_passed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the images less their blur and mean, zero in the dark rim, shape (n, 4096).

    The rim of a microscope's round view would correlate by 0.95 between any two lesions: it is left out,
    and the blur is taken over the rest alone. The result turns with the image.
    """
    grey = images.astype(np.float32)
    seen = (~rim(images)).astype(np.float32)
    blur = _blur()
    weight = blur @ seen @ blur.T
    blurred = (blur @ (grey * seen) @ blur.T) / np.maximum(weight, 1e-6)
    high = (grey - blurred) * seen
    mean = high.sum(axis=(1, 2), keepdims=True) / np.maximum(seen.sum(axis=(1, 2), keepdims=True), 1)
    centred: NDArray[np.float32] = ((high - mean) * seen).reshape(len(images), -1)
    return centred


def rim(images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Mark the dark rim: what is much darker than the bright part and hangs on to a corner.

    Args:
        images: shape (n, 64, 64), grey.

    Returns:
        Shape (n, 64, 64), widened by RIM_PX; empty where no corner is dark.
    """
    marked = np.zeros(images.shape, bool)
    limit = np.partition(images.reshape(len(images), -1), -BRIGHT_RANK, axis=1)[:, -BRIGHT_RANK] * DARK
    corners = images[:, [0, 0, -1, -1], [0, -1, 0, -1]] < limit[:, None]
    some = np.flatnonzero(corners.any(axis=1))
    if not len(some):
        return marked
    dark = images[some] < limit[some, None, None]
    within = np.zeros((3, 3, 3), bool)
    within[1] = True  # neighbours in the same image only
    labels, _ = label(dark, within)
    at_corner = np.unique(labels[:, [0, 0, -1, -1], [0, -1, 0, -1]])
    hangs = np.zeros(labels.max() + 1, bool)
    hangs[at_corner[at_corner > 0]] = True
    marked[some] = binary_dilation(hangs[labels], within, iterations=RIM_PX)
    return marked


def _blur() -> NDArray[np.float32]:
    """Return the blur along one side as a matrix, shape (64, 64)."""
    blur: NDArray[np.float32] = gaussian_filter1d(np.eye(SIDE), SIGMA_PX, axis=0, mode="reflect").astype(
        np.float32
    )
    return blur


def _correlations(
    blocks: Blocks,
    index: NDArray[np.int64],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    turn: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Correlate `first`, turned, with `second`; both number `index`, the positions in the blocks."""
    values = np.zeros(len(first), np.float32)
    if not len(first):
        return values
    used = np.zeros(len(index), bool)
    used[first] = used[second] = True
    tiles = np.array_split(np.flatnonzero(used), max(1, -(-int(used.sum()) // TILE)))
    starts = [int(tile[0]) for tile in tiles[1:]]
    tile_a, tile_b = (np.searchsorted(starts, side, "right") for side in (first, second))
    for one in range(len(tiles)):
        high = _normal(blocks, index, tiles[one])
        for other in range(one, len(tiles)):
            inside = np.flatnonzero((tile_a == one) & (tile_b == other))
            if not len(inside):
                continue
            high_b = high if other == one else _normal(blocks, index, tiles[other])
            a = np.searchsorted(tiles[one], first[inside])
            b = np.searchsorted(tiles[other], second[inside])
            for number in range(ORIENTATIONS):
                which = np.flatnonzero(turn[inside] == number)
                for start in range(0, len(which), 2048):
                    part = which[start : start + 2048]
                    values[inside[part]] = _alike(turned(high[a[part]], number), high_b[b[part]])
    return values


def _alike(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Correlate thumbnails pair by pair, in place and moved.

    Args:
        one: shape (n, 64, 64), high-passed, of norm 1.
        other: the same.

    Returns:
        Shape (n,).
    """
    values: NDArray[np.float32] = np.einsum("nij,nij->n", one, other)
    near = np.flatnonzero(values >= SHIFT_FROM)
    for side in (one, other):
        seen = np.count_nonzero(side[near], axis=(1, 2)) / SIDE**2  # the rim is zero
        near = near[seen >= 1 - SHIFT_RIM]
    near = near[_moved(_halved(one[near]), _halved(other[near]), SHIFT_PX // 2) >= HALVED_FROM]
    values[near] = np.maximum(values[near], _moved(one[near], other[near], SHIFT_PX) - SHIFTED)
    return values


def _moved(one: NDArray[np.float32], other: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    """Return the best correlation, pair by pair, with one moved by up to `reach` pixels each way."""
    side = one.shape[1]
    best = np.full(len(one), -1, np.float32)
    for down, right in product(range(-reach, reach + 1), repeat=2):
        a = one[:, max(down, 0) : side + min(down, 0), max(right, 0) : side + min(right, 0)]
        b = other[:, max(-down, 0) : side + min(-down, 0), max(-right, 0) : side + min(-right, 0)]
        power = np.einsum("nij,nij->n", a, a) * np.einsum("nij,nij->n", b, b)
        best = np.maximum(best, np.einsum("nij,nij->n", a, b) / np.sqrt(np.maximum(power, 1e-12)))
    return best


def _halved(images: NDArray[np.float32]) -> NDArray[np.float32]:
    rows = images[:, ::2] + images[:, 1::2]
    return rows[:, :, ::2] + rows[:, :, 1::2]


def _normal(blocks: Blocks, index: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the high-passed thumbnails at index[wanted] at norm 1, shape (len(wanted), 64, 64)."""
    high = np.zeros((len(wanted), SIDE, SIDE), np.float32)
    at = index[wanted]  # ascending
    for position, thumbnails in blocks:
        row = np.searchsorted(at, position)
        inside = np.flatnonzero(at[np.minimum(row, len(at) - 1)] == position)
        for start in range(0, len(inside), BLOCK // 2):
            part = inside[start : start + BLOCK // 2]
            block = _high_passed(thumbnails[part])
            norm = np.linalg.norm(block, axis=1, keepdims=True)
            block *= (norm > SIDE * FLAT) / np.maximum(norm, 1)  # nothing seen correlates with nothing
            high[row[part]] = block.reshape(-1, SIDE, SIDE)
    return high
