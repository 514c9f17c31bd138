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

from dermaflow.errors import DataError, first_ten
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

    Args:
        file: columns image (each once), split, fold; others are ignored.
        folds: how many the training rows are dealt into.

    Returns:
        `hold_out`, or the fold's number as text, by image id.

    Raises:
        DataError: there is no such file, or a row holds what can't be meant.
    """
    if not file.is_file():
        raise DataError(
            "no such file", f"params.yaml, split.file: {file.name}", "Put it into splits/, or set it to null."
        )
    table = published.read(file.parent, [file.name], COLUMNS)
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
    aside = split == "hold_out"
    wrong = (~aside & ~cells["fold"].isin(numbers)) | (aside & ~cells["fold"].isin(_NO_FOLD))
    if wrong.any():
        raise DataError(
            f"{wrong.sum()} rows have a fold that does not fit: {first_ten(cells['fold'][wrong].unique())}",
            table.rows(wrong),
            f"Write 0 to {folds - 1} in training rows and none in hold_out rows; params.yaml says how many "
            "folds there are (split.folds, or where that is null as many as folds names).",
        )
    return split.where(aside, cells["fold"]).set_axis(cells["image_id"])


def place(
    ids: "pd.Series[str]", own: "pd.Series[str]", kept: NDArray[np.bool_], folds: int
) -> NDArray[np.object_]:
    """Return hold_out, a fold number as text, or dropped, for each row.

    Args:
        ids: of all merged rows.
        own: what `read` returned.
        kept: shape (len(ids),), rows that nothing else drops; all of them are in `own`.
        folds: number of folds.

    Raises:
        DataError: the file lists images that no table has, or a fold or the hold-out is empty.
    """
    strangers = own.index.difference(pd.Index(ids))
    if len(strangers):
        raise DataError(
            f"{len(strangers):,} images are in no table: {first_ten(strangers)}",
            "the split file",
            "Take them out, or add the release that lists them to params.yaml.",
        )
    placed = np.where(kept, own.reindex(ids).to_numpy(), "dropped").astype(object)
    empty = [name for name in ("hold_out", *map(str, range(folds))) if name not in set(placed)]
    if empty:
        raise DataError(
            f"no image that can be used stands in {', '.join(empty)}",
            "the split file",
            "List images with a file for the hold-out and for every fold.",
        )
    return placed
