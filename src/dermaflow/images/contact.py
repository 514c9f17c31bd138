"""Contact sheets: images before and after crop_resize, side by side, for people to look at."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from dermaflow.errors import DataError
from dermaflow.images import crop, icc
from dermaflow.images.decode import Pixels, checked_header, decode, reduction_for
from dermaflow.images.portable import portable
from dermaflow.images.store import ShardReader
from dermaflow.sources import Source

CELL_PX: Final = 224
_TEXT_PX: Final = 20
_ACROSS: Final = 7
"""Cells beside each other: short rows share a line of the sheet."""
_BACKGROUND: Final = 245
_BOX_RGB: Final = (255, 220, 0)


def contact_sheet(rows: Sequence[Sequence[Pixels]], titles: Sequence[str], out: Path) -> None:
    """Write a picture of rows of images, each under its title; several short rows share a line.

    Args:
        rows: RGB images of any size, shape (h, w, 3); each is scaled to fit its cell.
        titles: one a row.
        out: a .png or .jpg file.

    Raises:
        DataError: there is nothing to show, or the picture can't be encoded.
    """
    if not rows:
        raise DataError("no image to show", str(out), "Name at least one image.")
    columns = max(len(row) for row in rows)
    strips = [_strip(row, title, columns) for row, title in zip(rows, titles, strict=True)]
    beside = min(len(strips), max(1, _ACROSS // columns))
    strips += [np.full_like(strips[0], _BACKGROUND)] * (-len(strips) % beside)
    lines = [np.concatenate(strips[at : at + beside], axis=1) for at in range(0, len(strips), beside)]
    sheet = cv2.cvtColor(np.concatenate(lines), cv2.COLOR_RGB2BGR)
    try:
        done, file = cv2.imencode(out.suffix, sheet)
    except cv2.error:  # it knows no such ending
        done = False
    if not done:
        raise DataError("the picture can't be encoded", str(out), "Name a .png or .jpg file.")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(file.tobytes())


def telling(reader: ShardReader, number: int) -> list[str]:
    """Choose images to look at: half evenly over the ids, half those of which the crop keeps least.

    Args:
        reader: the stored images.
        number: how many at most.

    Returns:
        Ids, each once, those that lose most at the end.
    """
    kept = {}
    for image_id, stored in reader:
        kept[image_id] = stored.crop_box_px[2] * stored.crop_box_px[3] / (stored.width * stored.height)
    half = min(number - number // 2, len(kept))
    even = [reader.ids[place * len(kept) // half] for place in range(half)] if half else []
    least = sorted((share, image_id) for image_id, share in kept.items() if image_id not in set(even))
    return [*even, *(image_id for _, image_id in least[: number // 2])]


@portable()
def before_after(
    image_ids: Sequence[str], opened: Sequence[Source], reader: ShardReader, out: Path, *, max_pixels: int
) -> None:
    """Write a sheet: the original with the kept box drawn in, and beside it what is stored.

    Args:
        image_ids: which.
        opened: the releases' files; the first that holds an id is taken.
        reader: the stored images.
        out: a .png or .jpg file.
        max_pixels: width x height in a header; more is refused before decoding.

    Raises:
        DataError: an image is not stored, has no file, or can't be read.
    """
    rows, titles = [], []
    for image_id in image_ids:
        stored = reader.get(image_id)
        source = next((source for source in opened if image_id in source), None)
        if source is None:
            raise DataError(f"no file of image {image_id}", "data", "Check the image's id.")
        after = reader.pixels(image_id, CELL_PX)
        before = _with_box(source.read(image_id), stored.crop_box_px, max_pixels, image_id)
        rows.append([before, after])
        titles.append(f"{image_id}  {stored.width} x {stored.height}, box {stored.crop_box_px}")
    contact_sheet(rows, titles, out)


def _with_box(file: bytes, box: crop.Box, max_pixels: int, name: str) -> Pixels:
    header = checked_header(file, max_pixels, name)
    reduction = reduction_for(header, min(header.width, header.height), CELL_PX)
    image = decode(file, header, reduction, name)
    pixels = cv2.cvtColor(icc.to_srgb(_fitted(image.pixels), header.profile), cv2.COLOR_BGR2RGB)
    zoom = max(pixels.shape[:2]) / max(image.width, image.height)
    left, top, width, height = (round(edge * zoom) for edge in box)
    corners = (left, top), (left + width - 1, top + height - 1)
    drawn: Pixels = cv2.rectangle(pixels, *corners, _BOX_RGB, 2)
    return drawn


def _fitted(pixels: Pixels) -> Pixels:
    zoom = CELL_PX / max(pixels.shape[:2])
    return crop.resize(pixels, max(1, round(pixels.shape[1] * zoom)), max(1, round(pixels.shape[0] * zoom)))


def _strip(row: Sequence[Pixels], title: str, columns: int) -> Pixels:
    """Return one row under its title, shape (cell + text, columns * cell, 3)."""
    strip = np.full((CELL_PX + _TEXT_PX, columns * (CELL_PX + 4), 3), _BACKGROUND, np.uint8)
    cv2.putText(strip, title, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    for number, pixels in enumerate(row):
        fitted = _fitted(pixels)
        left, top = number * (CELL_PX + 4), _TEXT_PX
        strip[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
    return strip
