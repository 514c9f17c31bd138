"""The only road from file bytes to the pixels a network sees: crop_resize, evaluation and service use it.

    bytes -> decode, upright -> crop box -> resize to stored_px -> sRGB -> balance colours -> encode as stored
                                                                                      (`encode_stored`)
          -> decode -> resize to input_px                                             (`decode_stored`)

`prepare` does both, so it returns exactly what a shard reader returns for that image: a JPEG round trip
left out moves logits by up to 1.8. Needs OpenCV, numpy and Pillow (for colour profiles) only.
"""

from dataclasses import asdict, dataclass
from typing import Any, Final, Self

import cv2
import numpy as np

from dermaflow.errors import DataError
from dermaflow.images import colour, crop, icc
from dermaflow.images.decode import Decoded, Pixels, checked_header, decode, reduction_for
from dermaflow.images.portable import portable

PNG_OPTIONS: Final = (
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG),
)
"""On skin at 128 px: 0.41 ms to write and 0.37 ms to read 22.1 kB, where OpenCV's level 1 alone needs 0.90
and 0.53 ms for 22.3 kB, and the smallest (20.1 kB) 0.81 and 0.48 ms."""


@dataclass(frozen=True)
class Recipe:
    """How bytes become pixels; travels inside each bundle.

    Attributes:
        crop: center, border, full or squash (see `crop`).
        stored_px: side of the stored square, pixels.
        input_px: side of what the network sees, pixels.
        lossless_up_to_px: stored as PNG up to this size, as JPEG above.
        jpeg_quality: 1 to 100.
        max_pixels: width x height in a header; more is refused before decoding.
        colour_constancy: none or shades_of_gray (see `colour`).
    """

    crop: str
    stored_px: int
    input_px: int
    lossless_up_to_px: int
    jpeg_quality: int
    max_pixels: int
    colour_constancy: str = "none"

    def __post_init__(self) -> None:
        """Refuse what this version does not know."""
        for what, given, known in (
            ("crop", self.crop, crop.CROPS),
            ("colour constancy", self.colour_constancy, colour.KINDS),
        ):
            if given not in known:
                raise DataError(f"no {what} is called {given!r}", "recipe", f"Use one of {', '.join(known)}.")

    @property
    def lossless(self) -> bool:
        """Whether stored images are PNG."""
        return self.stored_px <= self.lossless_up_to_px

    def to_json(self) -> dict[str, Any]:
        """Return a plain dictionary."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        return cls(**value)


@dataclass(frozen=True)
class Stored:
    """One image as a shard keeps it.

    Attributes:
        encoded: PNG or JPEG of stored_px x stored_px.
        width: of the original after EXIF orientation, pixels.
        height: likewise.
        crop_box_px: left, top, width, height in the upright original.
        scale: stored pixels an original pixel (squash: geometric mean of both axes).
    """

    encoded: bytes
    width: int
    height: int
    crop_box_px: crop.Box
    scale: float


@portable()
def prepare(file: bytes, recipe: Recipe, name: str = "image") -> Pixels:
    """Turn an image file into the pixels that the network sees.

    Args:
        file: a JPEG or PNG, whatever its name says.
        recipe: how.
        name: of the file, for messages.

    Returns:
        Shape (input_px, input_px, 3), RGB.

    Raises:
        DataError: empty, no image, truncated, damaged or too large; the message names the file.
    """
    square, _, _ = _square(file, recipe, name)
    if not recipe.lossless:
        square = _decoded(_encoded(square, recipe))
    return _as_input(square, recipe.input_px)


@portable()
def encode_stored(file: bytes, recipe: Recipe, name: str = "image") -> Stored:
    """Turn an image file into what a shard keeps.

    Raises:
        DataError: as `prepare`.
    """
    square, original, box = _square(file, recipe, name)
    return Stored(
        encoded=_encoded(square, recipe),
        width=original.width,
        height=original.height,
        crop_box_px=box,
        scale=crop.scale(recipe.crop, box, recipe.stored_px),
    )


@portable()
def decode_stored(encoded: bytes, input_px: int) -> Pixels:
    """Turn what a shard keeps into the pixels that the network sees, shape (input_px, input_px, 3), RGB."""
    return _as_input(_decoded(encoded), input_px)


def _square(file: bytes, recipe: Recipe, name: str) -> tuple[Pixels, Decoded, crop.Box]:
    """Decode, crop, resize to (stored_px, stored_px, 3), BGR, as sRGB, and balance the colours."""
    header = checked_header(file, recipe.max_pixels, name)
    target = recipe.stored_px
    short_side = crop.short_side(recipe.crop, header.width, header.height)
    image = decode(file, header, reduction_for(header, short_side, target), name)
    box = crop.find_box(recipe.crop, image)
    wanted = reduction_for(header, crop.short_side(recipe.crop, box[2], box[3]), target)
    if wanted < image.reduction:  # a border was cut: what is left needs a finer decode
        image = decode(file, header, wanted, name)
        box = crop.aligned(box, wanted)
    square = icc.to_srgb(crop.cut(recipe.crop, image, box, target), header.profile)
    return colour.balanced(square, recipe.colour_constancy), image, box


def _encoded(square: Pixels, recipe: Recipe) -> bytes:
    if recipe.lossless:
        return bytes(cv2.imencode(".png", square, PNG_OPTIONS)[1])
    return bytes(cv2.imencode(".jpg", square, [cv2.IMWRITE_JPEG_QUALITY, recipe.jpeg_quality])[1])


def _decoded(encoded: bytes) -> Pixels:
    square: Pixels | None = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    if square is None:
        raise DataError("a stored image does not decode", "shard", "Run `dvc repro --force crop_resize`.")
    return square


def _as_input(square: Pixels, input_px: int) -> Pixels:
    resized = crop.resize(square, input_px, input_px)
    rgb: Pixels = cv2.cvtColor(resized, cv2.COLOR_BGR2RGB)
    return rgb
