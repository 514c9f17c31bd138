"""Reconciled rows -> cases: drop repeats with their reason, group, set the hold-out aside, fold.

In: merged rows, image facts. Out: cases, hold-out diagnoses, pairs, ledger, funnel. Row order in, split
out: any order gives the same tables.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermaflow import outputs
from dermaflow.errors import DataError, first_ten
from dermaflow.splits import drops, folds, groups, ledger, near
from dermaflow.splits import own as own_splits
from dermaflow.splits.params import SplitParams
from dermaflow.splits.thumbnails import Cells, Stored
from dermaflow.taxonomy import View

NOT_COMPARED: Final = -1
"""Stands for bits and correlation of an official pair whose images are not both there."""


@dataclass(frozen=True)
class Split:
    """All that stage split writes; see outputs.cases, holdout, pairs, ledger, funnel."""

    cases: pd.DataFrame
    holdout: pd.DataFrame
    pairs: pd.DataFrame
    ledger: dict[str, Any]
    funnel: pd.DataFrame


def split(
    merged: pd.DataFrame,
    facts: Mapping[str, pd.DataFrame],
    located: Mapping[str, Iterable[str]],
    *,
    params: SplitParams,
    folds: int,
    view: View | None = None,
    own: "pd.Series[str] | None" = None,
    thumbnails: Mapping[str, Cells] | None = None,
    report: Callable[[pd.DataFrame], str] | None = None,
) -> Split:
    """Make the one list of images.

    Args:
        merged: what `releases.merge` returned.
        facts: rows of outputs.facts, a release, in the order of params.yaml.
        located: the ids that each release's shards store.
        params: section `split`.
        folds: number of folds of the training rows.
        view: drop diagnoses that this view leaves out.
        own: a split that people bring (`own.read`), taken instead of dealing.
        thumbnails: reads each release's column of them; by default the facts hold it.
        report: keeps the pairs that joined too large a group and returns where.

    Raises:
        DataError: images are missing or conflict (where params say so), a group is too large, or there
            are too few groups.
    """
    rows = merged.sort_values("image_id").reset_index(drop=True)
    rows = rows.join(_pixels(rows["image_id"], facts, located))
    rows["release_rank"] = rows["release"].map({name: rank for rank, name in enumerate(facts)})
    listed = None if own is None else own.index
    why, conflicts = drops.reasons(rows, params.conflicts, params.missing_images, view, listed)
    kept = why.isna().to_numpy()
    if not kept.any():
        raise DataError("no image is left", "split", "See the reasons: " + _tally(why))

    looked = rows["readable"].eq(other=True).to_numpy() & (kept | (why == drops.OFFICIAL).to_numpy())
    cells = thumbnails or {name: partial(_held, table) for name, table in facts.items()}
    pairs, compared = _pairs(rows, looked, params, cells)
    group = _group(rows, pairs)
    _alarm(rows, group, kept, pairs, params.max_group, report)
    group[~kept] = -1
    group[kept] = groups.renumber(group[kept])
    if own is None:
        placed = _place(rows, group, params, folds)
    else:
        placed = own_splits.place(rows["image_id"], own, why, folds, params.file)
    cases = _cases(rows, why, group, placed)
    book = _ledger(cases, pairs, params, compared, conflicts)
    return Split(
        cases=cases,
        holdout=outputs.holdout.check(rows.loc[placed == "hold_out", ["image_id", "diagnosis"]]),
        pairs=pairs,
        ledger=book,
        funnel=funnel(rows, why, cases),
    )


def _pixels(
    ids: "pd.Series[str]", facts: Mapping[str, pd.DataFrame], located: Mapping[str, Iterable[str]]
) -> pd.DataFrame:
    """Return store and image facts of each id, in the order of `ids`; missing where there is no file."""
    wanted = ["image_id", "width", "height", "sha256", "readable"]
    found = []
    for release, table in facts.items():
        inside = table["image_id"].isin(set(located[release]))
        own = table.loc[inside, wanted]
        found.append(own.assign(store=release, fact=np.flatnonzero(inside)))
    stacked = pd.concat(found, ignore_index=True).drop_duplicates("image_id").set_index("image_id")
    stacked["store"] = stacked["store"].astype("str")
    return stacked.reindex(ids).set_axis(ids.index)


def _held(facts: pd.DataFrame) -> list[list[bytes]]:
    return [facts["thumbnail"].tolist()]


def _pairs(
    rows: pd.DataFrame, looked: NDArray[np.bool_], params: SplitParams, cells: Mapping[str, Cells]
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return all pairs of the same picture, and how many images could be compared."""
    position = np.flatnonzero(looked)
    found = near.find(Stored(cells, rows.iloc[position]), params.near_hamming, params.near_correlation)
    ids = rows["image_id"].to_numpy()
    frames = [
        pd.DataFrame(
            {
                "image_a": ids[position[found.first]],
                "image_b": ids[position[found.second]],
                "kind": "near",
                "hamming": found.hamming,
                "correlation": found.correlation.round(3),  # the last bits are the processor's
                "joined": found.correlation >= params.near_correlation,
            }
        )
    ]
    known = rows["duplicate_of"].isin(set(ids))
    official = _named(rows["duplicate_of"][known], rows["image_id"][known], "official", NOT_COMPARED)
    frames += [_measured(named, frames[0]) for named in (official, _seen(rows["image_id"], params))]
    # Files that do not decode are often empty, or one and the same error page.
    first, second = groups.same(rows["sha256"].where(rows["readable"].eq(other=True)))
    frames.append(_named(rows["image_id"].iloc[first], rows["image_id"].iloc[second], "identical", 0))
    stacked = pd.concat(frames, ignore_index=True).sort_values(["kind", "image_a", "image_b"])
    compared = {"images": len(rows), "with_pixels": found.compared}
    return outputs.pairs.check(stacked), compared


def _seen(ids: "pd.Series[str]", params: SplitParams) -> pd.DataFrame:
    """Return the pairs that people saw to be one picture, of images that the releases list."""
    unlisted = {*params.unlisted(ids)}
    pairs = [sorted(pair) for pair in params.same_picture if not unlisted & {*pair}]
    first, second = (pd.Series(side, dtype="str") for side in np.array(pairs, object).reshape(-1, 2).T)
    return _named(first, second, "seen", NOT_COMPARED)


def _named(first: "pd.Series[str]", second: "pd.Series[str]", kind: str, bits: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image_a": first.to_numpy(),
            "image_b": second.to_numpy(),
            "kind": kind,
            "hamming": np.int16(bits),
            "correlation": np.float32(1 if bits == 0 else NOT_COMPARED),
            "joined": True,
        }
    )


def _measured(pairs: pd.DataFrame, near_pairs: pd.DataFrame) -> pd.DataFrame:
    """Put bits and correlation beside the pairs that the comparison of pixels also found."""
    sides = ["image_a", "image_b"]
    values = near_pairs[[*sides, "hamming", "correlation"]]
    turned = values.rename(columns={"image_a": "image_b", "image_b": "image_a"})
    both = pd.concat([values, turned]).set_index(sides)
    found = both.reindex(pd.MultiIndex.from_frame(pairs[sides]))
    return pairs.assign(
        **{name: found[name].fillna(NOT_COMPARED).to_numpy() for name in ("hamming", "correlation")}
    )


def _group(rows: pd.DataFrame, pairs: pd.DataFrame) -> NDArray[np.int64]:
    """Join patients, lesions and pairs; dropped rows join too (a repeat may carry another patient id)."""
    index = pd.Index(rows["image_id"])
    joined = pairs[pairs["joined"]]
    named = (index.get_indexer(joined["image_a"]), index.get_indexer(joined["image_b"]))
    return groups.join(len(rows), [groups.same(rows["patient_id"]), groups.same(rows["lesion_id"]), named])


def _alarm(
    rows: pd.DataFrame,
    group: NDArray[np.int64],
    kept: NDArray[np.bool_],
    pairs: pd.DataFrame,
    limit: int,
    report: Callable[[pd.DataFrame], str] | None,
) -> None:
    counts = np.bincount(group[kept])
    if counts.max() <= limit:
        return
    whole = rows[group == counts.argmax()]
    inside = whole[kept[whole.index]]
    joined = pairs[pairs["joined"] & pairs["image_a"].isin(whole["image_id"])].sort_values("correlation")
    named = f" ({report(joined)} names the pairs)" if report else ""
    raise DataError(
        f"a group holds {len(inside)} images of {inside['patient_id'].nunique()} patients and "
        f"{inside['lesion_id'].nunique()} lesions: {first_ten(inside['image_id'])}",
        "split",
        f"If it is one patient, raise split.max_group above {limit}; if look-alikes were joined, raise "
        f"split.near_correlation{named}.",
    )


def _place(
    rows: pd.DataFrame, group: NDArray[np.int64], params: SplitParams, number: int
) -> NDArray[np.object_]:
    """Return hold_out, a fold number as text, or dropped, for each row."""
    kept = group >= 0
    table = rows.loc[kept, ["image_id", "diagnosis", "release_rank"]].assign(group=group[kept])
    fold = folds.assign(table, params.hold_out, number, params.seed)
    placed = np.full(len(rows), "dropped", dtype=object)
    placed[kept] = np.where(fold == folds.HOLD_OUT, "hold_out", fold.astype(str))
    return placed


def _cases(
    rows: pd.DataFrame, why: "pd.Series[str]", group: NDArray[np.int64], placed: NDArray[np.object_]
) -> pd.DataFrame:
    aside = np.isin(placed, ["hold_out", "dropped"])
    fold = np.where(aside, "-1", placed).astype(np.int8)
    sizes = {side: rows[side].fillna(0).astype("int32") for side in ("width", "height")}
    frame = rows.assign(
        group=group,
        split=np.where(aside, placed, "train"),
        fold=fold,
        why_dropped=why,
        diagnosis=rows["diagnosis"].mask(placed == "hold_out"),
        **sizes,
    )
    return outputs.cases.check(frame[list(outputs.cases.columns)])


def _ledger(
    cases: pd.DataFrame,
    pairs: pd.DataFrame,
    params: SplitParams,
    compared: dict[str, int],
    conflicts: list[list[str]],
) -> dict[str, Any]:
    kept = cases[cases["split"] != "dropped"]
    near_pairs = pairs[pairs["kind"] == "near"]
    chance = ledger.random_place(cases, params.seed)
    return {
        "overlaps": ledger.overlaps(cases, pairs),
        "hold_out_seen_in_train": ledger.shares_with_train(cases, ledger.bins(cases)),
        "random_split": {
            "overlaps": ledger.overlaps(cases, pairs, chance),
            "hold_out_seen_in_train": ledger.shares_with_train(cases, chance),
        },
        "compared": compared,
        "pairs": {
            **{kind: int((pairs["kind"] == kind).sum()) for kind in ledger.PAIRS if kind != "near"},
            "near_confirmed": int(near_pairs["joined"].sum()),
            "near_narrowly_refused": int((~near_pairs["joined"]).sum()),
        },
        "conflicting_labels": conflicts,
        "groups": {
            "number": int(kept["group"].nunique()),
            "largest": int(kept.groupby("group").size().max()),
            "across_releases": _across(kept),
        },
        "images": {str(name): int(count) for name, count in cases["split"].value_counts().items()},
        "dropped": {str(name): int(count) for name, count in cases["why_dropped"].value_counts().items()},
        "missing_images": _missing_images(cases),
    }


def _across(kept: pd.DataFrame) -> list[str]:
    """Name groups that join several releases, by their first image: a release that is added may move them."""
    seen = kept.drop_duplicates(["group", "release"])["group"]
    several = kept[kept["group"].isin(seen[seen.duplicated()])]
    return sorted(several.groupby("group")["image_id"].min())


def _missing_images(cases: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Count the rows without a file, by release and diagnosis."""
    absent = cases[cases["why_dropped"] == drops.NO_FILE]
    return {
        str(release): {str(code): int(count) for code, count in own["diagnosis"].value_counts().items()}
        for release, own in absent.groupby("release")
    }


def funnel(rows: pd.DataFrame, why: "pd.Series[str]", cases: pd.DataFrame) -> pd.DataFrame:
    """Count the images at each step: listed, dropped and why, hold_out, train; by release and diagnosis."""
    steps = [("listed", pd.Series(data=True, index=rows.index))]
    steps += [(f"dropped: {reason}", why == reason) for reason in drops.ORDER if (why == reason).any()]
    steps += [(name, cases["split"] == name) for name in ("hold_out", "train")]
    counted = [
        rows[inside.to_numpy()]
        .groupby(["release_rank", "release", "diagnosis"])
        .size()
        .rename("images")
        .reset_index()
        .assign(step=step)
        for step, inside in steps
    ]
    table = pd.concat(counted, ignore_index=True)
    return table[["step", "release", "diagnosis", "images"]]


def _tally(why: "pd.Series[str]") -> str:
    return ", ".join(f"{name} {count}" for name, count in why.value_counts().items())
