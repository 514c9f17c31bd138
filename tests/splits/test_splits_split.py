"""Laws of the split: nothing parts a group, order does not matter, each drop has its reason."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from split_world import RANKS, facts_of, picture, place, split, world

from dermaflow import outputs, params, releases
from dermaflow.errors import DataError, ParamsError
from dermaflow.splits import groups, ledger, near
from dermaflow.splits import split as room
from dermaflow.splits.params import SplitParams
from dermaflow.taxonomy import VIEWS


def as_listed(result):
    """A split as `own.read` returns it."""
    used = result.cases[result.cases.split != "dropped"].set_index("image_id")
    return used.split.where(used.split == "hold_out", used.fold.astype("str"))


def why(result, image):
    return result.cases.set_index("image_id").why_dropped[image]


def troubled(seed, classes, repeats, equal, alike, absent, unreadable):
    """A small world and its facts, with so many official repeats, equal files, look-alikes, and no pixels."""
    rng = np.random.default_rng(seed)
    counts = [(release, int(rng.integers(12, 40))) for release in RANKS]
    merged = world(seed, counts, ("NV", "MEL", "BKL", "UNK", "DF")[:classes])

    def picked(number):
        return rng.choice(merged.image_id, number, replace=False)

    a, b = picked((2, repeats))
    merged["duplicate_of"] = merged.image_id.map(dict(zip(b, a, strict=True))).astype("str")
    facts = facts_of(merged, absent=picked(absent), unreadable=picked(unreadable))
    same, like = picked(equal), picked(alike)
    for table in facts.values():
        table.loc[table.image_id.isin(same), "sha256"] = "f" * 64
        table.loc[table.image_id.isin(like), "thumbnail"] = picture("alike")
    return merged, facts


FEW = st.integers(0, 4)


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    folds=st.integers(2, 4),
    made=st.tuples(st.integers(1, 5), FEW, FEW, FEW, FEW, FEW),
)
def test_in_any_world_all_that_belongs_together_stands_in_one_place_whatever_the_order(seed, folds, made):
    merged, facts = troubled(seed, *made)
    result = split(merged, facts, folds=folds, seed=seed)
    cases = result.cases.assign(place=place(result).to_numpy())
    kept = cases[cases.why_dropped.isna()].set_index("image_id")
    assert sorted(cases.image_id) == sorted(merged.image_id)
    assert set(kept.place) <= {"hold_out-1", *(f"train{fold}" for fold in range(folds))}
    assert set(cases.place[cases.why_dropped.notna()]) <= {"dropped-1"}
    for name in ("patient_id", "lesion_id", "group"):
        assert kept.groupby(name).place.nunique().max() == 1
    joined = result.pairs[result.pairs.joined]
    a, b = (kept.place.reindex(joined[name]).to_numpy() for name in ("image_a", "image_b"))
    assert (pd.isna(a) | pd.isna(b) | (a == b)).all()
    assert all(entry[kind] == 0 for entry in result.ledger["overlaps"] for kind in ledger.KINDS)

    shuffled = {name: table.sample(frac=1, random_state=1) for name, table in facts.items()}
    other = split(merged.sample(frac=1, random_state=3), shuffled, folds=folds, seed=seed)
    assert result.cases.equals(other.cases)
    assert result.pairs.equals(other.pairs)
    assert result.ledger == other.ledger
    assert result.holdout.equals(split(merged, facts, folds=folds + 1, seed=seed).holdout)


def test_the_split_does_not_depend_on_whether_thumbnails_are_held_or_read():
    merged = world()
    twins = merged.image_id[merged.release == "isic2020"].iloc[[0, 9]].tolist()
    facts = facts_of(merged, absent=merged.image_id.iloc[[3]], unreadable=merged.image_id.iloc[[5]])
    own = facts["isic2020"]
    own.loc[own.image_id.isin(twins), "thumbnail"] = picture(twins[0])
    cells = {name: partial(pieces, table.thumbnail.tolist()) for name, table in facts.items()}
    bare = {name: table.drop(columns="thumbnail") for name, table in facts.items()}
    one, other = split(merged, facts), split(merged, bare, thumbnails=cells)
    assert one.cases.equals(other.cases)
    assert one.pairs.equals(other.pairs)
    assert one.pairs[["image_a", "image_b"]].to_numpy().tolist() == [sorted(twins)]


def test_the_split_does_not_depend_on_the_last_bits_of_a_correlation(monkeypatch):
    """Another type of processor sums in another order."""
    merged = world()
    twins = merged.image_id[merged.release == "isic2020"].iloc[[0, 9]].tolist()
    facts = facts_of(merged)
    own = facts["isic2020"]
    own.loc[own.image_id.isin(twins), "thumbnail"] = picture(twins[0])
    one, find = split(merged, facts), near.find

    def elsewhere(*given):
        found = find(*given)
        return replace(found, correlation=found.correlation - np.float32(2e-7))

    monkeypatch.setattr(near, "find", elsewhere)
    other = split(merged, facts)
    assert len(one.pairs) == 1
    assert one.pairs.equals(other.pairs)


def pieces(cells):
    return (cells[start : start + 7] for start in range(0, len(cells), 7))


def test_another_seed_gives_another_split():
    assert (place(split(world(), seed=1)) != place(split(world(), seed=2))).mean() > 0.3


def test_hold_out_diagnoses_stand_in_the_holdout_table_alone():
    merged = world()
    result = split(merged)
    aside = result.cases[result.cases.split == "hold_out"]
    assert aside.diagnosis.isna().all()
    assert result.cases[result.cases.split == "train"].diagnosis.notna().all()
    told = result.holdout.set_index("image_id").diagnosis
    assert told.to_dict() == merged.set_index("image_id").diagnosis[told.index].to_dict()
    assert set(told.index) == set(aside.image_id)


def test_shares_are_kept_within_each_release_and_diagnosis():
    merged = world(counts=(("isic2018", 500), ("isic2019", 500), ("isic2020", 500)))
    result = split(merged, hold_out=0.15, folds=4)
    bins = place(result)
    table = pd.crosstab([merged.release, merged.diagnosis], bins.reindex(merged.image_id).to_numpy())
    share = table.div(table.sum(axis=1), axis=0)
    large = table.sum(axis=1) > 150
    assert (share.loc[large, "hold_out-1"] - 0.15).abs().max() < 0.03
    assert (share.loc[large].drop(columns="hold_out-1") - 0.85 / 4).abs().max(axis=None) < 0.03


def test_every_class_stands_in_every_fold_and_the_hold_out_if_it_has_groups_enough():
    for seed in range(8):
        merged = world(seed, counts=(("isic2018", 40), ("isic2019", 40)))
        rare = [f"{release}_{number}" for release in RANKS[:2] for number in (seed, seed + 9)]
        merged.loc[merged.lesion_id.isin(rare), "diagnosis"] = "VASC"  # four groups in two releases
        result = split(merged, facts_of(merged, RANKS[:2]), seed=seed)
        bins = place(result)[merged.image_id[merged.diagnosis == "VASC"]]
        assert set(bins) == {"hold_out-1", "train0", "train1", "train2"}  # three folds and the hold-out


def test_a_diagnosis_with_one_group_is_trained_on():
    for seed in range(10):
        merged = world(seed, counts=(("isic2018", 60),), codes=["NV"])
        merged.loc[merged.lesion_id == "isic2018_7", "diagnosis"] = "VASC"
        result = split(merged, facts_of(merged, RANKS[:1]), seed=seed)
        cases = result.cases[result.cases.lesion_id == "isic2018_7"]
        assert set(cases.split) == {"train"}


def test_a_release_added_at_the_end_moves_no_group_of_the_others_if_it_leaves_their_labels():
    merged = world()
    before = merged[merged.release != "isic2020"]
    one, both = place(split(before, facts_of(before, RANKS[:2]))), place(split(merged))
    assert (one == both[one.index]).all()


def test_a_release_that_takes_akiec_apart_deals_anew_and_a_split_file_keeps_the_places():
    view = VIEWS["isic2018"]
    after = world(codes=("NV", "MEL", "AKIEC"))
    before = after[after.release == "isic2018"]
    apart = (after.diagnosis == "AKIEC") & (after.release != "isic2020")
    after.loc[apart, "diagnosis"] = np.where(after.lesion_id[apart].str.endswith(("0", "5")), "SCC", "AK")
    first = split(before, facts_of(before, RANKS[:1]), view=view)
    one, both = place(first), place(split(after, view=view))
    assert (one != both[one.index]).mean() > 0.3
    kept = place(split(after, view=view, own=as_listed(first)))
    assert (one == kept[one.index]).all()
    assert set(kept.drop(one.index)) == {"dropped-1"}


def test_groups_join_patients_lesions_and_duplicates_through_dropped_rows():
    merged = world()
    lesions = merged[merged.release == "isic2018"].drop_duplicates("lesion_id").index[:3]
    first, second, third = merged.image_id[lesions]
    merged.loc[lesions[1], "duplicate_of"] = first  # dropped, but its lesion joins
    merged.loc[lesions[2], "patient_id"] = merged.loc[lesions[1], "patient_id"] = "IP_same"
    result = split(merged)
    cases = result.cases.set_index("image_id")
    assert cases.split[second] == "dropped"
    assert cases.group[first] == cases.group[third]
    assert why(result, second) == "official duplicate"
    assert cases.group[second] == -1


def official_pair():
    """A world in which one image of 2020 is an official repeat of another, with the ids of both."""
    merged = world()
    a, b = merged.image_id[merged.release == "isic2020"].iloc[[0, 1]]
    merged.loc[merged.image_id == b, "duplicate_of"] = a
    merged.loc[merged.image_id.isin([a, b]), "diagnosis"] = "MEL"
    return merged, a, b


@pytest.mark.parametrize(("lack", "reason"), [("absent", "no image file"), ("unreadable", "unreadable")])
def test_a_repeat_is_used_where_its_kept_image_can_not_be(lack, reason):
    merged, a, b = official_pair()
    result = split(merged, facts_of(merged, **{lack: [a]}))
    assert why(result, a) == reason
    assert pd.isna(why(result, b))
    neither = split(merged, facts_of(merged, **{lack: [a, b]}))
    assert (why(neither, a), why(neither, b)) == (reason, "official duplicate")


def test_of_several_repeats_of_an_absent_image_one_is_used():
    merged, a, b = official_pair()
    c = merged.image_id[merged.release == "isic2020"].iloc[2]
    merged.loc[merged.image_id == c, ["duplicate_of", "diagnosis"]] = [a, "MEL"]
    result = split(merged, facts_of(merged, absent=[a]))
    assert pd.isna(why(result, b))
    assert why(result, c) == "official duplicate"


def test_of_one_picture_the_image_that_the_split_file_lists_is_used():
    merged, a, b = official_pair()
    listed = as_listed(split(world()))
    result = split(merged, own=listed.drop(a))
    assert why(result, a) == "not in the split file"
    assert pd.isna(why(result, b))
    merged = world()
    merged.loc[merged.image_id.isin([a, b]), "diagnosis"] = "MEL"
    merged.loc[merged.image_id == b, "age_years"] = None  # a says more
    facts = facts_of(merged)
    facts["isic2020"].loc[facts["isic2020"].image_id.isin([a, b]), "sha256"] = "f" * 64
    result = split(merged, facts, own=listed.drop(a))
    assert why(result, a) == "identical image"
    assert pd.isna(why(result, b))


def test_unreadable_files_of_equal_bytes_are_no_identical_images():
    merged = world()
    broken = merged[merged.release == "isic2020"].drop_duplicates("patient_id").image_id[:30]
    facts = facts_of(merged, unreadable=broken)
    one = split(merged, facts)
    facts["isic2020"].loc[facts["isic2020"].image_id.isin(broken), "sha256"] = "e" * 64  # all empty
    other = split(merged, facts)
    assert other.ledger["pairs"]["identical"] == 0
    assert one.cases.equals(other.cases)


def test_near_duplicates_are_joined_and_listed():
    merged = world()
    a, b = merged.image_id[merged.release == "isic2018"].iloc[[0, -1]]
    facts = facts_of(merged)
    turned = np.frombuffer(picture(a), np.uint8).reshape(64, 64)[::-1].tobytes()
    table = facts["isic2018"]
    table.loc[table.image_id == b, "thumbnail"] = pd.Series([turned], index=table.index[table.image_id == b])
    result = split(merged, facts)
    cases = result.cases.set_index("image_id")
    assert cases.group[a] == cases.group[b]
    assert result.pairs[["image_a", "image_b", "kind", "joined"]].to_numpy().tolist() == [
        [a, b, "near", True]
    ]
    assert result.ledger["pairs"]["near_confirmed"] == 1
    assert cases.split[a] == cases.split[b] != "dropped"


def test_what_looks_like_a_dropped_official_repeat_is_joined_to_the_image_that_is_kept():
    merged, a, b = official_pair()
    c = merged.image_id[merged.release == "isic2018"].iloc[0]
    facts = facts_of(merged)
    table = facts["isic2018"]
    table.loc[table.image_id == c, "thumbnail"] = picture(b)
    result = split(merged, facts)
    assert why(result, b) == "official duplicate"
    cases = result.cases.set_index("image_id")
    assert cases.group[a] == cases.group[c] >= 0


def test_of_identical_images_the_one_that_says_more_is_kept():
    merged = world()
    rows = merged.index[(merged.release == "isic2018") & (merged.diagnosis == "NV")]
    a, b = rows[0], rows[-1]
    merged.loc[a, "age_years"] = None
    facts = facts_of(merged)
    facts["isic2018"].loc[facts["isic2018"].image_id.isin(merged.image_id[[a, b]]), "sha256"] = "f" * 64
    result = split(merged, facts)
    assert why(result, merged.image_id[a]) == "identical image"
    assert pd.isna(why(result, merged.image_id[b]))
    assert result.ledger["pairs"]["identical"] == 1


def test_identical_images_with_two_diagnoses_are_both_dropped_and_listed():
    merged = world()
    a = merged.image_id[merged.diagnosis == "NV"].iloc[0]
    b = merged.image_id[merged.diagnosis == "MEL"].iloc[0]
    facts = facts_of(merged)
    for table in facts.values():
        table.loc[table.image_id.isin([a, b]), "sha256"] = "f" * 64
    result = split(merged, facts)
    assert why(result, a) == why(result, b) == "conflicting labels"
    assert result.ledger["conflicting_labels"] == [sorted([a, b])]
    with pytest.raises(
        DataError, match=f"2 identical images have different diagnoses: {min(a, b)}={max(a, b)}"
    ):
        split(merged, facts, conflicts="error")


def test_identical_images_are_in_conflict_only_if_the_view_tells_their_diagnoses_apart():
    merged = world()
    pair = merged.image_id[merged.diagnosis == "BKL"].iloc[[0, -1]].tolist()
    merged.loc[merged.image_id.isin(pair), "diagnosis"] = ["AK", "SCC"]
    facts = facts_of(merged)
    for table in facts.values():
        table.loc[table.image_id.isin(pair), "sha256"] = "f" * 64
    apart, joined = (split(merged, facts, view=VIEWS[name]) for name in ("nine", "isic2018"))
    assert [why(apart, image) for image in pair] == ["conflicting labels"] * 2
    assert joined.cases.set_index("image_id").why_dropped[pair].dropna().tolist() == ["identical image"]
    assert joined.ledger["conflicting_labels"] == []


def test_missing_and_unreadable_images_are_dropped_with_their_reason():
    merged = world()
    a, b = merged.image_id.iloc[[0, 40]]
    result = split(merged, facts_of(merged, absent=[a], unreadable=[b]))
    assert (why(result, a), why(result, b)) == ("no image file", "unreadable")
    cases = result.cases.set_index("image_id")
    assert pd.isna(cases.store[a])
    assert (cases.width[a], cases.fold[a]) == (0, -1)
    with pytest.raises(DataError, match=rf"1 listed images have no file \(isic2018 1: {a}\)"):
        split(merged, facts_of(merged, absent=[a]), missing_images="error")


def test_diagnoses_outside_the_view_are_dropped():
    merged = world(codes=["NV", "MEL", "UNK"])
    result = split(merged, view=VIEWS["isic2018"])
    unknown = merged.image_id[merged.diagnosis == "UNK"]
    assert set(result.cases.set_index("image_id").why_dropped[unknown]) == {"not in view"}
    assert result.cases.why_dropped.notna().sum() == len(unknown)
    merged["diagnosis"] = merged.diagnosis.replace("UNK", "AKIEC")
    assert split(merged, view=VIEWS["isic2018"]).cases.why_dropped.isna().all()
    assert set(split(merged, view=VIEWS["nine"]).cases.why_dropped.dropna()) == {"not in view"}


def test_too_large_a_group_is_an_alarm():
    merged = world()
    merged["patient_id"] = "IP_everyone"
    with pytest.raises(
        DataError, match=r"a group holds \d+ images of 1 patients and \d+ lesions: ISIC_.*max_group"
    ):
        split(merged)


def test_the_alarm_hands_out_the_pairs_that_joined_the_group_and_names_where_they_lie():
    merged = world()
    ids = merged.image_id[merged.release == "isic2018"].drop_duplicates().iloc[::5].tolist()[:6]
    facts, handed = facts_of(merged), []
    own = facts["isic2018"]
    own.loc[own.image_id.isin(ids), "sha256"] = "f" * 64
    merged.loc[merged.image_id.isin(ids), "diagnosis"] = "NV"
    apart = merged.image_id[merged.release == "isic2020"].iloc[[0, -1]].tolist()
    merged.loc[merged.image_id == apart[1], "duplicate_of"] = apart[0]  # another group's pair

    def report(pairs):
        handed.append(pairs)
        return "here.csv"

    with pytest.raises(DataError, match=r"split\.near_correlation \(here\.csv names the pairs\)"):
        split(merged, facts, max_group=len(ids), report=report)
    assert handed[0][["image_a", "image_b", "kind"]].to_numpy().tolist() == [
        [ids[0], image, "identical"] for image in ids[1:]
    ]


def test_too_few_groups_and_no_image_at_all_are_said():
    merged = world(counts=(("isic2018", 3),), codes=["NV"])
    with pytest.raises(DataError, match=r"3 groups of images leave .* empty"):
        split(merged, facts_of(merged, RANKS[:1]), folds=5)
    with pytest.raises(DataError, match=r"no image is left.*unreadable \d+"):
        split(merged, facts_of(merged, RANKS[:1], unreadable=merged.image_id))


def test_a_release_of_which_no_image_has_a_file_stops_instead_of_vanishing():
    merged = world()
    second = merged.image_id[merged.release == "isic2019"]
    with pytest.raises(DataError, match=r"no image of isic2019 has a file, in its own folder or another"):
        split(merged, facts_of(merged, absent=second))
    one = split(merged, facts_of(merged, absent=second[1:]))
    assert (one.cases.why_dropped == "no image file").sum() == len(second) - 1


def test_the_funnel_adds_up():
    merged = world()
    a = merged.image_id.iloc[0]
    result = split(merged, facts_of(merged, absent=[a]))
    steps = result.funnel.groupby("step").images.sum()
    assert steps["listed"] == len(merged)
    assert steps["listed"] == steps["train"] + steps["hold_out"] + steps["dropped: no image file"]
    assert steps["hold_out"] == len(result.holdout)


def test_the_store_of_an_image_is_where_its_file_is_located():
    merged = world()
    facts = facts_of(merged)
    image = merged.image_id[merged.release == "isic2018"].iloc[0]
    facts["isic2019"] = pd.concat([facts["isic2019"], facts["isic2018"].query("image_id == @image")])
    located = {name: table.image_id.tolist() for name, table in facts.items()}
    located["isic2018"].remove(image)
    result = room.split(
        merged, facts, located, params=SplitParams(missing_images="error"), folds=2, view=None
    )
    case = result.cases.set_index("image_id").loc[image]
    assert (case.release, case.store) == ("isic2018", "isic2019")


def test_official_pairs_without_pixels_say_so():
    merged = world()
    a, b = merged.image_id[merged.release == "isic2020"].iloc[[0, -1]]
    merged.loc[merged.image_id == b, "duplicate_of"] = a
    pair = split(merged, facts_of(merged, absent=[b])).pairs.iloc[0]
    assert (pair.image_a, pair.image_b, pair.kind, pair.hamming, pair.correlation) == (
        a,
        b,
        "official",
        -1,
        -1,
    )


def test_pairs_that_people_saw_to_be_one_picture_are_joined_whatever_they_measure():
    merged = world()
    before = split(merged, facts_of(merged)).cases
    a, b = sorted(before[before.group == number].image_id.min() for number in (3, 8))
    found = split(merged, facts_of(merged), same_picture=[(b, a)])
    group = found.cases.set_index("image_id").group
    assert group[a] == group[b]
    seen = found.pairs[found.pairs.kind == "seen"]
    assert seen[["image_a", "image_b", "joined"]].to_numpy().tolist() == [[a, b, True]]
    assert found.ledger["pairs"]["seen"] == 1


def test_seen_pairs_of_releases_that_are_not_named_are_left_out():
    merged = world()
    a, b = sorted(merged.image_id[merged.release == "isic2018"].iloc[[0, -1]])
    pairs = [(a, "ISIC_0"), ("ISIC_1", "ISIC_0"), (a, b)]
    found = split(merged, facts_of(merged), same_picture=pairs)
    seen = found.pairs[found.pairs.kind == "seen"]
    assert seen[["image_a", "image_b"]].to_numpy().tolist() == [[a, b]]
    assert SplitParams(same_picture=pairs).unlisted(merged.image_id) == ["ISIC_0", "ISIC_1"]


def test_components_are_those_of_a_slow_search():
    rng = np.random.default_rng(4)
    first, second = rng.integers(0, 60, (2, 35))
    found = groups.join(60, [(first, second)])
    slow = list(range(60))
    for _ in range(60):
        for a, b in zip(first, second, strict=True):
            slow[a] = slow[b] = min(slow[a], slow[b])
    assert found.tolist() == groups.renumber(np.array(slow)).tolist()
    assert len(set(slow)) > 10


def test_missing_ids_join_nobody():
    first, second = groups.same(pd.Series(["a", None, "b", "a", None, "a"], dtype="str"))
    assert (first.tolist(), second.tolist()) == ([0, 0], [3, 5])


def test_tables_pass_their_declarations():
    result = split(world())
    outputs.cases.check(result.cases)
    outputs.holdout.check(result.holdout)
    outputs.pairs.check(result.pairs)


@pytest.mark.isic
def test_a_random_split_of_the_official_tables_leaks_what_was_published(isic):
    tables = {name: releases.read(name, releases.find_release(isic, name)) for name in RANKS}
    merged = releases.merge(tables)
    rng = np.random.default_rng(1)
    cases = merged.assign(split="train", fold=0, group=0)
    place = pd.Series(np.where(rng.random(len(cases)) < 0.2, "hold_out", "fold 0"), index=cases.image_id)
    shares = ledger.shares_with_train(cases, place)
    assert shares["isic2018"]["lesion"] == pytest.approx(0.39, abs=0.02)
    assert shares["isic2020"]["patient"] == pytest.approx(0.999, abs=0.002)
    own = ledger.shares_with_train(cases.assign(release="all"), place[cases.image_id])
    assert own["all"]["lesion"] == pytest.approx(0.66, abs=0.02)


@pytest.mark.isic
def test_the_official_tables_split_cleanly_in_seconds(isic):
    tables = {name: releases.read(name, releases.find_release(isic, name)) for name in RANKS}
    merged = releases.merge(tables)
    result = split(merged, facts_of(merged.iloc[::20]), folds=5)
    assert (result.cases.split != "dropped").sum() > 2_800
    assert all(entry[kind] == 0 for entry in result.ledger["overlaps"] for kind in ledger.KINDS)
    random = result.ledger["random_split"]["overlaps"][-1]
    assert random["patient"] > 100


def test_as_many_folds_are_dealt_as_are_trained_or_more():
    assert SplitParams().dealt(["0", "1", "2"]) == 3
    assert SplitParams(folds=10).dealt(["0", "1", "2"]) == 10
    with pytest.raises(ParamsError, match=r"folds names 3, but 3 folds are dealt.*set split\.folds"):
        SplitParams(folds=3).dealt(["0", "3"])
    with pytest.raises(ParamsError, match="folds names 4, but 2 folds are dealt"):
        SplitParams().dealt(["0", "4"])
    assert SplitParams(folds=2).dealt(["0"]) == 2
    with pytest.raises(ParamsError, match=r"no image would be left to learn from\. Set split\.folds to 2"):
        SplitParams().dealt(["0"])


def test_no_more_folds_are_dealt_than_the_table_can_hold(project):
    every = [str(number) for number in range(129)]
    most = int(np.iinfo(outputs.cases.columns["fold"].dtype).max) + 1
    assert SplitParams(folds=most).dealt(every[:most]) == SplitParams().dealt(every[:most]) == most
    (project / "params.yaml").write_text(f"split: {{folds: {most + 1}}}")
    with pytest.raises(ParamsError, match=rf"split\.folds is {most + 1}: .*less than or equal to {most}"):
        params.load(SplitParams)
    with pytest.raises(ParamsError, match=f"folds names {most + 1} folds .* at most {most} can be dealt"):
        SplitParams().dealt(every[: most + 1])
