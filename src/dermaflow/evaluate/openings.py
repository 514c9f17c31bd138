"""How often a hold-out was scored in this folder, over all runs: each different answer to it counts once.

Kept in reports/hold_out/, which is no DVC output: the same run gives the same outputs however often the
hold-out was opened before. It can't be made again, so `make clean` spares it. Logged to MLflow with each
scoring.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from filelock import FileLock

from dermaflow import outputs

FILE: Final = "hold_out/openings.json"


def note(folder: Path, holdout: str, by: str, metrics: Mapping[str, Any]) -> int:
    """Note one scoring, unless the same figures were noted before.

    Args:
        folder: reports/.
        holdout: sha256 of outputs.holdout.
        by: who answered, e.g. `ensemble`.
        metrics: the figures that came out.

    Returns:
        How often this hold-out was scored, this time included.
    """
    figures = hashlib.sha256(json.dumps(metrics, sort_keys=True).encode()).hexdigest()
    entry = {"by": by, "figures": figures}
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


def read(folder: Path) -> dict[str, list[dict[str, str]]]:
    """Return all scorings by the sha256 of the hold-out."""
    file = folder / FILE
    return outputs.read_json(file) if file.exists() else {}
