"""Colours as the file means them: what an embedded ICC profile says is applied, so that all are sRGB.

Telephones store Display P3, some cameras Adobe RGB. Read as sRGB, which is what the public releases are in,
the same lesion is paler, and the networks answer otherwise (docs/decisions/0016).
"""

import io

import cv2
import numpy as np
from PIL import Image, ImageCms

from dermaflow.images.decode import Pixels


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
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        return ImageCms.ImageCmsTransform(source, srgb, "RGB", "RGB")
    except (OSError, ValueError):  # damaged, or for other colours than RGB
        return None
