"""Find a published CSV and read it as text, cell by cell; refuse it with file, row and remedy.

In: a folder of one release as it was given out (unpacked, in a folder of its own name, or in the official
zip). Out: a frame of stripped strings, which `parse` turns into the project's words. Called by the readers.
Accepted, and said by `dermaflow data check` (see `notes`): a byte order mark, CRLF, blank rows, `.jpg` behind
ids, and what a reader notes itself. Further columns are left alone.
"""

import codecs
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from dermaflow.errors import DataError, first_ten
from dermaflow.releases import csvtext
from dermaflow.releases.notes import note
from dermaflow.releases.rows import Columns
from dermaflow.sources import DAMAGED

_EXTENSION = re.compile(r"\.(jpe?g|png)$", re.IGNORECASE)


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
    return [item for item in items if _base(item) in names and "__MACOSX" not in item]


def _base(item: str) -> str:
    """Return the file name of a zip's member; zips made on Windows may hold backslashes."""
    return Path(item.replace("\\", "/")).name


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
    table = Published(name, *csvtext.split(name, text, tabs=path.suffix in {"", ".tab", ".tsv"}))
    renamed = replace(table, cells=_rename(table, columns, more))
    return _with_ids(renamed) if "image_id" in columns else renamed


def _text(path: Path, names: Sequence[str]) -> tuple[str, str]:
    """Return a table's name for messages, and its text without the byte order mark."""
    name = path.name
    try:
        if path.suffix == ".zip":
            inside = _inside(path, names)[0]
            name = f"{name}/{_base(inside)}"
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
