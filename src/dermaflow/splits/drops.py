"""Which rows are not used, and why; each row gets the first reason that holds.

A repeat is dropped for the sake of another image only: if that one can't be used either, the repeat stays.
"""

from typing import Final

import pandas as pd

from dermaflow.errors import DataError, first_ten
from dermaflow.taxonomy import View

OFFICIAL: Final = "official duplicate"
NO_FILE: Final = "no image file"
UNREADABLE: Final = "unreadable"
CONFLICT: Final = "conflicting labels"
IDENTICAL: Final = "identical image"
NOT_IN_VIEW: Final = "not in view"
NOT_LISTED: Final = "not in the split file"
ORDER: Final = (OFFICIAL, NO_FILE, UNREADABLE, CONFLICT, IDENTICAL, NOT_IN_VIEW, NOT_LISTED)

_FIELDS: Final = ["age_years", "sex", "site", "patient_id", "lesion_id", "confirm_type"]


def reasons(
    rows: pd.DataFrame,
    conflicts: str,
    missing_images: str,
    view: View | None,
    listed: "pd.Index[str] | None" = None,
) -> tuple["pd.Series[str]", list[list[str]]]:
    """Say for each row why it is dropped.

    Args:
        rows: merged rows with image facts, sorted by image_id.
        conflicts: `drop` identical images with different labels, or raise an `error`. Two diagnoses that are
            one class of the view are one label.
        missing_images: `drop` rows without a file, or raise an `error`.
        view: diagnoses that it leaves out are dropped; None keeps all, each a label of its own.
        listed: images that a split file lists, all others are dropped; None keeps all.

    Returns:
        The reasons (missing: the row is kept), and the identical images with conflicting diagnoses.

    Raises:
        DataError: see `conflicts` and `missing_images`; or a whole release has no file.
    """
    readable = rows["readable"].eq(other=True)
    codes = rows["diagnosis"].unique()
    labels = {code: code if view is None else view.label(code) for code in codes}
    inside = rows["diagnosis"].isin([code for code in codes if labels[code] is not None])
    label = rows["diagnosis"].map({code: labels[code] or code for code in codes})
    asked = rows["image_id"].isin(rows["image_id"] if listed is None else listed)

    why = pd.Series(pd.NA, index=rows.index, dtype="str")
    why = why.mask(_official(rows, readable & inside & asked), OFFICIAL)
    _refuse_release_without_images(rows)
    absent = why.isna() & rows["store"].isna()
    if missing_images == "error" and absent.any():
        _refuse_missing(rows[absent])
    why = why.mask(absent, NO_FILE)
    why = why.mask(why.isna() & ~readable, UNREADABLE)
    why, found = _identical(rows, why, conflicts, asked, label)
    why = why.mask(why.isna() & ~inside, NOT_IN_VIEW)
    return why.mask(why.isna() & ~asked, NOT_LISTED), found


def _official(rows: pd.DataFrame, usable: "pd.Series[bool]") -> "pd.Series[bool]":
    """Mark the repeats of official pairs, less those that stand in for a kept image that can't be used.

    Where the kept image's label is in conflict, the picture's is: its repeat stays dropped.
    """
    kept = rows["duplicate_of"]
    known = kept.isin(set(rows["image_id"]))
    instead = known & usable & ~kept.isin(set(rows["image_id"][usable]))
    instead &= ~kept.where(instead).duplicated()  # of several one is enough
    return known & ~instead


def _refuse_release_without_images(rows: pd.DataFrame) -> None:
    """A few may be missing, and all may lie in another release's folder; none at all is a folder mislaid."""
    none = rows["store"].isna().groupby(rows["release"], sort=False).all()
    if none.any():
        raise DataError(
            f"no image of {first_ten(none.index[none])} has a file, in its own folder or another release's",
            "data/",
            "`dermaflow data check data` says where they are looked for; else take it out of `releases`.",
        )


def _refuse_missing(absent: pd.DataFrame) -> None:
    by_release = absent.groupby("release")["image_id"]
    lines = "; ".join(f"{name} {len(ids)}: {first_ten(ids)}" for name, ids in by_release)
    raise DataError(
        f"{len(absent)} listed images have no file ({lines})",
        "data/",
        "Add the files, or set split.missing_images: drop.",
    )


def _identical(
    rows: pd.DataFrame,
    why: "pd.Series[str]",
    conflicts: str,
    asked: "pd.Series[bool]",
    label: "pd.Series[str]",
) -> tuple["pd.Series[str]", list[list[str]]]:
    """Of byte-identical images keep the one that says most, of those asked for; if labels differ, none.

    It may be of a later release than the one that is dropped, which may move groups (see `folds`).
    """
    alive = rows[why.isna()]
    alike = alive[alive["sha256"].duplicated(keep=False)]
    labels = label[alike.index].groupby(alike["sha256"]).transform("nunique")
    torn = alike[labels > 1]
    found = sorted(sorted(ids) for _, ids in torn.groupby("sha256")["image_id"])
    if conflicts == "error" and found:
        raise DataError(
            f"{len(torn)} identical images have different diagnoses: "
            f"{first_ten('='.join(ids) for ids in found)}",
            "split",
            "Mend the labels, or set split.conflicts: drop.",
        )
    same = alike[labels == 1]
    says = same[_FIELDS].notna().sum(axis=1)
    ordered = same.assign(gaps=-says, unasked=~asked[same.index])
    ordered = ordered.sort_values(["sha256", "unasked", "gaps", "image_id"])
    repeats = ordered.index[ordered["sha256"].duplicated()]
    why = why.copy()
    why.loc[torn.index] = CONFLICT
    why.loc[repeats] = IDENTICAL
    return why, found
