"""The two headline figures in the official views and in every subgroup: by whom, where and of whom."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermaflow.evaluate import figures, intervals
from dermaflow.evaluate.answers import Answers
from dermaflow.evaluate.members import UNKNOWN
from dermaflow.evaluate.params import EvaluateParams
from dermaflow.taxonomy import EIGHT, SEVEN

VIEWS: Final = {"isic2018_view": SEVEN, "isic2019_view": EIGHT}
"""The challenges' own classes, by the key in metrics.json."""

AGES: Final = {"under 30": 30, "30 to 44": 45, "45 to 59": 60, "60 to 74": 75, "75 and over": np.inf}
"""Age bands and their upper ends, years."""


def official_views(answers: Answers, told: Mapping[str, Answers], params: EvaluateParams) -> dict[str, Any]:
    """Figures in the seven classes of 2018 and the eight of 2019, over all cases and per centre.

    2018's images are those of centre HAM, Barcelona's those of centre BCN: `isic2018_view.HAM` and
    `isic2019_view.BCN` are the figures that compare with the challenges. A view that can't be made from
    the model's is null; too few cases, patients or lesions have a value without an interval, for resampling
    a handful says 1.000 to 1.000.

    Args:
        answers: as the service gives them, which is not told where an image is from.
        told: each named centre's cases, answered in the knowledge that they are its own: their figures
            stand under `told` beside those of `answers`, null for a centre without.
        params: section `evaluate`.
    """
    found: dict[str, Any] = {}
    for key, view in VIEWS.items():
        try:
            seen = answers.in_view(view)
        except ValueError:
            found[key] = None
            continue
        found[key] = {"all": _with_cases(seen, params)}
        for name, mask in masks(seen.cases.centre).items():
            knowing = _two(told[name].in_view(view), params) if name in told else None
            found[key][name] = {**_with_cases(seen.where(mask), params), "told": knowing}
    return found


def subgroups(answers: Answers, params: EvaluateParams) -> dict[str, dict[str, Any]]:
    """Figures per release, centre, sex, age, site, and with complete or missing patient data.

    Returns:
        For each key `by_...` the subgroups by name; one with too few cases, patients or lesions has null
        figures.
    """
    return {
        f"by_{name}": {
            value: _of_subgroup(answers.where(mask), params) for value, mask in masks(column).items()
        }
        for name, column in columns(answers.cases).items()
    }


def columns(cases: pd.DataFrame) -> Mapping[str, "pd.Series[Any]"]:
    """The columns that cases are split by, as far as they have them; missing cells are their own subgroup."""
    fields = cases[["age_years", "sex", "site"]]
    complete = fields.notna().all(axis=1)
    bands = pd.cut(cases.age_years, [-np.inf, *AGES.values()], right=False, labels=list(AGES))
    return {
        **{name: cases[name] for name in ("release", "centre") if name in cases},
        "sex": cases.sex,
        "age": bands.astype(object),
        "site": cases.site,
        "patient_data": complete.map({True: "complete", False: "something missing"}),
    }


def masks(column: "pd.Series[Any]") -> dict[str, NDArray[np.bool_]]:
    """One mask a value, in the order of the age bands or of the alphabet, `unknown` last."""
    filled = column.astype(object).where(column.notna(), UNKNOWN).astype(str)
    order = {name: place for place, name in enumerate([*AGES, "", UNKNOWN])}
    values = sorted(filled.unique(), key=lambda value: (order.get(value, len(AGES)), value))
    return {value: (filled == value).to_numpy() for value in values}


def _are_few(answers: Answers, params: EvaluateParams) -> bool:
    """Fewer than `min_cases` cases, or fewer than MIN_GROUPS patients or lesions behind them."""
    groups = np.unique(answers.groups).size
    return len(answers) < params.min_cases or groups < intervals.MIN_GROUPS


def _two(answers: Answers, params: EvaluateParams) -> dict[str, figures.Figure]:
    """Both headline figures; without intervals where the cases are few."""
    weights = figures.weights_of(answers, params)
    few: dict[str, float | None] = {"low": None, "high": None} if _are_few(answers, params) else {}
    kinds = {"balanced_accuracy": figures.balanced_accuracy, "melanoma_auc": figures.melanoma_auc}
    return {name: {**figures.figure(kind(answers), weights), **few} for name, kind in kinds.items()}


def _with_cases(answers: Answers, params: EvaluateParams) -> dict[str, Any]:
    found = {name: {**value, "cases": len(answers)} for name, value in _two(answers, params).items()}
    return {**found, "cases": len(answers), "absent_classes": answers.absent}


def _of_subgroup(answers: Answers, params: EvaluateParams) -> dict[str, Any]:
    if _are_few(answers, params):
        nothing = {"value": None, "low": None, "high": None}
        return {"balanced_accuracy": nothing, "melanoma_auc": nothing, "cases": len(answers)}
    return {
        **_two(answers, params),
        "cases": len(answers),
        "melanomas": int(answers.melanoma.sum()),
        "absent_classes": answers.absent,
    }
