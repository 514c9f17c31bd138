"""A contact sheet of look-alikes: the least sure of the confirmed pairs and the surest of the refused.

What to look at: confirmed pairs must show one lesion, refused ones two; else move split.near_correlation.
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


def near_duplicates(
    pairs: pd.DataFrame, facts: Mapping[str, pd.DataFrame], cells: Mapping[str, Cells], out: Path
) -> int:
    """Draw the pairs around the limit.

    Args:
        pairs: rows of outputs.pairs.
        facts: rows of outputs.facts, a release (column image_id).
        cells: reads each release's column of thumbnails.
        out: the PNG; a sheet that lies there is removed if there is no pair.

    Returns:
        Number of pairs drawn.
    """
    near = pairs[pairs["kind"] == "near"].sort_values(["correlation", "image_a", "image_b"])
    chosen = [
        ("confirmed", near[near["joined"]].head(PAIRS)),
        ("refused", near[~near["joined"]].iloc[::-1].head(PAIRS)),
    ]
    drawn = pd.concat([rows for _, rows in chosen])
    out.unlink(missing_ok=True)
    if drawn.empty:
        return 0
    thumbnails = _thumbnails(facts, cells, {*drawn["image_a"], *drawn["image_b"]})
    rows = sum(-(-len(found) // _ACROSS) for _, found in chosen)

    def paint(figure: Figure) -> None:
        grid = figure.subplots(rows, _ACROSS, squeeze=False)
        for axes in grid.flat:
            axes.axis("off")
        place = 0
        for kind, found in chosen:
            for axes, row in zip(grid.flat[place:], found.itertuples(), strict=False):
                between = np.full((SIDE, 2), 255, np.uint8)
                picture = np.hstack([thumbnails[str(row.image_a)], between, thumbnails[str(row.image_b)]])
                axes.imshow(picture, "gray", vmin=0, vmax=255)
                says = f"{kind}: {row.correlation:.3f}, {row.hamming} bits\n{row.image_a}\n{row.image_b}"
                axes.set_title(says, fontsize=7, color=BLUE if kind == "confirmed" else ORANGE)
            place += -(-len(found) // _ACROSS) * _ACROSS

    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(draw(paint, _ACROSS * 3.1, rows * 1.95))
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
