"""Write a mask as PNG, by hand: the bytes that zlib makes differ between its builds, these never do.

The format is plain: 8 bits of grey, filter "up", one deflate block with the fixed codes and runs of equal
bytes (RFC 1951, RFC 2083). A mask of 600 x 450 takes 2 to 4 kB.
"""

import struct
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

_LONGEST: Final = 258
_SHORTEST: Final = 3
_BASES: Final = (
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    11,
    13,
    15,
    17,
    19,
    23,
    27,
    31,
    35,
    43,
    51,
    59,
    67,
    83,
    99,
    115,
    131,
    163,
    195,
    227,
    258,
)
_EXTRA: Final = (0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0)


def encode_mask(mask: NDArray[np.uint8]) -> bytes:
    """Return the PNG file of a grey picture, shape (h, w), uint8."""
    height, width = mask.shape
    above = np.vstack([np.zeros((1, width), np.uint8), mask[:-1]])
    rows = np.concatenate([np.full((height, 1), 2, np.uint8), mask - above], axis=1)
    raw = rows.tobytes()
    packed = b"\x78\x01" + _deflate(rows.reshape(-1)) + struct.pack(">I", zlib.adler32(raw))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in parts)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _deflate(raw: NDArray[np.uint8]) -> bytes:
    """Write one final block with fixed codes: a literal, then repeats of it at distance one."""
    bits, filled = 0b011, 3  # final block, fixed codes; the first bit is the lowest
    starts = np.flatnonzero(np.concatenate([[True], raw[1:] != raw[:-1]]))
    runs = np.diff(np.concatenate([starts, [raw.size]]))
    pieces: list[int] = []
    for value, run in zip(raw[starts].tolist(), runs.tolist(), strict=True):
        left = run - 1
        tokens = [_LITERALS[value]]
        while left >= _SHORTEST:
            take = min(left, _LONGEST)
            if _SHORTEST > left - take > 0:
                take = left - _SHORTEST if left - _SHORTEST <= _LONGEST else take
            tokens.append(_REPEATS[take])
            left -= take
        tokens += [_LITERALS[value]] * left
        for code, length in tokens:
            bits |= code << filled
            filled += length
        while filled >= 8:  # noqa: PLR2004 - a byte
            pieces.append(bits & 255)
            bits >>= 8
            filled -= 8
    filled += 7  # end of block: seven zero bits
    pieces += [(bits >> shift) & 255 for shift in range(0, filled, 8)]
    return bytes(pieces)


def _reversed(code: int, length: int) -> tuple[int, int]:
    """Turn a Huffman code round: it is sent highest bit first."""
    return int(format(code, f"0{length}b")[::-1], 2), length


def _literal(value: int) -> tuple[int, int]:
    return _reversed(0x30 + value, 8) if value < 144 else _reversed(0x190 + value - 144, 9)  # noqa: PLR2004


def _repeat(run: int) -> tuple[int, int]:
    """Return the code of `run` more of the same byte: length, its extra bits, distance one (five zeros)."""
    index = max(k for k, base in enumerate(_BASES) if base <= run)
    symbol = 257 + index
    code, length = _reversed(symbol - 256, 7) if symbol < 280 else _reversed(0xC0 + symbol - 280, 8)  # noqa: PLR2004
    return code | (run - _BASES[index]) << length, length + _EXTRA[index] + 5


_LITERALS: Final = [_literal(value) for value in range(256)]
_REPEATS: Final = {run: _repeat(run) for run in range(_SHORTEST, _LONGEST + 1)}
