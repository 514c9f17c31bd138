"""Name what two splits share: which patient, lesion, group or pair, and where its images stand.

`certificate` counts and refuses; this says where to look. In: cases, pairs and the name of a split file.
Called by the stage certify alone, so that training does not depend on these words.
"""

from typing import Final

import pandas as pd

from dermaflow.errors import LeakError
from dermaflow.splits.certificate import refuse_leak
from dermaflow.splits.ledger import KINDS, bins

FEW: Final = 3
"""Ids of a kind that are named."""

_COLUMNS: Final = {"patient": "patient_id", "lesion": "lesion_id", "group": "group"}


def refuse(cases: pd.DataFrame, pairs: pd.DataFrame, file: str | None) -> None:
    """Refuse what `certificate.refuse_leak` refuses, and name what is shared.

    Args:
        cases: rows of outputs.cases.
        pairs: rows of outputs.pairs.
        file: the split file of people's own that dealt them, if there is one.

    Raises:
        LeakError: see there; with the first ids of each kind, and the file.
    """
    try:
        refuse_leak(cases, pairs)
    except LeakError as error:
        where = f"{error.where}, dealt by splits/{file}" if file else error.where
        named = shared(cases, pairs)
        what = f"{error.what}: {'; '.join(named)}" if named else error.what
        raise LeakError(what, where, error.remedy) from None


def shared(cases: pd.DataFrame, pairs: pd.DataFrame) -> list[str]:
    """Return a phrase for each of the first patients, lesions, groups and pairs that stand in two places.

    Args:
        cases: rows of outputs.cases.
        pairs: rows of outputs.pairs.
    """
    place = bins(cases)
    if not place.index.is_unique:  # an image that stands twice has no one place
        return []
    kept = cases[cases["split"] != "dropped"].set_index("image_id")
    joined = pairs[pairs["joined"]]
    told = []
    for kind in KINDS:
        if kind in _COLUMNS:
            told += _parted_ids(kept[_COLUMNS[kind]], place, kind)
        else:
            told += _parted_pairs(joined[joined["kind"] == kind], place, kind)
    return told


def _parted_ids(ids: "pd.Series[str]", place: "pd.Series[str]", kind: str) -> list[str]:
    """Name the first ids that stand in several places, each with one image a place."""
    firsts = pd.DataFrame({"id": ids, "place": place}).dropna().drop_duplicates()
    named = firsts["id"][firsts["id"].duplicated()].drop_duplicates().head(FEW)
    several = firsts[firsts["id"].isin(named)]
    return [
        f"{kind} {name} has " + " and ".join(f"{image} in {there}" for image, there in own["place"].items())
        for name, own in several.groupby("id", sort=False)
    ]


def _parted_pairs(pairs: pd.DataFrame, place: "pd.Series[str]", kind: str) -> list[str]:
    a, b = (pairs[side].map(place) for side in ("image_a", "image_b"))
    parted = pairs.assign(a=a, b=b)[a.notna() & b.notna() & (a != b)].head(FEW)
    return [
        f"{kind} pair {pair.image_a} in {pair.a} and {pair.image_b} in {pair.b}"
        for pair in parted.itertuples(index=False)
    ]
