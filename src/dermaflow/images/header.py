"""Format and size of an image file, read before anything is decoded.

JPEG and PNG only, by content and not by extension: what else OpenCV could open is refused, so that a
service never runs a decoder that no release needs.
"""

import re
import struct
from dataclasses import dataclass
from typing import Final, Literal

from dermaflow.errors import DataError

JPEG: Final = b"\xff\xd8\xff"
PNG: Final = b"\x89PNG\r\n\x1a\n"
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG markers SOF0 to SOF15, which hold the size (C4, C8, CC mean something else)."""
_SEGMENT: Final = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
"""A JPEG marker with a segment behind it. Fill, stuffed and restart bytes are none, and no decoder steps over
what follows a reserved one, so scans can't hide there."""
_SCAN: Final = b"\xff\xda"
_END: Final = b"\xff\xd9"
MAX_SCANS: Final = 100
"""Of one JPEG; a baseline one has 1, a progressive one about 10. Each costs time for the whole picture
however few its bytes: 400 empty ones, 0.3 MB in all, keep a decoder busy for over half a minute."""
MAX_SEGMENTS: Final = 10_000
"""Of one JPEG; a walk over as many takes some 10 ms."""
_CHUNK: Final = struct.Struct(">I4s")
"""What a PNG chunk begins with: its content's length, and its name."""
_AROUND_CHUNK: Final = _CHUNK.size + 4
"""Bytes of a PNG chunk beside its content: these and a checksum."""


@dataclass(frozen=True)
class Header:
    """What the header claims: the format, pixels before any EXIF turn, and whether a JPEG is of four inks."""

    kind: Literal["jpeg", "png"]
    width: int
    height: int
    cmyk: bool = False


def read_header(file: bytes, name: str) -> Header:
    """Read an image's format and size.

    Args:
        file: its bytes.
        name: for messages.

    Raises:
        DataError: empty, neither JPEG nor PNG, without a size, or a JPEG of too many scans.
    """
    remedy = "Give a JPEG or PNG file; take it again from where it came."
    if not file:
        raise DataError("the file is empty", name, remedy)
    cmyk = False
    if file.startswith(JPEG):
        size, cmyk = _jpeg_frame(file, name)
        kind: Literal["jpeg", "png"] = "jpeg"
    elif file.startswith(PNG):
        size = _png_size(file)
        kind = "png"
    else:
        raise DataError("neither a JPEG nor a PNG image", name, remedy)
    if size is None or min(size) < 1:
        raise DataError("the image header is damaged: it gives no size", name, remedy)
    return Header(kind, *size, cmyk)


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


def _jpeg_frame(file: bytes, name: str) -> tuple[tuple[int, int] | None, bool]:
    """Walk the segments (ITU-T T.81, annex B) as a decoder does: over what they hold, to the end marker."""
    size, cmyk, scans, at = None, False, 0, 2
    for _ in range(MAX_SEGMENTS):
        found = _SEGMENT.search(file, at)
        if found is None or found[0] == _END:
            return size, cmyk
        at = found.end()
        if found[0][1] in _FRAMES and size is None and not scans:
            size = int.from_bytes(file[at + 5 : at + 7]), int.from_bytes(file[at + 3 : at + 5])
            cmyk = file[at + 7 : at + 8] == b"\x04"
        scans += found[0] == _SCAN
        if scans > MAX_SCANS:
            break
        at += int.from_bytes(file[at : at + 2])
    raise DataError(
        f"the JPEG comes in more than {MAX_SCANS} scans or {MAX_SEGMENTS:,} segments, which take too long",
        name,
        "Save it again as an ordinary JPEG.",
    )
