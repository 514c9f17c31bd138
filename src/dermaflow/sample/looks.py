"""What each diagnosis looks like under the dermatoscope, as drawn, and how clearly a lesion shows it.

Simplified from the usual pattern analysis (dermoscopedia.org; Kittler et al. 2016, Third consensus
conference of the International Dermoscopy Society). Colours are RGB 0 to 255, strengths 0 to 256.
"""

from dataclasses import dataclass
from typing import Final

from dermaflow.sample.integers import FULL, Stream

Colour = tuple[int, int, int]
Feature = tuple[int, int, int]
"""Chance in 1000 that a lesion shows it, and its strength from and to."""


@dataclass(frozen=True)
class Pattern:
    """The range of looks of one diagnosis.

    Attributes:
        centre: colour of the middle.
        rim: colour near the border.
        soft: width of the border, 1/256 of the radius: small is sharp.
        ragged: irregularity of the border.
        lobe: how far a second lobe stands out (asymmetry), 1/256 of the radius.
        features: dermoscopic features by name, drawn by `features.py`.
        mistaken_for: diagnoses whose features an unclear lesion borrows.
    """

    centre: Colour
    rim: Colour
    soft: int
    ragged: int
    lobe: int
    features: dict[str, Feature]
    mistaken_for: tuple[str, ...]


PATTERNS: Final = {
    "MEL": Pattern(
        (66, 46, 42), (124, 82, 58), 40, 90, 110,
        {
            "network": (500, 80, 200), "blotches": (900, 120, 240), "streaks": (650, 120, 256),
            "veil": (600, 110, 230), "dots": (600, 100, 240), "white_lines": (250, 60, 160),
            "regression": (300, 90, 200), "globules": (250, 80, 180),
        },
        ("NV", "NV", "BKL", "BCC"),
    ),
    "NV": Pattern(
        (112, 72, 50), (158, 110, 78), 70, 22, 24,
        {
            "network": (850, 90, 230), "globules": (450, 80, 220), "blotches": (120, 40, 120),
            "dots": (150, 50, 120),
        },
        ("MEL", "UNK", "UNK", "BKL", "DF"),
    ),
    "BCC": Pattern(
        (212, 150, 138), (206, 142, 130), 80, 46, 60,
        {
            "vessels": (850, 130, 256), "ulcer": (450, 110, 240), "leaves": (450, 110, 230),
            "nests": (500, 110, 240), "white_lines": (300, 60, 150),
        },
        ("SCC", "AK", "MEL", "NV"),
    ),
    "AK": Pattern(
        (204, 122, 108), (210, 136, 120), 150, 50, 50,
        {"strawberry": (850, 110, 250), "scale": (700, 80, 220), "coils": (100, 50, 120)},
        ("SCC", "BCC", "BKL"),
    ),
    "BKL": Pattern(
        (140, 106, 82), (126, 94, 72), 24, 44, 60,
        {
            "milia": (750, 120, 250), "comedones": (650, 120, 250), "fissures": (450, 90, 210),
            "network": (150, 40, 110), "scale": (150, 40, 110), "blotches": (150, 40, 110),
        },
        ("MEL", "NV", "AK"),
    ),
    "DF": Pattern(
        (182, 132, 106), (164, 114, 88), 150, 20, 20,
        {"white_patch": (900, 120, 250), "fine_rim": (850, 90, 220), "white_lines": (200, 60, 140)},
        ("NV", "UNK", "BCC"),
    ),
    "VASC": Pattern(
        (168, 56, 66), (178, 70, 76), 34, 34, 40,
        {"lacunae": (950, 140, 256), "veil": (200, 60, 150)},
        ("MEL", "BCC", "BCC"),
    ),
    "SCC": Pattern(
        (212, 136, 122), (206, 128, 114), 90, 60, 70,
        {
            "keratin": (850, 120, 250), "coils": (700, 110, 250), "hairpins": (500, 110, 240),
            "ulcer": (450, 110, 230), "scale": (400, 60, 180),
        },
        ("AK", "BCC", "BKL"),
    ),
    "UNK": Pattern(
        (182, 138, 104), (196, 156, 124), 110, 18, 20,
        {"network": (450, 30, 100), "globules": (150, 40, 90), "milia": (60, 40, 100)},
        ("NV", "NV", "BKL", "DF"),
    ),
}  # fmt: skip
"""One pattern a diagnosis; UNK is 2020's `unknown`: benign, pale and plain."""

RADIUS: Final = (84, 108)
"""Half a lesion's size in its texture, pixels; how large it looks is the photograph's affair."""

CLARITY: Final = ((52, 0, 50), (29, 55, 115), (19, 110, 165))
"""Share of the lesions in 100, and how much they borrow, from and to in 256; half would be a coin toss."""


@dataclass(frozen=True)
class Look:
    """One lesion's own look: the drawn values of its pattern, after borrowing from another."""

    centre: Colour
    rim: Colour
    soft: int
    ragged: int
    lobe: int
    radius: int
    strengths: dict[str, int]


def draw_look(diagnosis: str, stream: Stream) -> Look:
    """Draw a lesion's look.

    Each lesion borrows a share of its features, colours and shape from a diagnosis that it may be
    mistaken for; for some the share is large, and these can't be told by anyone.
    """
    own, other = PATTERNS[diagnosis], PATTERNS[stream.choice(PATTERNS[diagnosis].mistaken_for)]
    share = _borrowed(stream)
    strengths = _mixed_strengths(_strengths(own, stream), _strengths(other, stream), share)
    tint = stream.integer(-22, 22)
    tints = [tint + stream.integer(-9, 9) for _ in range(3)]

    def mix(a: int, b: int) -> int:
        return (a * (FULL - share) + b * share) // FULL

    def colour(a: Colour, b: Colour) -> Colour:
        red, green, blue = (max(10, min(245, mix(p, q) + t)) for p, q, t in zip(a, b, tints, strict=True))
        return red, green, blue

    spread = stream.integer(60, 150)
    return Look(
        centre=colour(own.centre, other.centre),
        rim=colour(own.rim, other.rim),
        soft=max(14, mix(own.soft, other.soft) * stream.integer(70, 140) // 100),
        ragged=mix(own.ragged, other.ragged) * spread // 100,
        lobe=mix(own.lobe, other.lobe) * stream.integer(20, 150) // 100,
        radius=stream.integer(*RADIUS),
        strengths=strengths,
    )


def _borrowed(stream: Stream) -> int:
    at = stream.integer(1, sum(part for part, _, _ in CLARITY))
    for part, low, high in CLARITY:
        at -= part
        if at <= 0:
            return stream.integer(low, high)
    return 0


def _strengths(pattern: Pattern, stream: Stream) -> dict[str, int]:
    drawn = {
        name: stream.integer(low, high)
        for name, (chance, low, high) in pattern.features.items()
        if stream.chance(chance)
    }
    if not drawn:  # every lesion shows something of what it is
        name, (_, low, _) = next(iter(pattern.features.items()))
        drawn[name] = low
    return drawn


def _mixed_strengths(own: dict[str, int], other: dict[str, int], share: int) -> dict[str, int]:
    names = sorted({*own, *other})
    return {name: (own.get(name, 0) * (FULL - share) + other.get(name, 0) * share) // FULL for name in names}
