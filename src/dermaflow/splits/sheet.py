"""A contact sheet of look-alikes: the least sure of the confirmed pairs and the surest of the refused.

What to look at: confirmed pairs must show one lesion, refused ones two; else move split.near_correlation.
Refused pairs of one group (a lesion's or a patient's by its id) are left out: they stand together anyway.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dermaflow.pictures import BLUE, ORANGE, draw
from dermaflow.splits.thumbnails import SIDE, Cells

PAIRS: Final = 24
"""Of each kind at most."""

_ACROSS: Final = 4
_WORDS: Final = 30
"""Room above a pair for three lines of words, in pixels of the thumbnails."""

_CELL: Final = (_WORDS + SIDE + 4, 2 * SIDE + 10)
"""Height and width of a pair with its words."""


def near_duplicates(
    pairs: pd.DataFrame,
    cases: pd.DataFrame,
    facts: Mapping[str, pd.DataFrame],
    cells: Mapping[str, Cells],
    out: Path,
) -> int:
    """Draw the pairs around the limit.

    Args:
        pairs: rows of outputs.pairs.
        cases: rows of outputs.cases.
        facts: rows of outputs.facts, a release (column image_id).
        cells: reads each release's column of thumbnails.
        out: the PNG; a sheet that lies there is removed if there is no pair.

    Returns:
        Number of pairs drawn.
    """
    near = pairs[pairs["kind"] == "near"].sort_values(["correlation", "image_a", "image_b"])
    group = cases.set_index("image_id")["group"]
    parted = near["image_a"].map(group) != near["image_b"].map(group)
    chosen = [
        ("confirmed", near[near["joined"]].head(PAIRS)),
        ("refused", near[~near["joined"] & parted].iloc[::-1].head(PAIRS)),
    ]
    drawn = pd.concat([rows for _, rows in chosen])
    out.unlink(missing_ok=True)
    if drawn.empty:
        return 0
    thumbnails = _thumbnails(facts, cells, {*drawn["image_a"], *drawn["image_b"]})
    height = sum(-(-len(found) // _ACROSS) for _, found in chosen)
    sheet = np.full((height * _CELL[0], _ACROSS * _CELL[1]), 255, np.uint8)
    words: list[tuple[int, int, str, str]] = []
    start = 0
    for kind, found in chosen:
        colour = BLUE if kind == "confirmed" else ORANGE
        for place, row in enumerate(found.itertuples(), start):
            y, x = place // _ACROSS * _CELL[0], place % _ACROSS * _CELL[1]
            for image, left in ((row.image_a, x), (row.image_b, x + SIDE + 2)):
                sheet[y + _WORDS : y + _WORDS + SIDE, left : left + SIDE] = thumbnails[str(image)]
            says = f"{kind}: {row.correlation:.3f}, {row.hamming} bits\n{row.image_a}\n{row.image_b}"
            words.append((x + SIDE, y + _WORDS - 3, says, colour))
        start += -(-len(found) // _ACROSS) * _ACROSS

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axis("off")
        axes.imshow(sheet, "gray", vmin=0, vmax=255, interpolation="nearest")
        for x, y, says, colour in words:
            axes.text(x, y, says, fontsize=7, color=colour, ha="center", va="bottom")

    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(draw(paint, sheet.shape[1] / 48, sheet.shape[0] / 48))
    return len(drawn)


def _thumbnails(
    facts: Mapping[str, pd.DataFrame], cells: Mapping[str, Cells], wanted: set[str]
) -> dict[str, NDArray[np.uint8]]:
    found = {}
    for release, table in facts.items():
        pixels = (cell for block in cells[release]() for cell in block)
        for image_id, cell in zip(table["image_id"], pixels, strict=True):
            if image_id in wanted:
                found[image_id] = np.frombuffer(cell, np.uint8).reshape(SIDE, SIDE)
    return found
