"""What the files themselves say: size, digest, perceptual hash, thumbnail, and whether they decode.

One row an image file, sorted by id, in the columns of outputs.facts; duplicates are found from these
without opening an image again. Called by the stage ingest.
"""

import hashlib
from functools import partial
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from dermaflow.errors import DataError
from dermaflow.images import crop, parallel
from dermaflow.images.decode import Pixels, checked_header, decode, reduction_for
from dermaflow.images.portable import portable
from dermaflow.sources import Entry, Source, read_file

THUMBNAIL_PX: Final = 64
MAX_PIXELS: Final = 120_000_000
"""Width x height in a header; a file that claims more counts as unreadable."""
_HASH_SIDE: Final = 8
_DCT_SIDE: Final = 32


def all_facts(
    source: Source, *, workers: int = 1, max_pixels: int = MAX_PIXELS, progress: bool = True
) -> list[dict[str, Any]]:
    """Return one row of outputs.facts an image file, sorted by id, whatever the number of workers.

    Args:
        source: the files.
        workers: processes.
        max_pixels: a header that claims more makes a file unreadable.
        progress: show a bar, if stderr is a terminal.
    """
    found = partial(_row, source.root, max_pixels)
    rows = parallel.stream(found, source.entries, workers=workers, title="image facts", progress=progress)
    return list(rows)


@portable()
def image_facts(file: bytes, name: str = "image", *, max_pixels: int = MAX_PIXELS) -> dict[str, Any]:
    """Return the facts of one image file: the columns of outputs.facts that its bytes decide.

    An unreadable file has width and height 0, hash 0, a black thumbnail, and its problem in words.
    """
    facts: dict[str, Any] = {"bytes": len(file), "sha256": hashlib.sha256(file).hexdigest()}
    try:
        header = checked_header(file, max_pixels, name)
        reduction = reduction_for(header, min(header.width, header.height), THUMBNAIL_PX)
        image = decode(file, header, reduction, name)
    except DataError as error:
        nothing = np.zeros((THUMBNAIL_PX, THUMBNAIL_PX), np.uint8)
        return facts | _seen(nothing, 0, 0) | {"phash": 0, "readable": False, "problem": error.what}
    grey = cv2.cvtColor(image.pixels, cv2.COLOR_BGR2GRAY)
    thumbnail = crop.resize(grey, THUMBNAIL_PX, THUMBNAIL_PX)
    return facts | _seen(thumbnail, image.width, image.height) | {"readable": True, "problem": None}


def perceptual_hash(thumbnail: Pixels) -> int:
    """Return 64 bits that change little when an image is scaled, re-encoded or brightened.

    The 8 x 8 lowest DCT coefficients of a 32 x 32 grey image, against their median (pHash: Zauner, 2010).

    Args:
        thumbnail: shape (64, 64), grey.
    """
    small = cv2.resize(thumbnail, (_DCT_SIDE, _DCT_SIDE), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small.astype(np.float32))[:_HASH_SIDE, :_HASH_SIDE].ravel()
    bits = np.packbits(low > np.median(low))
    return int.from_bytes(bits.tobytes())


def _seen(thumbnail: Pixels, width: int, height: int) -> dict[str, Any]:
    return {
        "width": width,
        "height": height,
        "phash": perceptual_hash(thumbnail),
        "thumbnail": thumbnail.tobytes(),
    }


def _row(root: Path, max_pixels: int, entry: Entry) -> dict[str, Any]:
    """Return one whole row (in a worker process)."""
    place = {"image_id": entry.image_id, "part": entry.part, "file": entry.file}
    try:
        file = read_file(root, entry.file)
    except DataError as error:
        return place | image_facts(b"") | {"problem": error.what}
    return place | image_facts(file, entry.file, max_pixels=max_pixels)
