"""Is the challenger worse than the champion? Both answered the same hold-out: a paired bootstrap.

Called at promotion. It can only hold a challenger back, never choose among several.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermaflow.errors import DataError
from dermaflow.evaluate import figures, intervals, members
from dermaflow.evaluate.answers import Answers
from dermaflow.evaluate.metrics import decide
from dermaflow.taxonomy import VIEWS, View


@dataclass(frozen=True)
class Comparison:
    """Challenger minus champion on the same hold-out; `worse` says that it is so beyond chance."""

    figures: dict[str, Any]
    worse: bool


def against_champion(
    champion: Path,
    challenger: Path,
    holdout: pd.DataFrame,
    cases: pd.DataFrame,
    *,
    bootstrap: int = 1000,
    seed: int = 2018,
) -> Comparison:
    """Compare two ensembles' files of predictions; see `challenge`.

    Args:
        champion: its outputs.ensemble_predictions, as kept with the bundle.
        challenger: the present one.
        holdout: outputs.holdout, which both were scored on.
        cases: outputs.cases.
        bootstrap: resamples of whole groups.
        seed: of the resamples.
    """
    old, new = pd.read_parquet(champion), pd.read_parquet(challenger)
    return challenge(old, new, holdout, cases, bootstrap=bootstrap, seed=seed)


def challenge(
    champion: pd.DataFrame,
    challenger: pd.DataFrame,
    holdout: pd.DataFrame,
    cases: pd.DataFrame,
    *,
    bootstrap: int = 1000,
    seed: int = 2018,
) -> Comparison:
    """Hold two tables of hold-out probabilities against each other, case by case.

    Returns:
        For `balanced_accuracy` (by the tables' decision scores; null if the views differ, for then the
        question differs) and `melanoma_auc`: champion, challenger, and their difference with its paired
        95 % interval, null for too few patients or lesions (`intervals.MIN_GROUPS`). `worse` if such an
        interval lies wholly below 0.

    Raises:
        DataError: a table lacks hold-out images, or is of no known view.
    """
    truth = members.labelled(cases, holdout, "hold_out")
    views = [_view(table) for table in (champion, challenger)]
    both = truth[[all(view.target(code) is not None for view in views) for code in truth.diagnosis]]
    old, new = (
        Answers.of(table[table.split == "hold_out"], view, np.ones(len(view.classes)), both)
        for table, view in zip((champion, challenger), views, strict=True)
    )
    weights = intervals.resample(new.groups, bootstrap, seed)
    pairs = {"melanoma_auc": (figures.melanoma_auc(old), figures.melanoma_auc(new))}
    if views[0] == views[1]:
        pairs["balanced_accuracy"] = (
            _balanced_accuracy(old, champion),
            _balanced_accuracy(new, challenger),
        )
    found: dict[str, Any] = {"balanced_accuracy": None, "cases": len(new)}
    worse = False
    ones = np.ones((1, len(new)), weights.dtype)
    for name, (before, after) in pairs.items():
        gap = figures.difference(after, before, weights)
        found[name] = {
            "champion": figures.plain(before(ones)[0]),
            "challenger": figures.plain(after(ones)[0]),
            "difference": gap,
        }
        worse |= gap["high"] is not None and gap["high"] < 0
    return Comparison(found, worse)


def _view(table: pd.DataFrame) -> View:
    classes = tuple(
        name.removeprefix("probability_") for name in table.columns if name.startswith("probability_")
    )
    for view in VIEWS.values():
        if view.classes == classes:
            return view
    raise DataError(
        f"the classes are those of no view: {', '.join(classes)}",
        "ensemble/predictions.parquet",
        "Run `dvc repro`.",
    )


def _balanced_accuracy(answers: Answers, table: pd.DataFrame) -> intervals.Weighted:
    classes = answers.view.classes
    scores = table.set_index("image_id").loc[answers.cases.image_id, [f"decision_{code}" for code in classes]]
    return intervals.balanced_accuracy(answers.target, decide(scores.to_numpy(np.float64)), len(classes))
