"""File bytes to RGB pixels: upright, eight bits, three channels, no larger than needed, or a clear error."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from dermaflow.errors import DataError
from dermaflow.images.header import Header, png_picture, read_header

Pixels = NDArray[np.uint8]

REDUCTIONS: Final = (8, 4, 2)
"""What a JPEG decoder can divide both sides by while it decodes."""
_FLAGS: Final = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_JPEG_END: Final = b"\xff\xd9"
_OTHER_BYTES: Final = bytes(range(1, 250)) * 16
_MISSING_GREY: Final = 128


@dataclass(frozen=True)
class Decoded:
    """An upright image, possibly decoded at a fraction of its size.

    Attributes:
        pixels: shape (ceil(height / reduction), ceil(width / reduction), 3), BGR as OpenCV has it.
        width: of the full image after EXIF orientation, pixels.
        height: likewise.
        reduction: 1, 2, 4 or 8.
    """

    pixels: Pixels
    width: int
    height: int
    reduction: int


def reduction_for(header: Header, short_side_px: int, target_px: int) -> int:
    """Return the largest reduction that leaves `short_side_px` at least twice the target.

    At twice the target a reduced decode differs from a full one by 0.3 to 1.2 grey levels on average,
    below that by 4 to 6. Only JPEG decoders reduce; a PNG is decoded whole.
    """
    if header.kind != "jpeg":
        return 1
    shortest = min(header.width, header.height)
    return next((r for r in REDUCTIONS if short_side_px // r >= 2 * target_px and shortest >= r), 1)


def checked_header(file: bytes, max_pixels: int, name: str) -> Header:
    """Read the header and refuse what would take too much memory or time to decode.

    Raises:
        DataError: as `read_header`, or width x height above `max_pixels`.
    """
    header = read_header(file, name)
    if header.width * header.height > max_pixels:
        raise DataError(
            f"the header says {header.width} x {header.height} pixels; more than {max_pixels:,} are refused",
            name,
            "Give a smaller image.",
        )
    return header


def decode(file: bytes, header: Header, reduction: int, name: str) -> Decoded:
    """Decode an image; grey, CMYK, palette, 16 bits and alpha (dropped) all give three 8-bit channels.

    Raises:
        DataError: truncated, damaged, or of another size than its header says.
    """
    picture = png_picture(file) if header.kind == "png" else file
    pixels = None if picture is None else _imdecode(picture, _FLAGS[reduction])
    if pixels is None or (header.kind == "jpeg" and _ends_early(file, header, pixels, reduction)):
        raise DataError("the image is truncated or damaged", name, "Take the file again from where it came.")
    found = pixels.shape[1], pixels.shape[0]
    as_is = -(-header.width // reduction), -(-header.height // reduction)
    turned = as_is[::-1]
    if found not in (as_is, turned):
        raise DataError(
            f"the image decodes to {found[0]} x {found[1]} pixels, its header says "
            f"{header.width} x {header.height}",
            name,
            "Take the file again from where it came.",
        )
    if as_is == turned and header.width != header.height:  # too coarse to tell whether EXIF turned it
        return decode(file, header, 1, name)
    width, height = (header.width, header.height) if found == as_is else (header.height, header.width)
    return Decoded(pixels, width, height, reduction)


def _imdecode(file: bytes, flags: int) -> Pixels | None:
    try:
        pixels: Pixels | None = cv2.imdecode(np.frombuffer(file, np.uint8), flags)
    except cv2.error:
        return None
    return pixels


def _ends_early(file: bytes, header: Header, pixels: Pixels, reduction: int) -> bool:
    """Tell whether a JPEG's data stop before its pixels do, although its end marker is there.

    The decoder then only warns and leaves the rest at mid-grey. A corner of exactly that grey is looked
    at twice: with other bytes in place of the end marker, missing pixels change and given ones do not. So is
    every image of four inks, since there the rest is of another colour. Of a progressive JPEG only pixels
    that its first scan lacks are noticed: one cut in a later scan has all of its pixels, some less fine,
    and a second decode of each would take as long again and, reduced, not always tell.
    """
    corners = pixels[:: max(1, pixels.shape[0] - 1), :: max(1, pixels.shape[1] - 1)]
    if not header.cmyk and not (corners == _MISSING_GREY).all(axis=2).any():
        return False
    given = file[: header.end].rstrip(b"\xff")  # which would make a marker with what follows
    again = _imdecode(given + _OTHER_BYTES + _JPEG_END, _FLAGS[reduction])
    return again is None or not np.array_equal(pixels, again)
