"""A table of patients from a CSV: image, age (years), sex, site; an empty cell is a missing value."""

import csv
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from dermaflow.errors import DataError, first_ten
from dermaflow.impute.apply import Patient
from dermaflow.serve.form import MAX_AGE_YEARS, age_years
from dermaflow.taxonomy import SEXES, SITES

COLUMNS: Final = ("image", "age", "sex", "site")
IMAGE_TYPES: Final = (".jpg", ".jpeg", ".png")


def read_metadata(source: Path) -> dict[str, Patient]:
    """Read a patient an image.

    Args:
        source: a CSV with the column image (an id or a file name) and any of age, sex, site.

    Raises:
        DataError: as `read_rows`, or an unknown word, or an age out of range; the message names the row.
    """
    rows = read_rows(source, COLUMNS, required=("image",))
    return {image: patient(cells, where) for image, (cells, where) in rows.items()}


def read_rows(
    source: Path, columns: Sequence[str], required: Sequence[str]
) -> dict[str, tuple[dict[str, str], str]]:
    """Read the cells of each image, without spaces around them, and where they stand.

    Args:
        source: a CSV with the column image (an id or a file name).
        columns: those that there may be; the cells of one that is absent are empty.
        required: those that there must be.

    Raises:
        DataError: no such file, no CSV in UTF-8, an unknown or missing column, a row with more cells than
            columns, an image listed twice; the message names the row.
    """
    if not source.is_file():
        raise DataError("no such file", str(source), "Give the path of a CSV file.")
    try:
        return _rows(source, columns, required)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"can't be read: {error}", source.name, "Save it as CSV in UTF-8.") from None


def patient(cells: Mapping[str, str], where: str) -> Patient:
    """Make a patient of a row's cells.

    Raises:
        DataError: an unknown word, or an age out of range.
    """
    return Patient(
        _age(cells["age"], where),
        _word("sex", cells["sex"], SEXES, where),
        _word("site", cells["site"], SITES, where),
    )


def image_id(name: str) -> str:
    """Return a file name without its image extension: a.JPG and a are the same image."""
    name = unicodedata.normalize("NFC", name)  # macOS may store a file's "ä" as two characters
    stem, dot, extension = name.rpartition(".")
    return stem if f"{dot}{extension}".lower() in IMAGE_TYPES else name


def _rows(
    source: Path, columns: Sequence[str], required: Sequence[str]
) -> dict[str, tuple[dict[str, str], str]]:
    with source.open(encoding="utf-8-sig", newline="") as opened:
        reader = csv.DictReader(opened, strict=True)
        lines = _lines(reader, source)
        _check_columns(list(reader.fieldnames or []), source, columns, required)
        rows: dict[str, tuple[dict[str, str], str]] = {}
        for row, where in lines:
            if None in row:  # where DictReader puts cells that no column has
                raise DataError(
                    f"it has more cells than the {len(reader.fieldnames or [])} columns",
                    where,
                    "Write 55.5, not 55,5; put a cell that holds a comma in quotes.",
                )
            cells = {name: (row.get(name) or "").strip() for name in columns}
            image = image_id(cells["image"])
            if not image or image in rows:
                problem = f"{image} is listed twice" if image else "no image is named"
                raise DataError(problem, where, "Give each image one line.")
            rows[image] = cells, where
    return rows


def _lines(reader: "csv.DictReader[str]", source: Path) -> Iterator[tuple[dict[str, str], str]]:
    """Yield each row and where it stands; one that runs over several lines swallows others."""
    begun = 2
    try:
        for row in reader:
            if any("\n" in str(cell) for cell in row.values()):
                raise csv.Error("a quote runs over several lines")  # noqa: TRY301 - told as the others
            yield row, f"{source.name}, line {reader.line_num}"
            begun = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            str(error), f"{source.name}, line {begun}", "Mend its quotes, or save it anew as CSV."
        ) from None


def _check_columns(found: list[str], source: Path, columns: Sequence[str], required: Sequence[str]) -> None:
    unknown = [name for name in found if name not in columns]
    if unknown or not set(required) <= set(found) or len(set(found)) != len(found):
        only = f"only {' and '.join(required)} {'is' if len(required) == 1 else 'are'} required"
        raise DataError(
            f"the columns are {first_ten(found)}",
            f"{source.name}, line 1",
            f"Name them {', '.join(columns)}; {only}.",
        )


def _age(text: str, where: str) -> float | None:
    if not text:
        return None
    age = age_years(text)
    if age is None:
        raise DataError(
            f"age is {text!r}", f"{where}, column age", f"Write years from 0 to {MAX_AGE_YEARS}, or nothing."
        )
    return age


def _word(name: str, text: str, allowed: tuple[str, ...], where: str) -> str | None:
    if text and text not in allowed:
        raise DataError(
            f"{name} is {text!r}",
            f"{where}, column {name}",
            f"Write one of: {', '.join(allowed)}; or nothing for a missing value.",
        )
    return text or None
