"""Images drawn for tests: smooth skin with a lesion, encoded in many ways."""

import io
import struct
import zlib

import cv2
import numpy as np
from PIL import Image

from dermaflow.images.prepare import Recipe


def skin(width=300, height=200, seed=0):
    """RGB pixels, smooth, different on all four sides."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 230, (5, 7, 3), dtype=np.uint8)
    return np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255)


def encoded(pixels, kind="PNG", mode=None, **options):
    box = io.BytesIO()
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(box, kind, **options)
    return box.getvalue()


def jpeg(width=300, height=200, seed=0, quality=92, **options):
    return encoded(skin(width, height, seed), "JPEG", quality=quality, **options)


def png(width=300, height=200, seed=0, **options):
    return encoded(skin(width, height, seed), "PNG", **options)


def turned_jpeg(width, height, orientation, seed=0):
    """A JPEG whose EXIF says how the camera was held."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(skin(width, height, seed), "JPEG", quality=95, exif=exif)


def with_png_size(file, width, height):
    """A PNG whose header claims another size, its checksum right."""
    body = b"IHDR" + struct.pack(">II", width, height) + file[24:29]
    return file[:12] + body + struct.pack(">I", zlib.crc32(body)) + file[33:]


def with_jpeg_size(file, width, height):
    """A JPEG whose header claims another size."""
    at = file.index(b"\xff\xc0")
    return file[: at + 5] + struct.pack(">HH", height, width) + file[at + 9 :]


def with_scans(file, n):
    """A progressive JPEG whose last scan comes n times more."""
    body = file.removesuffix(b"\xff\xd9")
    return body + body[body.rindex(b"\xff\xda") :] * n + b"\xff\xd9"


def with_segment(file, marker, content):
    """A JPEG with one more segment behind its first marker."""
    return file[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content + file[2:]


def chunk(name, content):
    """A chunk of a PNG."""
    return len(content).to_bytes(4) + name + content + zlib.crc32(name + content).to_bytes(4)


def with_chunk(png, made, before=b"IDAT"):
    """A PNG with one chunk more, or several."""
    at = png.index(before) - 4
    return png[:at] + made + png[at:]


def recipe(
    crop="center",
    stored_px=64,
    input_px=64,
    lossless_up_to_px=256,
    max_pixels=50_000_000,
    colour_constancy="none",
):
    return Recipe(crop, stored_px, input_px, lossless_up_to_px, 95, max_pixels, colour_constancy)


def folder_of(root, files):
    """Write name: bytes below a folder."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root
