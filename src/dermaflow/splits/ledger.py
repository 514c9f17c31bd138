"""What two splits or folds share: counted for ours (all zero, or it is a leak) and for a random split.

In: cases and pairs. Out: plain counts for ledger.json. `certificate` counts again with the same function.
"""

from itertools import combinations
from typing import Any, Final

import numpy as np
import pandas as pd

PAIRS: Final = ("official", "seen", "identical", "near")
"""Who says that two images are the same picture: a release, people (split.same_picture), bytes or pixels."""

KINDS: Final = ("patient", "lesion", "group", *PAIRS)
"""What must not be shared: ids, and pairs of the same picture."""


def bins(cases: pd.DataFrame) -> "pd.Series[str]":
    """Return `hold_out` or `fold <k>` for each case that is kept, by image id."""
    kept = cases[cases["split"] != "dropped"]
    names = kept["split"].where(kept["split"] == "hold_out", "fold " + kept["fold"].astype("str"))
    return names.set_axis(kept["image_id"])


def overlaps(
    cases: pd.DataFrame, pairs: pd.DataFrame, place: "pd.Series[str] | None" = None
) -> list[dict[str, Any]]:
    """Count what each two of hold-out and folds share.

    Args:
        cases: rows of outputs.cases.
        pairs: rows of outputs.pairs.
        place: another split of the kept cases than theirs (image id to bin).

    Returns:
        One entry for each two bins: `a`, `b` and for each of KINDS how many patients, lesions and groups
        stand in both, and how many joined pairs of images have one image in each. The last entry is
        `train` (all folds) and `hold_out`.
    """
    place = bins(cases) if place is None else place
    train = place.where(place == "hold_out", "train")
    kept = cases[cases["split"] != "dropped"].set_index("image_id")
    joined = pairs[pairs["joined"]]
    entries = []
    for names in (place, train):
        shared = {kind: _shared_ids(kept[f"{kind}_id"], names) for kind in ("patient", "lesion")}
        shared["group"] = _shared_ids(kept["group"], names)
        for kind in PAIRS:
            shared[kind] = _parted(joined[joined["kind"] == kind], names)
        for a, b in combinations(sorted(set(names), key=_order), 2):
            entries.append({"a": a, "b": b, **{kind: shared[kind].get((a, b), 0) for kind in KINDS}})
    return entries if len(set(place)) > 2 else entries[-1:]  # noqa: PLR2004 - one fold: train is that fold


def shares_with_train(
    cases: pd.DataFrame, place: "pd.Series[str]", tested: str = "hold_out"
) -> dict[str, Any]:
    """Return, by release, the share of tested images whose patient or lesion also stands outside `tested`.

    Only images with a known id count; a release without any is left out.
    """
    kept = cases[cases["split"] != "dropped"].set_index("image_id")
    aside = place.reindex(kept.index) == tested
    result: dict[str, Any] = {}
    for kind in ("patient", "lesion"):
        ids = kept[f"{kind}_id"]
        outside = set(ids[~aside].dropna())
        asked = aside & ids.notna()
        seen = ids[asked].isin(outside)
        for release, share in seen.groupby(kept["release"][asked]).mean().items():
            result.setdefault(str(release), {})[kind] = round(float(share), 4)
    return result


def random_place(cases: pd.DataFrame, seed: int) -> "pd.Series[str]":
    """Return a split of the same sizes that deals single images: what is usual, and leaks."""
    place = bins(cases).sort_index()
    dealt = np.random.default_rng(seed).permutation(place.to_numpy())
    return pd.Series(dealt, index=place.index, dtype="str")


def _order(name: str) -> tuple[bool, int, str]:
    number = name.removeprefix("fold ")
    return name == "hold_out", int(number) if number.isdigit() else 0, name


def _shared_ids(ids: "pd.Series[Any]", names: "pd.Series[str]") -> dict[tuple[str, str], int]:
    """Count the ids that stand in both of two bins."""
    titles = sorted(set(names), key=_order)
    column = names.reindex(ids.index).map({title: i for i, title in enumerate(titles)})
    known = ids.notna()
    codes, _ = pd.factorize(ids[known])
    stands = np.zeros((codes.max() + 1 if len(codes) else 0, len(titles)), np.int64)
    stands[codes, column[known].to_numpy(np.int64)] = 1
    both = stands.T @ stands
    return {(titles[i], titles[j]): int(both[i, j]) for i, j in combinations(range(len(titles)), 2)}


def _parted(pairs: pd.DataFrame, names: "pd.Series[str]") -> dict[tuple[str, str], int]:
    """Count the pairs with one image in each of two bins; a dropped image is in none."""
    a, b = (names.reindex(pairs[column]).to_numpy() for column in ("image_a", "image_b"))
    count: dict[tuple[str, str], int] = {}
    for one, other in zip(a, b, strict=True):
        if isinstance(one, str) and isinstance(other, str) and one != other:
            first, second = sorted((one, other), key=_order)
            count[first, second] = count.get((first, second), 0) + 1
    return count
