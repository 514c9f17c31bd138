"""Format, size and colour profile of an image file, read before anything is decoded.

JPEG and PNG only, by content and not by extension: what else OpenCV could open is refused, so that a
service never runs a decoder that no release needs.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from dermaflow.errors import DataError

JPEG: Final = b"\xff\xd8\xff"
PNG: Final = b"\x89PNG\r\n\x1a\n"
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG markers SOF0 to SOF15, which hold the size (C4, C8, CC mean something else)."""
_ORDINARY: Final = frozenset({0xC0, 0xC1, 0xC2})
"""Those of the JPEGs that every program reads: baseline, extended, progressive. Lossless and arithmetic-coded
ones the decoder reads at some sizes and some pixels only."""
_EIGHT_BITS: Final = b"\x08"
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
_PROFILE_SEGMENT: Final = b"\xff\xe2"
_PROFILE_NAME: Final = b"ICC_PROFILE\0"
MAX_PROFILE: Final = 4 << 20
"""Bytes of a colour profile: a telephone's has 500, a scanner's tables up to 3 MB. A larger one is taken for
none."""
_CHUNK: Final = struct.Struct(">I4s")
"""What a PNG chunk begins with: its content's length, and its name."""
_AROUND_CHUNK: Final = _CHUNK.size + 4
"""Bytes of a PNG chunk beside its content: these and a checksum."""
MAX_CHUNKS: Final = 100_000
"""Of one PNG; what follows is taken for cut off. A walk over as many takes some 20 ms."""
_ANCILLARY: Final = 0x20
"""Bit of a PNG chunk's first letter: the picture can do without it."""
_TRANSPARENCY, _TURN = b"tRNS", b"eXIf"


@dataclass(frozen=True)
class Header:
    """What the header claims.

    Attributes:
        kind: the format.
        width: before any EXIF turn, pixels.
        height: likewise.
        cmyk: whether a JPEG is of four inks.
        profile: what the file says that its colours mean, as ICC.1 has it; None: nothing whole.
        end: where the picture ends: what follows, such as the second picture of a telephone's file, is not
            of it.
    """

    kind: Literal["jpeg", "png"]
    width: int
    height: int
    cmyk: bool = False
    profile: bytes | None = None
    end: int = 0


def read_header(file: bytes, name: str) -> Header:
    """Read an image's format, size and colour profile.

    Args:
        file: its bytes.
        name: for messages.

    Raises:
        DataError: empty, neither JPEG nor PNG, without a size, or a JPEG of too many scans or of a rare kind.
    """
    remedy = "Give a JPEG or PNG file; take it again from where it came."
    if not file:
        raise DataError("the file is empty", name, remedy)
    if file.startswith(JPEG):
        header = _jpeg_header(file, name)
    elif file.startswith(PNG):
        header = _png_header(file)
    else:
        raise DataError("neither a JPEG nor a PNG image", name, remedy)
    if min(header.width, header.height) < 1:
        raise DataError("the image header is damaged: it gives no size", name, remedy)
    return header


def png_picture(file: bytes) -> bytes | None:
    """Return a PNG of the chunks alone that make its first picture and turn it upright.

    A decoder sets aside what a chunk claims, up to 4 GB, before it looks whether the bytes are there; it
    unpacks texts that nobody reads, gigabytes from some kilobytes; and OpenCV's 5.0 ends the whole process
    over a damaged second picture of an animation (opencv/opencv 27744).

    Returns:
        None where the file ends before its end chunk does.
    """
    parts, at = [PNG], len(PNG)
    for name, _, end in _png_chunks(file):
        if not name[0] & _ANCILLARY or name in (_TRANSPARENCY, _TURN):
            parts.append(file[at:end])
        if name == b"IEND":
            return b"".join(parts) if end <= len(file) else None
        at = end
    return None


def _png_chunks(file: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's name, where its content begins, and where the next chunk would."""
    at = len(PNG)
    for _ in range(MAX_CHUNKS):
        if at + _AROUND_CHUNK > len(file):
            break
        length, name = _CHUNK.unpack_from(file, at)
        yield name, at + _CHUNK.size, at + _AROUND_CHUNK + length
        at += _AROUND_CHUNK + length


def _png_header(file: bytes) -> Header:
    size = (file[16:20], file[20:24]) if file[12:16] == b"IHDR" else (b"", b"")
    width, height = map(int.from_bytes, size)
    return Header("png", width, height, profile=_png_profile(file), end=len(file))


def _png_profile(file: bytes) -> bytes | None:
    """Return what the iCCP chunk holds: a name, a zero, the packing's number, and the packed profile."""
    for name, start, end in _png_chunks(file):
        if name == b"IDAT":
            break
        if name == b"iCCP":
            unpacker = zlib.decompressobj()
            try:
                profile = unpacker.decompress(file[start : end - 4].partition(b"\0")[2][1:], MAX_PROFILE)
            except zlib.error:
                break
            return profile if unpacker.eof else None
    return None


def _jpeg_header(file: bytes, name: str) -> Header:
    """Walk the segments (ITU-T T.81, annex B) as a decoder does: over what they hold, to the end marker."""
    width, height, cmyk, scans, at = 0, 0, False, 0, 2
    profile: dict[bytes, bytes] = {}
    for _ in range(MAX_SEGMENTS):
        found = _SEGMENT.search(file, at)
        if found is None or found[0] == _END:
            end = len(file) if found is None else found.start()
            return Header("jpeg", width, height, cmyk, _joined(profile), end)
        at = found.end()
        if found[0][1] in _FRAMES and not (width or scans):
            if found[0][1] not in _ORDINARY or file[at + 2 : at + 3] != _EIGHT_BITS:
                raise DataError(
                    "a lossless, arithmetic-coded or 12-bit JPEG, which is not read",
                    name,
                    "Save it again as an ordinary JPEG or as a PNG.",
                )
            width, height = int.from_bytes(file[at + 5 : at + 7]), int.from_bytes(file[at + 3 : at + 5])
            cmyk = file[at + 7 : at + 8] == b"\x04"
        scans += found[0] == _SCAN
        if scans > MAX_SCANS:
            break
        end = at + int.from_bytes(file[at : at + 2])
        if found[0] == _PROFILE_SEGMENT and not scans and file.startswith(_PROFILE_NAME, at + 2):
            profile[file[at + 14 : at + 16]] = file[at + 16 : end]
        at = end
    raise DataError(
        f"the JPEG comes in more than {MAX_SCANS} scans or {MAX_SEGMENTS:,} segments, which take too long",
        name,
        "Save it again as an ordinary JPEG.",
    )


def _joined(parts: dict[bytes, bytes]) -> bytes | None:
    """Put a JPEG's profile together (ICC.1:2010, B.4): its parts by number, from 1, and their count."""
    count = min(len(parts), 255)
    numbers = [bytes([number, count]) for number in range(1, count + 1)]
    if not parts or sorted(parts) != numbers:
        return None
    profile = b"".join(parts[number] for number in numbers)
    return profile if len(profile) <= MAX_PROFILE else None
