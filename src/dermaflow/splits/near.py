"""Find images that show the same picture: candidates by perceptual hash, confirmed by correlation.

A hash alone does not do on skin: images of unlike lesions lie within 4 bits. So a pair is a candidate if
its 64-bit pHashes differ in at most `near_hamming` bits in one of the 8 orientations (4 turns, each also
mirrored), and is confirmed if the high-passed 64 x 64 thumbnails correlate by `near_correlation` there.

In: thumbnails. Out: pairs. Knows no labels. pHash: the 8 x 8 lowest DCT coefficients against their median
(Zauner 2010). All 8 orientations follow from one transform: a mirror changes the sign of the odd
coefficients, a transposition transposes them. Sub-quadratic: the 64 bits are cut into `near_hamming + 2`
chunks; two hashes within the limit agree in at least two chunks, so a table for each pair of chunks finds
them all (tested against all pairs).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter1d, label

SIDE: Final = 64
LOW: Final = 8
SIGMA_PX: Final = 4.0
"""Of the blur that is subtracted: what is left is finer than about a quarter of the thumbnail."""

NARROW: Final = 0.05
"""Candidates this far below the correlation limit are kept as narrowly refused, to be looked at."""

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

ORIENTATIONS: Final = 8
_BLOCK: Final = 2_000_000


@dataclass(frozen=True)
class Pairs:
    """Pairs of images by position; `first` < `second`.

    Attributes:
        first, second: shape (n,), positions.
        hamming: shape (n,), bits between the hashes in the orientation of the best correlation.
        correlation: shape (n,), of the high-passed thumbnails, best of 8 orientations.
        compared: number of thumbnails that show enough to be compared.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    hamming: NDArray[np.int16]
    correlation: NDArray[np.float32]
    compared: int


def find(thumbnails: NDArray[np.uint8], hamming: int, correlation: float) -> Pairs:
    """Return the pairs that correlate by at least `correlation - NARROW`.

    Args:
        thumbnails: shape (n, 64, 64), grey.
        hamming: most bits between the hashes of a candidate.
        correlation: the limit of confirmation; who calls decides by it.
    """
    index = np.flatnonzero(comparable(thumbnails))
    first, second, turn, bits = _candidates(hashes(thumbnails[index]), hamming)
    values = _correlations(thumbnails[index], first, second, turn)
    close = values >= correlation - NARROW
    a, b, bits, values = index[first[close]], index[second[close]], bits[close], values[close]
    order = np.lexsort((bits, -values, b, a))
    a, b, bits, values = a[order], b[order], bits[order], values[order]
    once = np.ones(len(a), bool)
    once[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    return Pairs(a[once], b[once], bits[once].astype(np.int16), values[once].astype(np.float32), len(index))


def comparable(thumbnails: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Say which thumbnails show enough detail to be compared (a plain field does not)."""
    flat = thumbnails.reshape(len(thumbnails), -1)
    enough: NDArray[np.bool_] = np.ptp(flat, axis=1) > RANGE
    return enough


def hashes(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the pHash of each thumbnail in 8 orientations.

    Args:
        thumbnails: shape (n, 64, 64), grey.

    Returns:
        Shape (8, n). Orientation `mirrored * 4 + up_down * 2 + left_right`: transposed first if `mirrored`,
        then flipped (see `turned`).
    """
    basis = _cosines()  # (8, 64)
    flat = thumbnails.reshape(-1, SIDE).astype(np.float32) @ basis.T  # (n * 64, 8)
    low = np.einsum("ku,nuv->nkv", basis, flat.reshape(-1, SIDE, LOW))  # (n, 8, 8)
    return np.stack([_bits(_turn_low(low, turn)) for turn in range(ORIENTATIONS)])


def turned(images: NDArray[Any], turn: int) -> NDArray[Any]:
    """Return the images, shape (n, h, h), in one of the 8 orientations."""
    if turn & 4:
        images = images.swapaxes(1, 2)
    if turn & 2:
        images = images[:, ::-1, :]
    return images[:, :, ::-1] if turn & 1 else images


def _turn_low(low: NDArray[np.float32], turn: int) -> NDArray[np.float32]:
    odd = np.where(np.arange(LOW) % 2, -1, 1).astype(np.float32)
    if turn & 4:
        low = low.swapaxes(1, 2)
    rows = odd if turn & 2 else np.ones_like(odd)
    columns = odd if turn & 1 else np.ones_like(odd)
    flipped: NDArray[np.float32] = low * (rows[:, None] * columns)
    return flipped


def _bits(low: NDArray[np.float32]) -> NDArray[np.uint64]:
    flat = low.reshape(len(low), LOW * LOW)
    set_bits = flat > np.median(flat, axis=1, keepdims=True)
    packed: NDArray[np.uint64] = np.packbits(set_bits, axis=1).view(np.dtype(">u8"))[:, 0].astype(np.uint64)
    return packed


def _cosines() -> NDArray[np.float32]:
    """Return the first rows of the orthonormal DCT-II, shape (8, 64)."""
    k, x = np.arange(LOW)[:, None], np.arange(SIDE)[None, :]
    basis = np.cos(np.pi * k * (2 * x + 1) / (2 * SIDE)) * np.sqrt(2 / SIDE)
    basis[0] /= np.sqrt(2)
    rows: NDArray[np.float32] = basis.astype(np.float32)
    return rows


def _candidates(
    hashed: NDArray[np.uint64], limit: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return first, second, orientation and bits of all pairs within `limit` bits in some orientation."""
    size = hashed.shape[1]
    found: list[NDArray[np.int64]] = []
    for mask in _masks(limit + 2):
        key = hashed[0] & mask
        order = np.argsort(key, kind="stable")
        ordered = key[order]
        for turn in range(ORIENTATIONS):
            wanted = hashed[turn] & mask
            left = np.searchsorted(ordered, wanted, "left")
            right = np.searchsorted(ordered, wanted, "right")
            for query, place in _expand(left, right - left):
                other = order[place]
                bits = np.bitwise_count(hashed[turn, query] ^ hashed[0, other])
                near = (bits <= limit) & (query < other)
                found.append((query[near] * size + other[near]) * ORIENTATIONS + turn)
        found = [np.unique(np.concatenate(found))] if found else []
    code = found[0] if found else np.zeros(0, np.int64)
    pair, turns = np.divmod(code, ORIENTATIONS)
    first, second = np.divmod(pair, max(size, 1))
    return first, second, turns, np.bitwise_count(hashed[turns, first] ^ hashed[0, second]).astype(np.int64)


def _masks(chunks: int) -> Iterator[np.uint64]:
    """Yield the bit mask of each pair of chunks; the chunks' bits are interleaved over the hash."""
    single = [sum(1 << bit for bit in range(start, 64, chunks)) for start in range(chunks)]
    for one, other in combinations(single, 2):
        yield np.uint64(one | other)


def _expand(
    left: NDArray[np.int64], count: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield (query, place) for all places left .. left + count of each query, a block at a time."""
    ends = np.cumsum(count)
    start = 0
    while start < len(count):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _BLOCK, "right")))
        counts = count[start:stop]
        query = np.repeat(np.arange(start, stop), counts)
        offset = np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
        yield query, np.repeat(left[start:stop], counts) + offset
        start = stop


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
    thumbnails: NDArray[np.uint8],
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    turn: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Correlate `first`, turned, with `second`."""
    values = np.zeros(len(first), np.float32)
    if not len(first):
        return values
    used, position = np.unique(np.concatenate([first, second]), return_inverse=True)
    high = np.empty((len(used), SIDE, SIDE), np.float32)
    for start in range(0, len(used), 4096):
        block = _high_passed(thumbnails[used[start : start + 4096]])
        norm = np.linalg.norm(block, axis=1, keepdims=True)
        block *= (norm > SIDE * FLAT) / np.maximum(norm, 1)  # nothing seen correlates with nothing
        high[start : start + 4096] = block.reshape(-1, SIDE, SIDE)
    a, b = position[: len(first)], position[len(first) :]
    for number in range(ORIENTATIONS):
        which = np.flatnonzero(turn == number)
        for start in range(0, len(which), 2048):
            part = which[start : start + 2048]
            values[part] = np.einsum("nij,nij->n", turned(high[a[part]], number), high[b[part]])
    return values
