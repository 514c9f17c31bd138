"""How often a hold-out was scored in this folder, over all runs: each different answer to it counts once.

Kept in reports/hold_out/, which is no DVC output: the same run gives the same outputs however often the
hold-out was opened before. It can't be made again, so `make clean` spares it. Logged to MLflow with each
scoring.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from filelock import FileLock

from dermaflow import outputs
from dermaflow.errors import DataError

FILE: Final = "hold_out/openings.json"
TELLING: Final = ("balanced_accuracy", "melanoma_auc", "log_loss")
"""Figures that tell one set of answers from another; no setting of the evaluation moves them."""


def note(folder: Path, holdout: str, by: str, metrics: Mapping[str, Any]) -> int:
    """Note one scoring, unless the same answers were noted before.

    Args:
        folder: reports/.
        holdout: digest of its rows (`outputs.Table.content`).
        by: who answered, e.g. `ensemble`.
        metrics: metrics.json.

    Returns:
        How often this hold-out was scored, this time included.
    """
    entry = {"by": by, **{name: metrics["hold_out"][name]["value"] for name in TELLING}}
    file = folder / FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):  # models may be evaluated side by side
        found = read(folder)
        mine = found.setdefault(holdout, [])
        if entry not in mine:
            mine.append(entry)
            outputs.write_json(file, found)
    return len(mine)


def count(folder: Path, holdout: str) -> int:
    """Return how often a hold-out was scored."""
    return len(read(folder).get(holdout, []))


def read(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return all scorings by the hold-out's content.

    Raises:
        DataError: the file is damaged.
    """
    file = folder / FILE
    try:
        return outputs.read_json(file) if file.exists() else {}
    except DataError as error:
        raise DataError(
            error.what, error.where, "Put a copy back, or remove it: the count of openings begins anew then."
        ) from None
