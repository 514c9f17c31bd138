"""The well-known split of 46,425 and 11,606 images, rebuilt to show what it leaks; never trained on.

It stacks 2020's rows (without the first image of each official duplicate pair) on those of 2019 (without
one unreadable image) and takes the first 20 % of the rows, unshuffled, for validation: all of 2020.
Source: github.com/Tirth27/Skin-Cancer-Classification-using-Deep-Learning (its notebooks and data generator).
"""

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

UNREADABLE: Final = "ISIC_0066580"
SHARE: Final = 0.2
NEEDS: Final = ("isic2020", "isic2019")


def rebuild(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return its rows in order: image_id, patient_id, lesion_id, diagnosis, release, split.

    Args:
        tables: rows of outputs.releases; isic2019 and isic2020 must be among them.
    """
    train = {name: tables[name].loc[tables[name]["part"] == "train"].sort_values("row") for name in NEEDS}
    repeats = set(train["isic2020"]["duplicate_of"].dropna())
    stacked = pd.concat([train[name].assign(release=name) for name in NEEDS], ignore_index=True)
    stacked = stacked[~stacked["image_id"].isin(repeats | {UNREADABLE})].reset_index(drop=True)
    aside = stacked.index < int(len(stacked) * SHARE)
    stacked["split"] = pd.Series(aside, index=stacked.index).map({True: "hold_out", False: "train"})
    return stacked[["image_id", "patient_id", "lesion_id", "diagnosis", "release", "split"]]


def shown(tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Count what the split leaks, and what it tests on.

    Args:
        tables: rows of outputs.releases, a release.

    Returns:
        `legacy_split`: images in each part; patients and lesions of the validation part and how many of
        them are also trained on; the validation part's shares of the diagnoses. Nothing without its releases.
    """
    if not set(NEEDS) <= set(tables):
        return {}
    rows = rebuild(tables)
    aside = rows["split"] == "hold_out"
    leaks = {}
    for kind in ("patient", "lesion"):
        tested = set(rows.loc[aside, f"{kind}_id"].dropna())
        trained = set(rows.loc[~aside, f"{kind}_id"].dropna())
        leaks[f"{kind}s"] = {"tested": len(tested), "also_trained_on": len(tested & trained)}
    shares = rows.loc[aside, "diagnosis"].value_counts(normalize=True)
    found = {
        "images": {"train": int((~aside).sum()), "validation": int(aside.sum())},
        **leaks,
        "validation_diagnoses": {str(code): round(float(share), 4) for code, share in shares.items()},
    }
    return {"legacy_split": found}


def as_file(rows: pd.DataFrame, folds: int) -> pd.DataFrame:
    """Return the split in the form that `own` reads; training rows are dealt to the folds in turn."""
    fold = pd.Series(range(len(rows)), index=rows.index).mod(folds).astype("str")
    return pd.DataFrame(
        {
            "image": rows["image_id"],
            "split": rows["split"],
            "fold": fold.where(rows["split"] == "train", ""),
        }
    )
