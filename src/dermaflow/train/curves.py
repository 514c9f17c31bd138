"""The training's curves as a picture that depends on the history alone."""

from pathlib import Path

from matplotlib.figure import Figure

from dermaflow.pictures import GREY, draw
from dermaflow.train.loop import Record


def plot(history: list[Record], best_epoch: int, out: Path) -> None:
    """Draw losses on the left, the monitored figures on the right, the best epoch as a line."""
    epochs = [record["epoch"] for record in history]
    panels = (("train_loss", "valid_loss"), ("accuracy", "balanced_accuracy", "melanoma_auc"))

    def paint(figure: Figure) -> None:
        for axes, names in zip(figure.subplots(1, len(panels)), panels, strict=True):
            for name in names:
                values = [float("nan") if record[name] is None else record[name] for record in history]
                axes.plot(epochs, values, marker="o", markersize=3, label=name.replace("_", " "))
            axes.axvline(best_epoch, color=GREY, linewidth=0.8, linestyle="--", label="best epoch")
            axes.set_xlabel("epoch")
            axes.locator_params("x", integer=True)
            axes.grid(alpha=0.3)
            axes.legend()

    out.write_bytes(draw(paint, 9, 3.2))
