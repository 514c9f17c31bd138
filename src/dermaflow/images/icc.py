"""Colours as the file means them: what an embedded ICC profile says is applied, so that all are sRGB.

Telephones store Display P3, some cameras Adobe RGB. Read as sRGB, which is what the public releases are in,
the same lesion is paler, and the networks answer otherwise (docs/decisions/0016).
"""

import io
from typing import Final

import cv2
import numpy as np
from PIL import Image, ImageCms

from dermaflow.images.decode import Pixels

_TAGS: Final = slice(128, 132 + 100 * 12)
"""Bytes of a profile that name its parts; Little CMS reads 100 at most."""


def to_srgb(pixels: Pixels, profile: bytes | None) -> Pixels:
    """Return an image in sRGB.

    Args:
        pixels: shape (h, w, 3), BGR.
        profile: as `Header.profile`; None, one for other colours than RGB, or a damaged one: the values are
            taken for sRGB, as a browser takes them.
    """
    transform = None if profile is None else _transform(profile)
    if transform is None:
        return pixels
    rgb = Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
    converted = np.asarray(transform.apply(rgb), np.uint8)
    return np.asarray(cv2.cvtColor(converted, cv2.COLOR_RGB2BGR), np.uint8)


def _transform(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """Return how colours are converted; None: the profile is damaged, or for other colours than RGB.

    Its chains of processing elements (tags D2Bx) are left out. They are only ever there beside the usual
    tags, and may name one element any number of times: a kilobyte that keeps Little CMS busy for hours.
    """
    named = profile[_TAGS].replace(b"D2B", b"---")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile[: _TAGS.start] + named + profile[_TAGS.stop :]))
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        return ImageCms.ImageCmsTransform(source, srgb, "RGB", "RGB")
    except (OSError, ValueError):
        return None
