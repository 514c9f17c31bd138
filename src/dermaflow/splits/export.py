"""The single CSV that researchers ask for, and the story of a label. Called by the command line."""

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

from dermaflow.errors import DataError, first_ten
from dermaflow.taxonomy import PUBLISHED_VIEWS

_NAMES: Final = {
    "image_id": "image",
    "release": "release",
    "age_years": "age",
    "sex": "sex",
    "site": "site",
    "patient_id": "patient",
    "lesion_id": "lesion",
    "centre": "centre",
    "group": "group",
    "split": "split",
    "fold": "fold",
}
LABEL: Final = ["label_release", "raw_label", "rule_id"]


def require_same(cases: pd.DataFrame, merged: pd.DataFrame) -> None:
    """Refuse cases that were split from other releases than those merged.

    Args:
        cases: rows of outputs.cases.
        merged: what `releases.merge` returned.

    Raises:
        DataError: a case is in no release, or has another diagnosis there.
    """
    told = merged.set_index("image_id")["diagnosis"]
    own = cases.set_index("image_id")["diagnosis"]
    known = own.index.isin(told.index)
    differs = own.notna() & (own != told.reindex(own.index))
    if wrong := [*own.index[~known | differs]]:
        raise DataError(
            f"{len(wrong)} of its images are in no release that params.yaml names, or have another diagnosis "
            f"there: {first_ten(wrong)}",
            "outputs/cases.parquet",
            "Run `dvc repro split`, or name the releases that it was made of.",
        )


def export(cases: pd.DataFrame, merged: pd.DataFrame, holdout: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return one row an image that is trained or tested on.

    Args:
        cases: rows of outputs.cases.
        merged: what `releases.merge` returned: whose label was taken, and by which rule.
        holdout: rows of outputs.holdout, to give the hold-out's diagnoses away; None leaves them empty.

    Returns:
        image, release, diagnosis, view_2 to view_9 (taxonomy.PUBLISHED_VIEWS; empty where a view leaves the
        diagnosis out), label_release, raw_label, rule_id, age (years, as published), sex, site, patient,
        lesion, centre, group, split, fold; sorted by image.
    """
    kept = cases[cases["split"] != "dropped"].set_index("image_id", drop=False)
    diagnosis = kept["diagnosis"]
    story = merged.set_index("image_id")[LABEL].reindex(kept.index)
    if holdout is None:
        story = story.where(kept["split"] == "train")
    else:
        diagnosis = diagnosis.fillna(holdout.set_index("image_id")["diagnosis"])
    views = {
        f"view_{len(view.classes)}": diagnosis.map(view.label, na_action="ignore") for view in PUBLISHED_VIEWS
    }
    frame = kept.rename(columns=_NAMES)[list(_NAMES.values())]
    frame["fold"] = frame["fold"].astype("str").where(frame["split"] == "train", "")
    labels = pd.DataFrame({"diagnosis": diagnosis, **views, **story})
    joined = frame.join(labels)
    order = ["image", "release", *labels.columns, *list(_NAMES.values())[2:]]
    return joined[order].sort_values("image").reset_index(drop=True)


def story(
    image_id: str, tables: Mapping[str, pd.DataFrame], merged: pd.DataFrame, cases: pd.DataFrame
) -> dict[str, Any]:
    """Return what each release says of an image, what was made of it, and where it went.

    Args:
        image_id: which.
        tables: rows of outputs.releases, a release.
        merged: what `releases.merge` returned.
        cases: rows of outputs.cases.
    """
    says = {}
    for release, table in tables.items():
        own = table[table["image_id"] == image_id]
        if len(own):
            says[release] = _plain(own.iloc[0])
    kept = merged[merged["image_id"] == image_id]
    case = cases[cases["image_id"] == image_id]
    return {
        "image": image_id,
        "published": says,
        "merged": _plain(kept.iloc[0]) if len(kept) else None,
        "case": _plain(case.drop(columns="diagnosis").iloc[0]) if len(case) else None,
    }


def _plain(row: "pd.Series[Any]") -> dict[str, Any]:
    return {
        str(key): value.item() if hasattr(value, "item") else value
        for key, value in row.items()
        if not pd.isna(value)
    }
