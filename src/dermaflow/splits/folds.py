"""Deal groups: the hold-out first, then the folds.

Groups lie in strata of (the first release that holds one of their images, the rarest diagnosis of their
images there). Within a stratum they stand on a circle in the order of a hash of seed and first image id,
each as long as its images; the circle is cut at the shares. So the same images get the same split whatever
the order of rows, and the hold-out does not depend on the number of folds. A release that is added at the
end leaves every group of the others where it was, but in three cases. It joins two of them. Or it holds a
byte-identical copy of one of their images under another id that says more of the patient, and so is kept in
its place (see `drops`), or that has another label, so that both are dropped: the circle is then shorter by
that image, and groups near a cut may move. Or it takes 2018's AKIEC apart into AK and SCC: that numbers the
strata anew, and most groups change their place. A class that a bin lacks is then given to it from a bin with
two groups of the class or more.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermaflow.errors import DataError

HOLD_OUT = -1

RARE = 30
"""Of a class with fewer groups the hold-out gets its share counted in groups, not left to the circle."""


@dataclass(frozen=True)
class _Groups:
    """One row a group.

    Attributes:
        key: the first image id, of the images in the group's first release.
        size: how many images it has there.
        stratum: number of its stratum; strata of earlier releases come first.
        rarest: code of its rarest diagnosis.
        holds: shape (groups, classes), which diagnoses it holds at all.
    """

    key: NDArray[np.str_]
    size: NDArray[np.int64]
    stratum: NDArray[np.int64]
    rarest: NDArray[np.int64]
    holds: NDArray[np.bool_]


def assign(rows: pd.DataFrame, hold_out: float, folds: int, seed: int) -> NDArray[np.int64]:
    """Give each image its fold, or HOLD_OUT.

    Args:
        rows: image_id, group (0 to n-1), diagnosis, release_rank (0 is the first release in params).
        hold_out: share of the images to set aside, by whole groups.
        folds: number of folds of the rest.
        seed: another number deals anew.

    Returns:
        Shape (len(rows),): HOLD_OUT or 0 to folds-1.

    Raises:
        DataError: there are not enough groups to fill the hold-out and every fold.
    """
    groups = _summarise(rows)
    everyone = np.ones(len(groups.key), bool)
    aside = _deal(groups, everyone, [1 - hold_out, hold_out], f"{seed}:hold_out", count_out=True)
    place = np.full(len(groups.key), HOLD_OUT)
    stay = aside == 0
    place[stay] = _deal(groups, stay, [1 / folds] * folds, f"{seed}:folds", count_out=False)[stay]
    empty = sorted({HOLD_OUT, *range(folds)} - set(place.tolist()))
    if empty:
        names = ", ".join("the hold-out" if bin_ == HOLD_OUT else f"fold {bin_}" for bin_ in empty)
        raise DataError(
            f"{len(groups.key)} groups of images leave {names} empty",
            "split",
            "Use fewer folds, or add images.",
        )
    by_row: NDArray[np.int64] = place[rows["group"].to_numpy()]
    return by_row


def _summarise(rows: pd.DataFrame) -> _Groups:
    frame = rows[["image_id", "group", "release_rank"]].copy()
    codes, names = pd.factorize(rows["diagnosis"], sort=True)
    frame["code"] = codes
    holds = np.zeros((int(frame["group"].max()) + 1, len(names)), bool)
    holds[frame["group"], codes] = True

    # Rarity is counted within each release, so that a further release changes it by its labels only.
    count = frame.groupby(["release_rank", "code"]).size().rename("count").reset_index()
    count = count.sort_values(["release_rank", "count", "code"]).reset_index(drop=True)
    count["stratum"] = np.arange(len(count))
    frame = frame.merge(count, on=["release_rank", "code"], how="left")

    first = frame["release_rank"] == frame.groupby("group")["release_rank"].transform("min")
    own = frame[first].sort_values(["group", "stratum", "image_id"])
    by_group = own.groupby("group")
    return _Groups(
        key=by_group["image_id"].min().to_numpy(str),
        size=by_group.size().to_numpy().astype(np.int64),
        stratum=by_group["stratum"].first().to_numpy(),
        rarest=by_group["code"].first().to_numpy(),
        holds=holds,
    )


def _deal(
    groups: _Groups, take: NDArray[np.bool_], shares: list[float], salt: str, *, count_out: bool
) -> NDArray[np.int64]:
    """Return a bin for each group that is taken (-1 for the others).

    Args:
        groups: all groups.
        take: shape (groups,), those to deal.
        shares: of each bin; their sum is 1.
        salt: seed and purpose.
        count_out: the bins are training and hold-out; of a rare class count the groups.
    """
    cuts = np.cumsum(shares)[:-1]
    bins = np.full(len(groups.key), -1)
    have = np.zeros((len(shares), groups.holds.shape[1]), np.int64)  # groups of each class in each bin
    order = np.argsort([_unit(f"{salt}:{key}") for key in groups.key], kind="stable")
    order = order[take[order]]
    for stratum in np.unique(groups.stratum[take]):
        inside = order[groups.stratum[order] == stratum]
        size, code = groups.size[inside], int(groups.rarest[inside[0]])
        middle = (np.cumsum(size) - size / 2) / size.sum()
        spot = (middle + _unit(f"{salt}:stratum {stratum}")) % 1
        chosen = np.searchsorted(cuts, spot, "right")
        _cover(chosen, have[:, code])
        if count_out:
            _count_out(chosen, have[:, code], shares[1])
        bins[inside] = chosen
        np.add.at(have, chosen, groups.holds[inside].astype(np.int64))
    return bins


def _cover(chosen: NDArray[np.int64], before: NDArray[np.int64]) -> None:
    """Move groups of one stratum, in place, so that no bin lacks their class if that can be helped.

    Args:
        chosen: shape (groups of the stratum,), bins.
        before: shape (bins,), groups of the class that each bin has from earlier strata.
    """
    for bin_ in range(len(before)):
        here = np.bincount(chosen, minlength=len(before))
        total = before + here
        givers = np.flatnonzero((total > 1) & (here > 0))
        if total[bin_] == 0 and len(givers):
            giver = givers[np.argmax(total[givers])]
            chosen[np.flatnonzero(chosen == giver)[-1]] = bin_


def _count_out(chosen: NDArray[np.int64], before: NDArray[np.int64], share: float) -> None:
    """Move groups of a rare class, in place, so that the hold-out (bin 1) has its share of them.

    A lone group is trained on; of several the hold-out gets one at least, and no more than its share, so
    that the folds get one each. It does not depend on the number of folds.
    """
    groups = int(before.sum()) + len(chosen)
    if groups >= RARE:
        return
    wanted = max(int(share * groups + 0.5), 1 if groups > 1 else 0)
    extra = int(before[1] + np.count_nonzero(chosen == 1)) - wanted
    source, target = (1, 0) if extra > 0 else (0, 1)
    movable = np.flatnonzero(chosen == source)
    chosen[movable[len(movable) - min(abs(extra), len(movable)) :]] = target


def _unit(text: str) -> float:
    """Return a number from 0 to below 1 that is the text's own."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest()) / 2**48
