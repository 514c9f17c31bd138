"""Format and size of an image file from its first bytes, before anything is decoded.

JPEG and PNG only, by content and not by extension: what else OpenCV could open is refused, so that a
service never runs a decoder that no release needs.
"""

import struct
from dataclasses import dataclass
from typing import Final, Literal

from dermaflow.errors import DataError

JPEG: Final = b"\xff\xd8\xff"
PNG: Final = b"\x89PNG\r\n\x1a\n"
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG markers SOF0 to SOF15, which hold the size (C4, C8, CC mean something else)."""
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
"""JPEG markers without a length behind them."""
_SCAN_OR_END: Final = frozenset({0xD9, 0xDA})
_CHUNK: Final = struct.Struct(">I4s")
"""What a PNG chunk begins with: its content's length, and its name."""
_AROUND_CHUNK: Final = _CHUNK.size + 4
"""Bytes of a PNG chunk beside its content: these and a checksum."""


@dataclass(frozen=True)
class Header:
    """What the header claims: the format, and pixels before any EXIF turn."""

    kind: Literal["jpeg", "png"]
    width: int
    height: int


def read_header(file: bytes, name: str) -> Header:
    """Read an image's format and size.

    Args:
        file: its bytes.
        name: for messages.

    Raises:
        DataError: empty, neither JPEG nor PNG, or without a size.
    """
    remedy = "Give a JPEG or PNG file; take it again from where it came."
    if not file:
        raise DataError("the file is empty", name, remedy)
    if file.startswith(JPEG):
        size = _jpeg_size(file)
        kind: Literal["jpeg", "png"] = "jpeg"
    elif file.startswith(PNG):
        size = _png_size(file)
        kind = "png"
    else:
        raise DataError("neither a JPEG nor a PNG image", name, remedy)
    if size is None or min(size) < 1:
        raise DataError("the image header is damaged: it gives no size", name, remedy)
    return Header(kind, *size)


def png_is_whole(file: bytes) -> bool:
    """Tell whether each chunk of a PNG, up to its end chunk, lies within the file.

    A decoder sets aside what a chunk claims, up to 4 GB, before it looks whether the bytes are there.
    """
    at = len(PNG)
    while at + _AROUND_CHUNK <= len(file):
        length, name = _CHUNK.unpack_from(file, at)
        at += _AROUND_CHUNK + length
        if name == b"IEND" and at <= len(file):
            return True
    return False


def _png_size(file: bytes) -> tuple[int, int] | None:
    if file[12:16] != b"IHDR" or len(file) < 24:  # noqa: PLR2004 - signature, length, name, two sizes
        return None
    return int.from_bytes(file[16:20]), int.from_bytes(file[20:24])


def _jpeg_size(file: bytes) -> tuple[int, int] | None:
    """Walk the segments (ITU-T T.81, annex B) up to the first frame header."""
    at = 2
    while at + 9 <= len(file):
        if file[at] != 0xFF:  # noqa: PLR2004
            return None
        marker = file[at + 1]
        if marker == 0xFF:  # noqa: PLR2004 - fill byte
            at += 1
        elif marker in _ALONE:
            at += 2
        elif marker in _FRAMES:
            return int.from_bytes(file[at + 7 : at + 9]), int.from_bytes(file[at + 5 : at + 7])
        elif marker in _SCAN_OR_END:
            return None
        else:
            at += 2 + int.from_bytes(file[at + 2 : at + 4])
    return None
