"""A split that people bring themselves: a CSV with image, split and fold instead of our own deal.

In: the file. Out: where each image goes. Whether it leaks is not asked here: `certificate` holds
every split against the same law.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermaflow.errors import MOST, DataError, first_ten
from dermaflow.releases import published

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "image_id": ("image", "image_id", "isic_id", "image_name"),
    "split": ("split",),
    "fold": ("fold",),
}
"""Our names to the names that the file may use."""

WORDS: Final = {"train": "train", "training": "train", "hold_out": "hold_out", "test": "hold_out"}
_NO_FOLD: Final = frozenset({"", "-1"})


def read(file: Path, folds: int) -> "pd.Series[str]":
    """Read a split file.

    A fold may be written 0.0, 1.0: so pandas saves whole numbers in a column with gaps, and the hold-out's
    empty folds are gaps.

    Args:
        file: columns image (each once), split, fold; others are ignored.
        folds: how many the training rows are dealt into.

    Returns:
        `hold_out`, or the fold's number as text, by image id; in the order of the rows.

    Raises:
        DataError: there is no such file, or a row holds what can't be meant.
    """
    if not file.is_file():
        raise DataError(
            "no such file", f"params.yaml, split.file: {file.name}", "Put it into splits/, or set it to null."
        )
    try:
        table = published.read(file.parent, [file.name], COLUMNS)
    except DataError as error:  # its remedies are for tables that others published
        raise DataError(error.what, error.where, "Mend it: splits/README.md shows how it looks.") from None
    assert table is not None  # noqa: S101 - required tables are there or raise
    cells = table.cells
    split = cells["split"].str.lower().str.replace("[- ]", "_", regex=True).map(WORDS)
    strange = split.isna()
    if strange.any():
        raise DataError(
            f"{strange.sum()} rows have an unknown split: {first_ten(cells['split'][strange].unique())}",
            table.rows(strange),
            "Write train or hold_out.",
        )
    numbers = [str(number) for number in range(folds)]
    fold = cells["fold"].str.removesuffix(".0")
    aside = split == "hold_out"
    wrong = (~aside & ~fold.isin(numbers)) | (aside & ~fold.isin(_NO_FOLD))
    if wrong.any():
        raise DataError(
            f"{wrong.sum()} rows have a fold that does not fit: {first_ten(cells['fold'][wrong].unique())}",
            table.rows(wrong),
            f"Write 0 to {folds - 1} in training rows and none in hold_out rows; params.yaml says how many "
            "folds there are (split.folds, or where that is null as many as folds names).",
        )
    return split.where(aside, fold).set_axis(cells["image_id"])


def place(
    ids: "pd.Series[str]", own: "pd.Series[str]", why: "pd.Series[str]", folds: int, file: str | None = None
) -> NDArray[np.object_]:
    """Return hold_out, a fold number as text, or dropped, for each row.

    Args:
        ids: of all merged rows.
        own: what `read` returned.
        why: what drops each row; missing in rows that are kept, and all of these are in `own`.
        folds: number of folds.
        file: the split file's name, for messages.

    Raises:
        DataError: the file lists images that no table has, or a fold or the hold-out is empty.
    """
    name = file or "the split file"
    stranger = ~own.index.isin(ids)
    if stranger.any():
        raise DataError(
            f"{stranger.sum():,} images are in no table: {first_ten(own.index[stranger])}",
            published.Published(name, own.to_frame()).rows(pd.Series(stranger)),
            "Take them out, or add the release that lists them to params.yaml.",
        )
    placed = np.where(why.isna(), own.reindex(ids).to_numpy(), "dropped").astype(object)
    empty = [word for word in ("hold_out", *map(str, range(folds))) if word not in set(placed)]
    if empty:
        reason = why.set_axis(ids).reindex(own.index)
        told = [_dropped(word, (own == word).to_numpy(), reason) for word in empty[:MOST]]
        raise DataError(
            f"no image that can be used stands in {', '.join(empty)}: {'; '.join(told)}",
            name,
            "List images with a file for the hold-out and for every fold.",
        )
    return placed


def _dropped(word: str, listed: NDArray[np.bool_], reason: "pd.Series[str]") -> str:
    """Say which images a split file lists for a place, and why they are not used."""
    if not listed.any():
        return f"no row says {word}"
    rows = np.flatnonzero(listed)
    said = zip(reason.index[rows], rows + 1, reason.iloc[rows], strict=True)
    images = [f"{image} (row {row}, {why})" for image, row, why in said]
    return f"{len(rows):,} listed for {word} are dropped: {first_ten(images)}"
