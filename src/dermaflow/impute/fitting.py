"""Fit the imputer on training rows, and fill a table with it.

In: training rows of cases (never the hold-out). Out: the values, and how much was missing. `apply_table`
fills each row by `apply.Imputer.fill`, as the service fills a patient.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import pandas as pd

from dermaflow import outputs
from dermaflow.errors import DataError
from dermaflow.impute.apply import Alike, Imputer, Patient
from dermaflow.impute.params import ImputeParams

COLUMNS: Final = {"age": "age_years", "sex": "sex", "site": "site"}


@dataclass(frozen=True)
class Fitted:
    """An imputer and what it was fitted on.

    Attributes:
        imputer: the values.
        rows: number of training rows.
        missing: how many of them lack age, sex, site; by release.
        rules: how each field is filled.
    """

    imputer: Imputer
    rows: dict[str, int]
    missing: dict[str, dict[str, int]]
    rules: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return the values and the counts; `Imputer.from_json` reads it."""
        total = sum(self.rows.values())
        missing = {name: sum(counts.values()) for name, counts in self.missing.items()}
        return {
            **self.imputer.to_json(),
            "rules": self.rules,
            "fitted_on_rows": total,
            "missing": missing,
            "missing_share": {name: round(count / total, 6) for name, count in missing.items()},
            "missing_share_by_release": {
                name: {release: round(count / self.rows[release], 6) for release, count in counts.items()}
                for name, counts in self.missing.items()
            },
        }


def fit(train_rows: pd.DataFrame, params: ImputeParams) -> Fitted:
    """Find what stands in for a missing age, sex and site.

    Args:
        train_rows: rows of outputs.cases with split `train`.
        params: section `impute`.

    Raises:
        DataError: a row is not of the training split, there is none, a column has more gaps than allowed,
            or no value at all.
    """
    strangers = train_rows["split"] != "train"
    if strangers.any() or train_rows.empty:
        what = (
            f"{strangers.sum()} rows are not of the training split" if strangers.any() else "no training row"
        )
        raise DataError(what, "impute", "Fit on the rows with split == train alone.")
    rows = {str(name): int(count) for name, count in train_rows.groupby("release").size().items()}
    missing = {name: _missing(train_rows, column) for name, column in COLUMNS.items()}
    _refuse_gaps(rows, missing, params)
    ages = train_rows["age_years"].dropna().astype("float64").sort_values()  # one order, one sum
    age = {"mean": ages.mean(), "median": ages.median(), "knn": ages.mean(), "constant": params.constants.age}
    words = {
        name: getattr(params.constants, name)
        if getattr(params, name) == "constant"
        else _commonest(train_rows[name])
        for name in ("sex", "site")
    }
    return Fitted(
        Imputer(round(float(age[params.age]), 4), words["sex"], words["site"], _alike(train_rows, params)),
        rows,
        missing,
        {name: getattr(params, name) for name in COLUMNS},
    )


def apply_table(imputer: Imputer, cases: pd.DataFrame) -> pd.DataFrame:
    """Fill the patient fields of all cases.

    Args:
        imputer: the fitted values.
        cases: rows of outputs.cases in train or hold_out.

    Returns:
        Rows of outputs.patients, in the order of `cases`.
    """
    filled = cases[["image_id", *COLUMNS.values()]].reset_index(drop=True)
    for name, column in COLUMNS.items():
        filled[f"{name}_missing"] = filled[column].isna()
    gaps = filled[list(COLUMNS.values())].isna().any(axis=1)
    fill = cache(imputer.fill)  # few different patients have gaps
    whole = [fill(patient) for patient in as_patients(filled[gaps])]
    for column in COLUMNS.values():
        filled.loc[gaps, column] = [getattr(patient, column) for patient in whole]
    return outputs.patients.check(filled)


def as_patients(rows: pd.DataFrame) -> list[Patient]:
    """Return the columns age_years, sex and site as patients, one a row."""
    return [
        Patient(*(None if pd.isna(value) else value for value in known))
        for known in rows[list(COLUMNS.values())].itertuples(index=False)
    ]


def _missing(train_rows: pd.DataFrame, column: str) -> dict[str, int]:
    """Count the gaps of a column in each release."""
    counts = train_rows[column].isna().groupby(train_rows["release"]).sum()
    return {str(release): int(count) for release, count in counts.items()}


def _refuse_gaps(rows: dict[str, int], missing: dict[str, dict[str, int]], params: ImputeParams) -> None:
    """Raise if a column has no value to learn from, or more gaps in a release than is allowed."""
    total = sum(rows.values())
    for name, counts in missing.items():
        if sum(counts.values()) == total and getattr(params, name) != "constant":
            raise DataError(
                f"no training row has a value in {COLUMNS[name]}",
                "cases.parquet",
                f"Add the table with patient data to the release, or set impute.{name}: constant (and "
                f"impute.exceptions.{name}).",
            )
        for release, count in counts.items():
            share = count / rows[release]
            allowed = params.exceptions.get(name, {}).get(release, params.max_missing)  # type: ignore[call-overload]
            if share > allowed:
                raise DataError(
                    f"{name} is missing in {share:.2%} of the training rows of {release} "
                    f"({count:,} of {rows[release]:,}); {allowed:.2%} is the limit",
                    f"cases.parquet, {COLUMNS[name]}",
                    f"Add the table that has it, or declare the exception: impute.exceptions.{name}."
                    f"{release}: {share + 0.005:.2f}",
                )


def _alike(train_rows: pd.DataFrame, params: ImputeParams) -> Alike | None:
    """Count the different complete patients, if a column is filled from them."""
    columns = params.by_neighbours()
    if not columns:
        return None
    complete = train_rows[list(COLUMNS.values())].dropna()
    counts = complete.groupby(list(COLUMNS.values())).size().reset_index(name="rows")
    if counts.empty:
        raise DataError(
            "no training row has age, sex and site", "cases.parquet", "Use another rule than knn in impute."
        )
    cells = tuple(
        (float(age), str(sex), str(site), int(rows))
        for age, sex, site, rows in counts.itertuples(index=False)
    )
    return Alike(columns, params.neighbours, cells)


def _commonest(values: "pd.Series[str]") -> str:
    """Return the most frequent value, the first by name of several."""
    counts = values.value_counts()
    return min(str(name) for name in counts.index[counts == counts.max()])
