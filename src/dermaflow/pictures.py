"""The look of all charts, and a PNG that depends on what is drawn alone (no time, no software version)."""

import io
from collections.abc import Callable
from typing import Final

import matplotlib as mpl
from matplotlib.figure import Figure

BLUE, ORANGE, GREY, INK = "#1f6f8b", "#d1603d", "#9aa5b1", "#1f2933"
STYLE: Final = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


def draw(paint: Callable[[Figure], None], width: float, height: float) -> bytes:
    """Return a PNG of what `paint` puts on a figure of that size, in inches."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        paint(figure)
        box = io.BytesIO()
        figure.savefig(box, format="png", dpi=120, metadata={"Software": None})
    return box.getvalue()
