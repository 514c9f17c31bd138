"""Fit the imputer on training rows, and fill a table with it.

In: training rows of cases (never the hold-out). Out: the values, and how much was missing. `apply_table`
does to a column what `apply.Imputer.fill` does to one patient (tested row by row).
"""

from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from dermaflow import outputs
from dermaflow.errors import DataError
from dermaflow.impute.apply import Imputer
from dermaflow.impute.params import ImputeParams

UNKNOWN: Final = "unknown"
COLUMNS: Final = {"age": "age_years", "sex": "sex", "site": "site"}


@dataclass(frozen=True)
class Fitted:
    """An imputer and what it was fitted on.

    Attributes:
        imputer: the values.
        rows: number of training rows.
        missing: how many of them lack age, sex, site.
        left_unknown: fields with too many gaps (or so asked) for a guess.
    """

    imputer: Imputer
    rows: int
    missing: dict[str, int]
    left_unknown: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the values and the counts; `Imputer.from_json` reads it."""
        return {
            **self.imputer.to_json(),
            "fitted_on_rows": self.rows,
            "missing": self.missing,
            "missing_share": {name: round(count / self.rows, 6) for name, count in self.missing.items()},
            "left_unknown": list(self.left_unknown),
        }


def fit(train_rows: pd.DataFrame, params: ImputeParams) -> Fitted:
    """Find what stands in for a missing age, sex and site.

    Args:
        train_rows: rows of outputs.cases with split `train`.
        params: section `impute`.

    Raises:
        DataError: a row is not of the training split, there is none, or a column has no value at all.
    """
    strangers = train_rows["split"] != "train"
    if strangers.any() or train_rows.empty:
        what = (
            f"{strangers.sum()} rows are not of the training split" if strangers.any() else "no training row"
        )
        raise DataError(what, "impute", "Fit on the rows with split == train alone.")
    missing = {name: int(train_rows[column].isna().sum()) for name, column in COLUMNS.items()}
    for name, count in missing.items():
        if count == len(train_rows):
            raise DataError(
                f"no training row has a value in {COLUMNS[name]}",
                "cases.parquet",
                f"Add the table with patient data to the release; a model can't learn from {name} without.",
            )
    ages = train_rows["age_years"].dropna().astype("float64").sort_values()
    age = float(ages.mean() if params.age == "mean" else ages.median())
    guesses = {}
    for name, rule in (("sex", params.sex), ("site", params.site)):
        gaps = missing[name] / len(train_rows)
        guesses[name] = (
            UNKNOWN if rule == UNKNOWN or gaps > params.max_missing else _commonest(train_rows[name])
        )
    return Fitted(
        Imputer(round(age, 4), guesses["sex"], guesses["site"]),
        len(train_rows),
        missing,
        tuple(name for name, guess in guesses.items() if guess == UNKNOWN),
    )


def apply_table(imputer: Imputer, cases: pd.DataFrame) -> pd.DataFrame:
    """Fill the patient fields of all cases.

    Args:
        imputer: the fitted values.
        cases: rows of outputs.cases in train or hold_out.

    Returns:
        Rows of outputs.patients, in the order of `cases`.
    """
    values: dict[str, Any] = {"age": imputer.age_years, "sex": imputer.sex, "site": imputer.site}
    filled: dict[str, Any] = {"image_id": cases["image_id"]}
    for name, column in COLUMNS.items():
        filled[column] = cases[column].fillna(values[name])
        filled[f"{name}_missing"] = cases[column].isna()
    return outputs.patients.check(pd.DataFrame(filled))


def _commonest(values: "pd.Series[str]") -> str:
    """Return the most frequent value, the first by name of several."""
    counts = values.value_counts()
    return min(str(name) for name in counts.index[counts == counts.max()])
