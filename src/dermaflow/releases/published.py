"""Read a published CSV as text, cell by cell, and refuse with file, row and remedy what can't be meant.

In: a folder of one release as it was given out (unpacked, in a folder of its own name, or in the official
zip). Out: a frame of stripped strings, and parsers that turn its cells into the project's words. Called by
the readers. Accepted, and said by `dermaflow data check` (see `noting`): a byte order mark, CRLF, blank rows,
`.jpg` behind ids, and what a reader notes itself (`note`). Further columns are left alone.
"""

import codecs
import csv
import gc
import io
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from dermaflow.errors import DataError, first_ten
from dermaflow.releases.rows import Columns
from dermaflow.sources import DAMAGED
from dermaflow.taxonomy import GONE, SEXES

MAX_AGE_YEARS = 120
_EXTENSION = re.compile(r"\.(jpe?g|png)$", re.IGNORECASE)
_WRONG_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_NOTES: ContextVar[list[str] | None] = ContextVar("notes", default=None)


@dataclass(frozen=True)
class Published:
    """One published table.

    Attributes:
        name: for messages.
        cells: stripped strings.
        numbers: of each row in the file, from 1 after the header; without them the rows are counted.
    """

    name: str
    cells: pd.DataFrame
    numbers: Sequence[int] = ()

    def __len__(self) -> int:
        """Count the data rows."""
        return len(self.cells)

    def rows(self, bad: "pd.Series[bool]") -> str:
        """Name the file and the first ten rows where `bad` is true."""
        found = np.flatnonzero(bad.to_numpy()) + 1
        found = np.asarray(self.numbers)[found - 1] if len(self.numbers) else found
        return f"{self.name}, row{'s' if len(found) > 1 else ''} {first_ten(found)}"

    def column(self, name: str) -> "pd.Series[str]":
        """Return a column, all empty if the file has none of this name."""
        if name in self.cells:
            return self.cells[name]
        return pd.Series("", index=self.cells.index, dtype="str")


@contextmanager
def noting() -> Iterator[list[str]]:
    """Collect what is accepted although it is not as published, of all tables read in this block."""
    notes: list[str] = []
    token = _NOTES.set(notes)
    try:
        yield notes
    finally:
        _NOTES.reset(token)


def note(name: str, what: str) -> None:
    """Say what of a table is accepted although it is not as published (see `noting`).

    Args:
        name: of the table.
        what: is accepted.
    """
    notes = _NOTES.get()
    if notes is not None:
        notes.append(f"{name}: {what}")


def find(folder: Path, names: Sequence[str], within: Sequence[str] = ()) -> Path | None:
    """Return the first of these tables that a release's folder holds, or None.

    Each may lie in the folder itself, in a folder of its own name (an unpacked zip), or in an official zip.

    Args:
        folder: data/<release>.
        names: the file's names over the years, the commonest first.
        within: zips of images that may hold the table too; they are returned only if they do.
    """
    for name in names:
        stem = Path(name).stem
        for path in (folder / name, folder / stem / name):
            if path.is_file():
                return path
        packed = folder / f"{stem}.zip"
        if packed.is_file() and _inside(packed, names):  # images may be packed as test.zip too
            return packed
    for name in within:
        path = folder / name
        if path.is_file() and _inside(path, names):
            return path
    return None


def _inside(path: Path, names: Sequence[str]) -> list[str]:
    try:
        with zipfile.ZipFile(path) as box:
            items = box.namelist()
    except (OSError, *DAMAGED):
        raise DataError("not a whole zip file", path.name, "Download the archive again.") from None
    return [item for item in items if Path(item).name in names and "__MACOSX" not in item]


def read(
    folder: Path,
    names: Sequence[str],
    columns: Mapping[str, Sequence[str]],
    *,
    more: Sequence[str] = (),
    required: bool = True,
    within: Sequence[str] = (),
) -> Published | None:
    """Read one published table.

    Args:
        folder: data/<release>.
        names: the file's names over the years, the commonest first.
        columns: our name to the published names of each column that must be there; taken in any case.
        more: columns that count if they are there; in any case, too.
        required: whether the table's absence is an error.
        within: see `find`.

    Returns:
        Cells as published but stripped, under our column names; other columns keep theirs, and one that has
        a name of ours is left out. None if absent and not required. The column `image_id`, if asked for,
        holds ids without extension, each once.

    Raises:
        DataError: the table is absent, empty, not separated by commas, lacks a column or repeats an id.
    """
    path = find(folder, names, within)
    if path is None:
        if not required:
            return None
        raise DataError(
            f"no {names[0]}",
            str(folder),
            "Download it from challenge.isic-archive.com (`dermaflow data download`) into this folder.",
        )
    name, text = _text(path, names)
    table = _table(name, text, tabs=path.suffix in {"", ".tab", ".tsv"})
    renamed = replace(table, cells=_rename(table, columns, more))
    return _with_ids(renamed) if "image_id" in columns else renamed


def _text(path: Path, names: Sequence[str]) -> tuple[str, str]:
    """Return a table's name for messages, and its text without the byte order mark."""
    name = path.name
    try:
        if path.suffix == ".zip":
            inside = _inside(path, names)[0]
            name = f"{name}/{Path(inside).name}"
            with zipfile.ZipFile(path) as box:
                content = box.read(inside)
        else:
            content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"byte {error.object[error.start]:#04x} is not UTF-8",
            f"{name}, line {line}",
            "Save the table as CSV in UTF-8 (not UTF-16, not Excel).",
        ) from None
    except (OSError, *DAMAGED) as error:
        raise DataError(f"can't be read: {error}", name, "Download it again.") from None
    if content.startswith(codecs.BOM_UTF8):
        note(name, "a byte order mark")
    if b"\r\n" in content:
        note(name, "lines that end in CRLF")
    return name, text


def _table(name: str, text: str, *, tabs: bool) -> Published:
    """Split a text into cells; each row must have as many as the header."""
    with _no_collector():  # of 500,000 rows it would walk through eight million cells again and again
        return _cells(name, text, tabs=tabs)


@contextmanager
def _no_collector() -> Iterator[None]:
    """Switch the garbage collector off for this block, if it is on."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _cells(name: str, text: str, *, tabs: bool) -> Published:
    tabs = tabs and "\t" in text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if tabs else ",", skipinitialspace=True)
    try:
        every = list(reader)
    except csv.Error as error:
        raise DataError(
            f"no table can be made of it ({error})",
            f"{name}, line {reader.line_num}",
            "Look for a quote that is never closed, before or on that line.",
        ) from None
    broken = reader.line_num - len(every)
    if broken and _open_quote(text, reader.dialect.delimiter):
        first = next(place for place, line in enumerate(every) if any(cell.strip() for cell in line))
        row = len(every) - 1 - first
        more = every[-1][-1].rstrip().count("\n")
        raise DataError(
            f"a quote is never closed: {more} more lines, to the end of the file, stand within one cell",
            f"{name}, row {row}" + (" (header)" if row == 0 else ""),
            "Close or remove it; the slip may be a quote of an earlier row.",
        )
    if broken:
        note(name, f"{broken} line breaks within cells")
    places = [place for place, line in enumerate(every) if any(cell.strip() for cell in line)]
    lines = [every[place] for place in places]
    if not lines:
        raise DataError("the file is empty", name, "Download it again.")
    if len(lines) < len(every):
        note(name, f"{len(every) - len(lines)} blank rows, left out")
    header = [cell.strip() for cell in lines[0]]
    if len(header) == 1:
        for sign, word in _WRONG_DELIMITERS.items():
            if sign in header[0]:
                raise DataError(
                    f"the columns are separated by {word}", f"{name}, row 0 (header)", "Save it with commas."
                )
    lower = [title.lower() for title in header]  # columns are known in any case
    twice = sorted({title for title in header if title and lower.count(title.lower()) > 1})
    if twice:
        raise DataError(
            f"columns stand twice: {first_ten(twice)}", f"{name}, row 0 (header)", "Leave one of each."
        )
    if len(lines) == 1:
        raise DataError("a header and no row", name, "Download it again.")
    numbers = [place - places[0] for place in places[1:]]
    for number, line in zip(numbers, lines[1:], strict=True):
        if len(line) != len(header):
            raise DataError(
                f"{len(line)} cells where the header has {len(header)}",
                f"{name}, row {number}",
                "Mend or remove the row; a comma inside a cell needs quotes around the cell.",
            )
        if broken and any(_holds_rows(cell, len(header), reader.dialect.delimiter) for cell in line):
            raise DataError(
                "a cell holds whole rows: a quote that is never closed, and another further down",
                f"{name}, row {number}",
                "Close or remove both.",
            )
    columns = zip(*lines[1:], strict=True)
    frame = pd.DataFrame(
        {
            title: pd.Series(cells, dtype="str").str.strip()
            for title, cells in zip(header, columns, strict=True)
        }
    )
    return Published(name, frame, numbers)


def _holds_rows(cell: str, columns: int, delimiter: str) -> bool:
    return "\n" in cell and cell.count(delimiter) >= columns - 1


def _open_quote(text: str, delimiter: str) -> bool:
    """Tell whether a quote is still open at the end of a text: then a row put behind it is no row."""
    end = ["end"]
    lines = io.StringIO(f"{text}\n{end[0]}", newline="")
    for line in csv.reader(lines, delimiter=delimiter, skipinitialspace=True):
        last = line
    return last != end


def _rename(table: Published, columns: Mapping[str, Sequence[str]], more: Sequence[str]) -> pd.DataFrame:
    known = {str(title).lower(): str(title) for title in table.cells}
    found: dict[str, str] = {}
    for ours, theirs in columns.items():
        title = next((known[word.lower()] for word in theirs if word.lower() in known), None)
        if title is None:
            raise DataError(
                f"no column {' or '.join(theirs)}; it has {first_ten(table.cells)}",
                f"{table.name}, row 0 (header)",
                "Take the table as published, with its header.",
            )
        found[title] = ours
    also = ((known.get(word.lower()), word) for word in more)
    found = {title: word for title, word in also if title is not None} | found
    taken = [title for title in table.cells if title in columns and title not in found]
    return table.cells.drop(columns=taken).rename(columns=found)


def _with_ids(table: Published) -> Published:
    ids = image_ids(table.cells["image_id"])
    changed = int((ids != table.cells["image_id"]).sum())
    if changed:
        note(table.name, f"{changed:,} image ids with a folder or an extension, taken off")
    empty = ids == ""
    if empty.any():
        raise DataError(f"{empty.sum()} rows name no image", table.rows(empty), "Give each row its image id.")
    again = ids.duplicated(keep=False)
    if again.any():
        raise DataError(
            f"{ids[again].nunique()} images are listed more than once: {first_ten(ids[again].unique())}",
            table.rows(again),
            "Leave one row an image.",
        )
    return replace(table, cells=table.cells.assign(image_id=ids))


def image_ids(cells: "pd.Series[str]") -> "pd.Series[str]":
    """Strip folders and the extension (.jpg, .jpeg, .png in any case) from image ids."""
    bare = cells.str.rsplit("/", n=1).str[-1] if cells.str.contains("/", regex=False).any() else cells
    return bare.str.replace(_EXTENSION, "", regex=True)


def aligned(table: Published, columns: Columns, ids: "pd.Series[str]") -> Columns:
    """Return columns of a second table in the order of the labelled images.

    Args:
        table: names the images of `columns`, row by row.
        columns: what was parsed of it.
        ids: the labelled images.

    Raises:
        DataError: the table lacks some of them.
    """
    absent = ids[~ids.isin(table.cells["image_id"])]
    if len(absent):
        raise DataError(
            f"{len(absent)} images of the ground truth are not in it: {first_ten(absent)}",
            table.name,
            "Take both files from the same download, or remove this one.",
        )
    frame = pd.DataFrame(columns).set_index(table.cells["image_id"])
    return {str(name): frame[name].reindex(ids).set_axis(ids.index) for name in frame}


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
    return _mapped(table, name, {word: word for word in SEXES} | {"f": "female", "m": "male"})


def sites(table: Published, words: Mapping[str, str | None], name: str = "site") -> "pd.Series[str]":
    """Return one of the six sites of taxonomy.SITES, or missing.

    Raises:
        DataError: a word that the release never used.
    """
    return _mapped(table, name, words)


def _mapped(table: Published, name: str, words: Mapping[str, str | None]) -> "pd.Series[str]":
    cells = text(table.column(name)).str.lower()
    strange = cells.notna() & ~cells.isin(list(words))
    if strange.any():
        raise DataError(
            f"{strange.sum()} cells of {name} hold unknown words: {first_ten(cells[strange].unique())}",
            table.rows(strange),
            f"Use one of {', '.join(words)}, or leave the cell empty.",
        )
    return cells.map(dict(words)).astype("str")
