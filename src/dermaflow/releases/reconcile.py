"""Merge the releases: one row an image of their training parts.

The label comes from 2019 where it lists the image (AKIEC of 2018 is AK or SCC there), then 2020, then 2018,
then the archive's collections in the order of params; only 2018's unresolved AKIEC gives way to whoever says
AK or SCC. The patient's fields come from the fuller row, its gaps filled from the other. `release` is the
first release, in the order of params, that lists the image, so that a merged table can be told apart by where
an image was first published.

2019 gives some of the archive's images out smaller, under their id and `_downsampled`. Where a collection
lists such an image by its own id it is a repeat of 2019's, as an official duplicate is.

The archive has patient and lesion ids of its own: a lesion that is HAM_0000118 in 2018 may be IL_7252831
there. Where one image carries two ids they mean the same lesion, so all its images get one of them; else
two pictures of one lesion could stand in two splits. Rows that give no label count there too: a picture that
a collection sets aside still shows that patient's lesion.
"""

from collections.abc import Mapping
from typing import Final

import pandas as pd

from dermaflow.errors import DataError
from dermaflow.taxonomy import REDUCED

LABEL_RANK: Final = {"isic2019": 0, "isic2020": 1, "isic2018": 2}
"""Whose label wins for a shared image: the lowest."""

LABEL: Final = ["raw_label", "diagnosis", "rule_id"]
FIELDS: Final = [
    "age_years",
    "sex",
    "site",
    "patient_id",
    "lesion_id",
    "duplicate_of",
    "confirm_type",
    "centre",
]


def merge(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Merge the training parts of the releases; of rows set aside only the patient's fields count.

    Args:
        tables: rows of outputs.releases, a release, in the order of params.yaml.

    Returns:
        One row an image, sorted by image_id: image_id, release (the first that lists it), label_release
        (whose label was taken), raw_label, diagnosis, rule_id and FIELDS.

    Raises:
        DataError: no release, or a training row without a diagnosis.
    """
    if not tables:
        raise DataError("no release to merge", "params.yaml, releases", "Name at least one.")
    every = pd.concat(
        [
            table.assign(label_release=release, order=order)
            for order, (release, table) in enumerate(tables.items())
        ],
        ignore_index=True,
    )
    every["shown"] = _smaller_if_there(every["image_id"])
    every["rank"] = every["label_release"].map(LABEL_RANK).fillna(len(LABEL_RANK))
    for name in ("patient_id", "lesion_id"):
        every[name] = _one_id(every, name)
    labelled = every["part"] == "train"
    known = every["part"].isin(["train", "aside"]) & every["image_id"].isin(every["image_id"][labelled])
    stacked, labelled = every[known], labelled[known]
    unlabelled = labelled & stacked["diagnosis"].isna()
    if unlabelled.any():
        raise DataError(
            f"{unlabelled.sum()} training rows have no diagnosis",
            ", ".join(stacked.loc[unlabelled, "label_release"].unique()),
            "Mend the ground truth.",
        )
    stacked = stacked.assign(centre=stacked["centre"].replace("unknown", pd.NA))
    first = stacked[labelled].sort_values(["image_id", "order"]).drop_duplicates("image_id")
    names = first[["image_id", "shown", "label_release"]].rename(columns={"label_release": "release"})
    ranked = stacked.assign(rank=_label_rank(stacked))[labelled]
    labels = ranked.sort_values(["shown", "rank", "order"]).drop_duplicates("shown")  # of both sizes, 2019's
    names = names.join(labels.set_index("shown")[["label_release", *LABEL]], on="shown").drop(columns="shown")
    merged = names.set_index("image_id").join(_fields(stacked))
    merged["centre"] = merged["centre"].fillna("unknown")
    merged = merged.sort_index().reset_index()
    smaller = _smaller_if_there(merged["image_id"])
    return merged.assign(duplicate_of=merged["duplicate_of"].mask(smaller != merged["image_id"], smaller))


def _smaller_if_there(ids: "pd.Series[str]") -> "pd.Series[str]":
    """Return the id of each image's smaller copy, or its own where none is listed."""
    smaller = ids + REDUCED
    return smaller.where(smaller.isin(ids), ids)


def _label_rank(stacked: pd.DataFrame) -> "pd.Series[float]":
    """Return the rank of each row's label: AKIEC comes after an AK or SCC of the same image."""
    resolved = set(stacked.loc[stacked["diagnosis"].isin(["AK", "SCC"]), "image_id"])
    gives_way = (stacked["diagnosis"] == "AKIEC") & stacked["image_id"].isin(resolved)
    return stacked["rank"].mask(gives_way, float("inf"))


def _one_id(stacked: pd.DataFrame, name: str) -> "pd.Series[str]":
    """Give all ids that meet in an image one name: that of the release whose label ranks first."""
    given = stacked.loc[stacked[name].notna(), ["shown", name, "rank", "order"]]
    several = given.drop_duplicates(["shown", name]).sort_values(["rank", "order", "shown"])
    several = several[several["shown"].duplicated(keep=False)]
    if several.empty:
        return stacked[name]
    known_as: dict[str, str] = {}

    def end(word: str) -> str:
        while word in known_as:
            word = known_as[word]
        return word

    place = {word: number for number, word in enumerate(several[name].drop_duplicates())}
    for _, words in several.groupby("shown")[name]:
        first, *others = sorted({end(word) for word in words}, key=place.__getitem__)
        known_as |= dict.fromkeys(others, first)
    return stacked[name].map({word: end(word) for word in place}).fillna(stacked[name]).astype("str")


def _fields(stacked: pd.DataFrame) -> pd.DataFrame:
    """Return each image's patient fields: the fuller row's, gaps filled from the others."""
    filled = stacked[FIELDS].notna().sum(axis=1)
    ordered = stacked.assign(gaps=-filled).sort_values(["image_id", "gaps", "rank", "order"])
    once = ~ordered["image_id"].duplicated(keep=False)
    single = ordered.loc[once].set_index("image_id")[FIELDS]
    if once.all():
        return single
    return pd.concat([single, ordered.loc[~once].groupby("image_id")[FIELDS].first()])
