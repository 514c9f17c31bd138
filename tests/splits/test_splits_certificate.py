"""Nothing trains without a clean certificate for exactly these tables."""

import copy
from itertools import combinations

import numpy as np
import pytest
from split_world import facts_of, split, world

from dermaflow.errors import DataError, LeakError
from dermaflow.splits import certificate, ledger

DIGESTS = {"cases": "a" * 64, "patients": "b" * 64}
DEALT = {"cases": "a" * 64, "pairs": "d" * 64}
GOOD = {"checked": 40, "critical_failures": 0, "warnings": 1, "results": []}


@pytest.fixture(scope="module")
def clean():
    merged = world()
    return split(merged, facts_of(merged, absent=merged.image_id[:1]))


def certify(result, cases=None, pairs=None, ledger_=None, prepared=GOOD):
    cases = result.cases if cases is None else cases
    pairs = result.pairs if pairs is None else pairs
    told = {**result.ledger, "tables": DEALT} if ledger_ is None else ledger_
    return certificate.certify(cases, pairs, told, prepared, DIGESTS, DEALT)


def test_a_clean_split_is_certified_and_accepted(clean):
    paper = certify(clean)
    certificate.check_certificate(paper, DIGESTS)
    assert paper["digests"] == DIGESTS
    used = clean.cases[clean.cases.split != "dropped"]
    assert paper["images"] == {
        "train": len(used) - len(clean.holdout),
        "hold_out": len(clean.holdout),
        "groups": len(set(used.group)),
    }
    assert len(used) < len(clean.cases)
    assert paper["prepared"] == {"checked": 40, "critical_failures": 0, "warnings": 1}
    assert paper == certify(clean)


@pytest.mark.parametrize(
    ("column", "word"), [("patient_id", "patient"), ("lesion_id", "lesion"), ("group", "group")]
)
def test_one_shared_id_refuses_with_the_overlap(clean, column, word):
    cases = clean.cases.copy()
    inside = cases.index[(cases.split == "train") & cases[column].notna()][0]
    aside = cases.index[(cases.split == "hold_out") & cases[column].notna()][0]
    cases.loc[aside, column] = cases.loc[inside, column]
    with pytest.raises(LeakError, match=f"1 {word} in both train and hold_out"):
        certify(clean, cases)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("near", "1 near-identical pair"),
        ("identical", "1 identical pair"),
        ("official", "1 official duplicate pair"),
        ("seen", "1 pair of split.same_picture"),
    ],
)
def test_one_parted_pair_refuses_with_the_overlap(clean, kind, words):
    cases = clean.cases
    a = cases.image_id[cases.fold == 0].iloc[0]
    b = cases.image_id[cases.fold == 1].iloc[0]
    row = {"image_a": b, "image_b": a, "kind": kind, "hamming": 3, "correlation": 0.97, "joined": True}
    pairs = clean.pairs.copy()
    pairs.loc[len(pairs)] = row
    with pytest.raises(LeakError, match=f"{words} in both fold 0 and fold 1"):
        certify(clean, pairs=pairs)
    pairs["joined"] = False
    assert certify(clean, pairs=pairs)


def test_a_hold_out_diagnosis_in_cases_refuses(clean):
    cases = clean.cases.copy()
    cases.loc[cases.split == "hold_out", "diagnosis"] = "NV"
    with pytest.raises(LeakError, match=r"\d+ hold-out diagnoses stand in it"):
        certify(clean, cases)


def test_an_image_that_stands_twice_refuses(clean):
    cases = clean.cases.copy()
    cases.loc[1, "image_id"] = cases.loc[0, "image_id"]
    with pytest.raises(LeakError, match="1 images stand twice"):
        certify(clean, cases)


def test_a_ledger_of_other_tables_and_a_failed_suite_refuse(clean):
    for tables in ({}, {**DEALT, "pairs": "c" * 64}, {"cases": DEALT["cases"]}):
        with pytest.raises(DataError, match=r"splits/ledger\.json: it is of other tables"):
            certify(clean, ledger_={**clean.ledger, "tables": tables})
    other = {**clean.ledger, "tables": DEALT, "overlaps": clean.ledger["overlaps"][:-1]}
    with pytest.raises(DataError, match="its overlaps are not those tables'"):
        certify(clean, ledger_=other)
    with pytest.raises(DataError, match="2 critical expectations failed"):
        certify(clean, prepared={"critical_failures": 2})
    with pytest.raises(DataError, match="None critical expectations failed"):
        certify(clean, prepared={})


def test_a_certificate_for_other_tables_is_refused(clean):
    paper = certify(clean)
    with pytest.raises(LeakError, match="it is for other tables: patients differ"):
        certificate.check_certificate(paper, {**DIGESTS, "patients": "c" * 64})
    with pytest.raises(LeakError, match="patients differ"):
        certificate.check_certificate(paper, {"cases": DIGESTS["cases"]})
    with pytest.raises(LeakError, match="shards differ"):
        certificate.check_certificate(paper, {**DIGESTS, "shards": "c" * 64})


@pytest.mark.parametrize(
    "forge",
    [
        lambda paper: paper["digests"].update(cases="c" * 64),
        lambda paper: paper["overlaps"][0].update(patient=0, near=1),
        lambda paper: paper["images"].update(train=1),
        lambda paper: paper.pop("checksum"),
        lambda paper: paper.update(checksum="0" * 64),
        lambda paper: paper.clear(),
    ],
)
def test_a_forged_certificate_is_noticed(clean, forge):
    paper = copy.deepcopy(certify(clean))
    forge(paper)
    with pytest.raises(LeakError, match="it was edited, or is none"):
        certificate.check_certificate(paper, {**DIGESTS, **paper.get("digests", {})})


@pytest.mark.parametrize(
    ("forged", "words"),
    [
        ({"overlaps": []}, "it compares no splits"),
        (
            {"overlaps": [{"a": "train", "b": "hold_out", **dict.fromkeys(ledger.KINDS, 1)}]},
            "1 patient in both train and hold_out",
        ),
        ({"format": certificate.FORMAT + 1}, "it was edited, or is none"),
    ],
)
def test_a_well_forged_certificate_still_may_not_show_an_overlap_or_be_of_another_format(
    clean, forged, words
):
    paper = {**certify(clean), **forged}
    del paper["checksum"]
    paper["checksum"] = certificate.checksum(paper)
    with pytest.raises(LeakError, match=words):
        certificate.check_certificate(paper, DIGESTS)


def test_overlaps_are_those_of_a_slow_count():
    result = split(world(3))
    chance = ledger.random_place(result.cases, 5)
    kept = result.cases[result.cases.split != "dropped"].set_index("image_id")
    found = {(e["a"], e["b"]): e for e in ledger.overlaps(result.cases, result.pairs, chance)}
    for a, b in (("fold 0", "fold 2"), ("fold 1", "hold_out"), ("train", "hold_out")):
        inside = (chance != "hold_out") if a == "train" else (chance == a)
        for kind in ("patient", "lesion"):
            ids = kept[f"{kind}_id"]
            one, other = set(ids[chance.index[inside]].dropna()), set(ids[chance.index[chance == b]].dropna())
            assert found[a, b][kind] == len(one & other) > 0


def test_overlaps_name_each_two_places_once_and_a_single_fold_as_train():
    result = split(world())

    def compared(cases):
        return [(entry["a"], entry["b"]) for entry in ledger.overlaps(cases, result.pairs)]

    places = ["fold 0", "fold 1", "fold 2", "hold_out"]
    assert compared(result.cases) == [*combinations(places, 2), ("train", "hold_out")]
    assert compared(result.cases.assign(fold=0)) == [("train", "hold_out")]


def test_a_random_split_has_the_same_sizes():
    result = split(world())
    chance = ledger.random_place(result.cases, 1)
    assert chance.value_counts().to_dict() == ledger.bins(result.cases).value_counts().to_dict()
    assert np.mean(chance.sort_index() != ledger.bins(result.cases).sort_index()) > 0.4
