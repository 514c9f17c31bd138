"""Split the text of a published CSV into cells, and refuse what is no table.

In: text, with the file's name for messages. Out: a frame of stripped strings, and each row's number in the
file. A quote that is never closed, which would swallow rows without a word, is found.
"""

import csv
import gc
import io
from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd

from dermaflow.errors import DataError, first_ten
from dermaflow.releases.notes import note

_WRONG_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}


@contextmanager
def _no_collector() -> Iterator[None]:
    """Switch the garbage collector off: it would walk through the cells of 500,000 rows again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@_no_collector()
def split(name: str, text: str, *, tabs: bool) -> tuple[pd.DataFrame, list[int]]:
    """Split a text into cells; each row must have as many as the header.

    Args:
        name: of the table, for messages.
        text: of the file.
        tabs: whether the columns may be separated by tabs (they are if the first line holds one).

    Returns:
        Stripped cells under the header's names, and each row's number in the file, from 1 after the header.

    Raises:
        DataError: the file is empty, not separated by commas, a quote is never closed, a column stands twice
            or a row has more or fewer cells than the header.
    """
    delimiter = "\t" if tabs and "\t" in text.partition("\n")[0] else ","
    every, broken = _parsed(name, text, delimiter)
    places = [place for place, line in enumerate(every) if _filled(line)]
    if not places:
        raise DataError("the file is empty", name, "Download it again.")
    if len(places) < len(every):
        note(name, f"{len(every) - len(places)} blank rows, left out")
    header = _header(name, every[places[0]])
    if len(places) == 1:
        raise DataError("a header and no row", name, "Download it again.")
    numbers = [place - places[0] for place in places[1:]]
    lines = [every[place] for place in places[1:]]
    for number, line in zip(numbers, lines, strict=True):
        if len(line) != len(header):
            raise DataError(
                f"{len(line)} cells where the header has {len(header)}",
                f"{name}, row {number}",
                "Mend or remove the row; a comma inside a cell needs quotes around the cell.",
            )
        if broken and any(_holds_rows(cell, len(header), delimiter) for cell in line):
            raise DataError(
                "a cell holds whole rows: a quote that is never closed, and another further down",
                f"{name}, row {number}",
                "Close or remove both.",
            )
    columns = zip(header, zip(*lines, strict=True), strict=True)
    cells = {title: pd.Series(column, dtype="str").str.strip() for title, column in columns}
    return pd.DataFrame(cells), numbers


def _parsed(name: str, text: str, delimiter: str) -> tuple[list[list[str]], int]:
    """Return all lines as cells, blank ones too, and how many line breaks stand within cells."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        every = list(reader)
    except csv.Error as error:
        raise DataError(
            f"no table can be made of it ({error})",
            f"{name}, line {reader.line_num}",
            "Look for a quote that is never closed, before or on that line.",
        ) from None
    if not any(map(_filled, every)):
        return every, 0
    broken = reader.line_num - len(every)
    if broken and _open_quote(text, delimiter):
        row = len(every) - 1 - next(place for place, line in enumerate(every) if _filled(line))
        more = every[-1][-1].rstrip().count("\n")
        raise DataError(
            f"a quote is never closed: {more} more lines, to the end of the file, stand within one cell",
            f"{name}, row {row}" + (" (header)" if row == 0 else ""),
            "Close or remove it; the slip may be a quote of an earlier row.",
        )
    if broken:
        note(name, f"{broken} line breaks within cells")
    return every, broken


def _filled(line: list[str]) -> bool:
    return any(cell.strip() for cell in line)


def _header(name: str, line: list[str]) -> list[str]:
    """Return the titles of the columns, each of which must stand once."""
    where = f"{name}, row 0 (header)"
    header = [cell.strip() for cell in line]
    if len(header) == 1:
        for sign, word in _WRONG_DELIMITERS.items():
            if sign in header[0]:
                raise DataError(f"the columns are separated by {word}", where, "Save it with commas.")
    lower = [title.lower() for title in header]  # columns are known in any case
    twice = sorted({title for title in header if title and lower.count(title.lower()) > 1})
    if twice:
        raise DataError(f"columns stand twice: {first_ten(twice)}", where, "Leave one of each.")
    return header


def _holds_rows(cell: str, columns: int, delimiter: str) -> bool:
    return "\n" in cell and cell.count(delimiter) >= columns - 1


def _open_quote(text: str, delimiter: str) -> bool:
    """Tell whether a quote is still open at the end of a text: then a row put behind it is no row."""
    end = ["end"]
    lines = io.StringIO(f"{text}\n{end[0]}", newline="")
    for line in csv.reader(lines, delimiter=delimiter, skipinitialspace=True):
        last = line
    return last != end
