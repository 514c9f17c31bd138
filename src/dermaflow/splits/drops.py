"""Which rows are not used, and why; each row gets the first reason that holds."""

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
    rows: pd.DataFrame, conflicts: str, missing_images: str, view: View | None
) -> tuple["pd.Series[str]", list[list[str]]]:
    """Say for each row why it is dropped.

    Args:
        rows: merged rows with image facts, sorted by image_id.
        conflicts: `drop` identical images with different diagnoses, or raise an `error`.
        missing_images: `drop` rows without a file, or raise an `error`.
        view: diagnoses that it leaves out are dropped; None keeps all.

    Returns:
        The reasons (missing: the row is kept), and the identical images with conflicting diagnoses.

    Raises:
        DataError: see `conflicts` and `missing_images`.
    """
    why = pd.Series(pd.NA, index=rows.index, dtype="str")
    why = why.mask(rows["duplicate_of"].isin(set(rows["image_id"])), OFFICIAL)
    absent = why.isna() & rows["store"].isna()
    if missing_images == "error" and absent.any():
        _refuse_missing(rows[absent])
    why = why.mask(absent, NO_FILE)
    why = why.mask(why.isna() & ~rows["readable"].eq(other=True), UNREADABLE)
    why, found = _identical(rows, why, conflicts)
    if view is not None:
        outside = ~rows["diagnosis"].isin(
            [code for code in rows["diagnosis"].unique() if view.target(code) is not None]
        )
        why = why.mask(why.isna() & outside, NOT_IN_VIEW)
    return why, found


def _refuse_missing(absent: pd.DataFrame) -> None:
    by_release = absent.groupby("release")["image_id"]
    lines = "; ".join(f"{name} {len(ids)}: {first_ten(ids)}" for name, ids in by_release)
    raise DataError(
        f"{len(absent)} listed images have no file ({lines})",
        "data/",
        "Add the files, or set ingest.missing_images: drop.",
    )


def _identical(
    rows: pd.DataFrame, why: "pd.Series[str]", conflicts: str
) -> tuple["pd.Series[str]", list[list[str]]]:
    """Of byte-identical images keep the one that says most; if their diagnoses differ, none."""
    alive = rows[why.isna()]
    alike = alive[alive["sha256"].duplicated(keep=False)]
    diagnoses = alike.groupby("sha256")["diagnosis"].transform("nunique")
    torn = alike[diagnoses > 1]
    found = sorted(sorted(ids) for _, ids in torn.groupby("sha256")["image_id"])
    if conflicts == "error" and found:
        raise DataError(
            f"{len(torn)} identical images have different diagnoses: "
            f"{first_ten('='.join(ids) for ids in found)}",
            "split",
            "Mend the labels, or set split.conflicts: drop.",
        )
    same = alike[diagnoses == 1]
    says = same[_FIELDS].notna().sum(axis=1)
    ordered = same.assign(gaps=-says).sort_values(["sha256", "gaps", "image_id"])
    repeats = ordered.index[ordered["sha256"].duplicated()]
    why = why.copy()
    why.loc[torn.index] = CONFLICT
    why.loc[repeats] = IDENTICAL
    return why, found
