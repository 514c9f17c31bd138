"""Find all pairs of thumbnails whose perceptual hashes lie close, in whatever orientation.

In: thumbnails, hashes. Out: hashes, pairs of positions. pHash: 64 bits, the 8 x 8 lowest DCT coefficients
against their median (Zauner 2010). All 8 orientations (4 turns, each also mirrored) follow from one
transform: a mirror changes the sign of the odd coefficients, a transposition transposes them. Sub-quadratic:
the 64 bits are cut into `limit + 3` chunks; two hashes within the limit agree in at least three of them, so a
table for each three chunks finds them all (tested against all pairs). For few images it is two for three.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dermaflow.splits.thumbnails import SIDE

LOW: Final = 8
"""Coefficients along each axis that make the hash."""

ORIENTATIONS: Final = 8

FEW: Final = 20_000
"""Up to so many images a table goes by two chunks, beyond by three: 165 tables in place of 45, each with a
30th of the comparisons."""

KEY_BITS: Final = 18
"""Of a table's key, at most."""

_BLOCK: Final = 65_536
"""Comparisons at a time: what they need stays in the processor's cache."""


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
