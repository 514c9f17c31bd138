"""Turn a published table's cells into the project's words; refuse with row and remedy what can't be meant.

In: a table as published. Out: columns of diagnoses, ages, sexes, sites. Called by the readers.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dermaflow.errors import DataError, first_ten
from dermaflow.releases.published import Published
from dermaflow.taxonomy import GONE, SEXES

MAX_AGE_YEARS = 120


def one_hot(table: Published, classes: Sequence[str]) -> "pd.Series[str]":
    """Return each row's class from columns of 0 and 1.

    Raises:
        DataError: a cell is neither 0 nor 1, or a row has none or two classes set.
    """
    values = np.stack([_numbers(table, name) for name in classes], axis=1)  # (rows, classes)
    odd = ~np.isin(values, (0.0, 1.0))
    if odd.any():
        bad = pd.Series(odd.any(axis=1))
        row, column = np.argwhere(odd)[0]
        raise DataError(
            f"{bad.sum()} rows hold neither 0 nor 1, first {values[row, column]:g} in {classes[column]}",
            table.rows(bad),
            "A ground truth holds 0.0 and 1.0; a file of predictions is none.",
        )
    count = values.sum(axis=1)
    for wrong, say in ((count > 1, "two or more diagnoses"), (count < 1, "no diagnosis")):
        if wrong.any():
            bad = pd.Series(wrong)
            names = first_ten(table.cells["image_id"][bad])
            raise DataError(
                f"{bad.sum()} images have {say} set: {names}",
                table.rows(bad),
                "Leave a single 1 in each row.",
            )
    return pd.Series(np.asarray(classes)[values.argmax(axis=1)], index=table.cells.index, dtype="str")


def _numbers(table: Published, name: str) -> np.ndarray:
    values = pd.to_numeric(table.cells[name], errors="coerce")
    bad = values.isna()
    if bad.any():
        first = table.cells[name][bad].iloc[0]
        raise DataError(
            f"{bad.sum()} cells of {name} are no number, first {first!r}", table.rows(bad), "Put 0.0 or 1.0."
        )
    return values.to_numpy(np.float64)


def text(cells: "pd.Series[str]") -> "pd.Series[str]":
    """Return the cells with every word for "missing" turned into a missing value."""
    return cells.mask(cells.str.lower().isin(GONE))


def ages(table: Published, name: str = "age") -> "pd.Series[float]":
    """Return ages in years; missing where the cell is.

    Raises:
        DataError: an age is no number, or not 0 to 120.
    """
    cells = text(table.column(name))
    values = pd.to_numeric(cells, errors="coerce").astype("float32")
    no_number = cells.notna() & values.isna()
    if no_number.any():
        raise DataError(
            f"{no_number.sum()} ages are no number, first {cells[no_number].iloc[0]!r}",
            table.rows(no_number),
            "Give years as a number, or leave the cell empty.",
        )
    far = values.notna() & ~values.between(0, MAX_AGE_YEARS)
    if far.any():
        raise DataError(
            f"{far.sum()} ages are not 0 to {MAX_AGE_YEARS} years, first {values[far].iloc[0]:g}",
            table.rows(far),
            "Mend the age, or leave the cell empty.",
        )
    return values


def sexes(table: Published, name: str = "sex") -> "pd.Series[str]":
    """Return female, male or missing.

    Raises:
        DataError: another word.
    """
    return words(table, {word: word for word in SEXES} | {"f": "female", "m": "male"}, name)


def words(table: Published, meant: Mapping[str, str | None], name: str) -> "pd.Series[str]":
    """Return what each of a column's words means, such as a site of taxonomy.SITES; missing where it is.

    Args:
        table: holds the column.
        meant: by published word in lower case; None is missing.
        name: of the column.

    Raises:
        DataError: a word that the release never used.
    """
    cells = text(table.column(name)).str.lower()
    strange = cells.notna() & ~cells.isin(list(meant))
    if strange.any():
        raise DataError(
            f"{strange.sum()} cells of {name} hold unknown words: {first_ten(cells[strange].unique())}",
            table.rows(strange),
            f"Use one of {', '.join(meant)}, or leave the cell empty.",
        )
    return cells.map(dict(meant)).astype("str")
