"""Find images that show the same picture: candidates by perceptual hash, confirmed by correlation.

A hash alone does not do on skin: images of unlike lesions lie within 4 bits. So a pair is a candidate if
its 64-bit pHashes differ in at most `near_hamming` bits in one of the 8 orientations (4 turns, each also
mirrored), and is confirmed if the high-passed 64 x 64 thumbnails correlate by `near_correlation` there, or
by SHIFTED more when one is moved by up to SHIFT_PX: what is finer than a quarter of the thumbnail does not
correlate with itself a few hundredths of the side away (docs/decisions/0004).

In: thumbnails. Out: pairs. Knows no labels. pHash: the 8 x 8 lowest DCT coefficients against their median
(Zauner 2010). All 8 orientations follow from one transform: a mirror changes the sign of the odd
coefficients, a transposition transposes them. Sub-quadratic: the 64 bits are cut into `near_hamming + 3`
chunks; two hashes within the limit agree in at least three of them, so a table for each three chunks finds
them all (tested against all pairs).

Thumbnails are read a block at a time, first all of them, then those of candidates: half a million weigh
2 GB, their hashes 32 MB.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter1d, label

from dermaflow.splits.thumbnails import BLOCK, SIDE, Blocks, Held

LOW: Final = 8
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

ORIENTATIONS: Final = 8
FEW: Final = 20_000
"""Up to so many images a table goes by two chunks, beyond by three: 165 tables in place of 45, each with a
30th of the comparisons."""

KEY_BITS: Final = 18
"""Of a table's key, at most."""

_BLOCK: Final = 65_536
"""Comparisons at a time: what they need stays in the processor's cache."""

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


def candidates(
    hashed: NDArray[np.uint64], limit: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Find all pairs within `limit` bits in some orientation.

    Args:
        hashed: shape (8, n), see `hashes`.
        limit: bits.

    Returns:
        first, second, orientation (of the first) and bits of each; first < second.
    """
    size = hashed.shape[1]
    agree = 2 if size <= FEW else 3
    chunks = _cut(limit + agree)
    width = KEY_BITS // agree
    parts = _parts(hashed, chunks, width)  # (chunks, 8, n)
    found = [np.zeros(0, np.int64)]
    for table in combinations(range(len(chunks)), agree):
        key = _key(parts, table, width)  # (8, n)
        order, start = _buckets(key[0])
        ordered = hashed[0, order]
        same, earlier = _masks(chunks, table)
        for turn in range(ORIENTATIONS):
            left, right = start[key[turn]], start[key[turn] + 1]
            for query, place, unlike in _compared(hashed[turn], ordered, left, right - left, limit):
                other = order[place]
                # Who agrees in more chunks stands in several tables; the first of them counts.
                new = (query < other) & ((unlike & same) == 0)
                for mask in earlier:
                    new &= (unlike & mask) != 0
                found.append((query[new] * size + other[new]) * ORIENTATIONS + turn)
    code = np.sort(np.concatenate(found))
    pair, turns = np.divmod(code, ORIENTATIONS)
    first, second = np.divmod(pair, max(size, 1))
    return first, second, turns, np.bitwise_count(hashed[turns, first] ^ hashed[0, second]).astype(np.int64)


def _cut(chunks: int) -> list[list[int]]:
    """Return the bits of each chunk, interleaved over the hash."""
    return [list(range(start, 64, chunks)) for start in range(chunks)]


def _parts(hashed: NDArray[np.uint64], chunks: list[list[int]], width: int) -> NDArray[np.uint32]:
    """Return the first `width` bits of each chunk as a number, shape (chunks, 8, n)."""
    parts = np.zeros((len(chunks), *hashed.shape), np.uint32)
    for chunk, bits in enumerate(chunks):
        for place, bit in enumerate(bits[:width]):
            parts[chunk] |= ((hashed >> np.uint64(bit)) & np.uint64(1)).astype(np.uint32) << np.uint32(place)
    return parts


def _key(parts: NDArray[np.uint32], table: tuple[int, ...], width: int) -> NDArray[np.uint32]:
    """Join the chunks that a table goes by to one number, shape (8, n)."""
    key: NDArray[np.uint32] = parts[table[0]]
    for chunk in table[1:]:
        key = (key << np.uint32(width)) | parts[chunk]
    return key


def _buckets(key: NDArray[np.uint32]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the positions in the order of their keys, and where each key starts among them."""
    number = np.uint64(32)
    keyed = (key.astype(np.uint64) << number) | np.arange(len(key), dtype=np.uint64)
    keyed.sort()
    start = np.zeros((1 << KEY_BITS) + 1, np.int32)
    np.cumsum(np.bincount(key, minlength=len(start) - 1), out=start[1:])
    return (keyed & np.uint64(2**32 - 1)).astype(np.int64), start


def _masks(chunks: list[list[int]], table: tuple[int, ...]) -> tuple[np.uint64, list[np.uint64]]:
    """Return the bits of a table's chunks together, and of each chunk before its last that is not in it."""
    single = [sum(1 << bit for bit in bits) for bits in chunks]
    same = np.uint64(sum(single[chunk] for chunk in table))
    return same, [np.uint64(single[chunk]) for chunk in range(table[-1]) if chunk not in table]


def _compared(
    queries: NDArray[np.uint64],
    ordered: NDArray[np.uint64],
    left: NDArray[np.int32],
    count: NDArray[np.int32],
    limit: int,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]]:
    """Compare each query with the hashes at left .. left + count, a block at a time.

    Yields:
        query, place and the bits that differ, of those within the limit.
    """
    ends = np.cumsum(count, dtype=np.int64)
    start = 0
    while start < len(count):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _BLOCK, "right")))
        counts, until = count[start:stop], ends[start:stop] - before
        place: NDArray[np.int64] = np.repeat(left[start:stop] - (until - counts), counts)
        place += np.arange(len(place))
        unlike = np.repeat(queries[start:stop], counts) ^ ordered[place]
        near = np.flatnonzero(np.bitwise_count(unlike) <= limit)
        if len(near):
            yield start + np.searchsorted(until, near, "right"), place[near], unlike[near]
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
