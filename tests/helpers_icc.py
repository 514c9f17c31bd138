"""ICC profiles of three primaries and a curve, and images in their colours, from the published numbers."""

import struct

import numpy as np

SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)  # IEC 61966-2-1
ADOBE_GAMMA = 563 / 256

SRGB_XYZ = np.array(  # columns: the primaries red, green, blue under D65
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
P3_XYZ = np.array(
    [[0.4865709, 0.2656677, 0.1982173], [0.2289746, 0.6917385, 0.0792869], [0.0, 0.0451134, 1.0439444]]
)
ADOBE_XYZ = np.array(
    [[0.5767309, 0.1855540, 0.1881852], [0.2973769, 0.6273491, 0.0752741], [0.0270343, 0.0706872, 0.9911085]]
)
TO_D50 = np.array(  # Bradford, as ICC.1 wants it
    [
        [1.0478112, 0.0228866, -0.0501270],
        [0.0295424, 0.9904844, -0.0170491],
        [-0.0092345, 0.0150436, 0.7521316],
    ]
)


def in_display_p3(rgb):
    """The values with which a telephone stores what these sRGB pixels show."""
    return _encoded(_linear(rgb) @ (np.linalg.inv(P3_XYZ) @ SRGB_XYZ).T)


def in_adobe_rgb(rgb):
    light = _linear(rgb) @ (np.linalg.inv(ADOBE_XYZ) @ SRGB_XYZ).T
    return _bytes(np.clip(light, 0, 1) ** (1 / ADOBE_GAMMA))


def profile(primaries, *curve, colours=b"RGB ", padding=0, further=None):
    """An ICC.1:2010 display profile; `padding` makes it so many bytes longer."""
    columns = [tuple(column) for column in (TO_D50 @ primaries).T]
    white = (0.9642, 1.0, 0.8249)
    kind = {1: 0, 5: 3}[len(curve)]
    shape = struct.pack(">4sIHH", b"para", 0, kind, 0) + _s15(curve)
    tags = {
        b"desc": _text("drawn for a test"),
        b"cprt": _text("none"),
        b"wtpt": _xyz(white),
        **{name + b"XYZ": _xyz(column) for name, column in zip((b"r", b"g", b"b"), columns, strict=True)},
        **{name + b"TRC": shape for name in (b"r", b"g", b"b")},
        b"none": b"data" + bytes(8 + padding),
        **(further or {}),
    }
    start = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">IIII", start + len(body), 0, 4 << 24, 0)[:12] + b"mntr" + colours + b"XYZ "
    head = head.ljust(36, b"\0") + b"acsp"
    head = head.ljust(68, b"\0") + _s15(white)
    return head.ljust(128, b"\0") + table + body


def _linear(rgb):
    value = rgb / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _encoded(light):
    light = np.clip(light, 0, 1)
    return _bytes(np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055))


def _bytes(value):
    return np.rint(255 * value).astype(np.uint8)


def _s15(values):
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _xyz(values):
    return b"XYZ \0\0\0\0" + _s15(values)


def _text(text):
    return (
        b"mluc\0\0\0\0"
        + struct.pack(">II2s2sII", 1, 12, b"en", b"US", 2 * len(text), 28)
        + text.encode("utf-16-be")
    )


DISPLAY_P3 = profile(P3_XYZ, *SRGB_CURVE)
ADOBE_RGB = profile(ADOBE_XYZ, ADOBE_GAMMA)
SRGB = profile(SRGB_XYZ, *SRGB_CURVE)
