"""Each expectation can fail, and fails alone, when one thing in a good table is spoilt."""

import json
import re
import runpy
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from good_tables import facts, prepared, released, tables
from matplotlib.figure import Figure

from dermaflow import outputs, quality, releases
from dermaflow.errors import DataError
from dermaflow.quality import contract, plots, published, rules, running
from dermaflow.quality import prepared as prepared_suite
from tests_paths import ROOT


def broken(report):
    return {(item.suite, item.rule) for item in report.failed_critical + report.failed_warning}


def put(release, column, value, row=0):
    """Write one cell of a release's table."""

    def spoil(rows, images):
        table = rows[release]
        if value is None or isinstance(value, str):
            table[column] = table[column].astype("object")
        table.loc[table.index[row], column] = value

    return spoil


def whole(release, column, value):
    def spoil(rows, images):
        rows[release][column] = value

    return spoil


def image(release, column, value):
    def spoil(rows, images):
        table = images[release]
        table[column] = pd.Series([value, *table[column].iloc[1:]], index=table.index, dtype="object")

    return spoil


def both(*spoils):
    def spoil(rows, images):
        for one in spoils:
            one(rows, images)

    return spoil


def unreadable(reason, width=0):
    return both(
        image("isic2018", "readable", False),
        image("isic2018", "problem", reason),
        image("isic2018", "width", width),
        image("isic2018", "height", width),
        image("isic2018", "thumbnail", b""),
    )


def twice(release):
    def spoil(rows, images):
        rows[release] = pd.concat([rows[release], rows[release].iloc[[-1]]], ignore_index=True)

    return spoil


def extra_column(rows, images):
    rows["isic2019"]["note"] = "x"


def same_image_twice(rows, images):
    images["isic2019"] = pd.concat([images["isic2019"], images["isic2019"].iloc[[0]]], ignore_index=True)


def no_image_at_all(rows, images):
    images["isic2020"] = images["isic2020"].iloc[:0]


def no_row_at_all(rows, images):
    table = rows["isic2020"]
    rows["isic2020"] = table[table["part"] == "test"].reset_index(drop=True)


def missing_share(release, column, share):
    def spoil(rows, images):
        table = rows[release]
        table.loc[np.arange(len(table)) < share * len(table), column] = None

    return spoil


def without_melanoma(rows, images):
    table = rows["isic2020"]
    rows["isic2020"] = table[(table["diagnosis"] != "MEL")].reset_index(drop=True)


def without_2018s_third(rows, images):
    rows["isic2019"] = rows["isic2019"].drop(index=2).reset_index(drop=True)


MUTATIONS = {
    ("isic2020 rows", "image_id given"): put("isic2020", "image_id", None, 12),
    ("isic2020 rows", "image_id unique"): twice("isic2020"),
    ("isic2020 rows", "image_id letters"): put("isic2020", "image_id", "ISIC 0000900", 12),
    ("isic2020 rows", "image_id pattern"): put("isic2020", "image_id", "PHOTO_1", 12),
    ("isic2018 rows", "part words"): put("isic2018", "part", "extra", 3),
    ("isic2018 rows", "row range"): put("isic2018", "row", 0),
    ("isic2020 rows", "age_years range"): put("isic2020", "age_years", 850.0, 5),
    ("isic2020 rows", "age_years words"): put("isic2020", "age_years", 51.0, 5),
    ("isic2020 rows", "sex words"): put("isic2020", "sex", "woman", 5),
    ("isic2020 rows", "site words"): put("isic2020", "site", "elbow", 5),
    ("isic2020 rows", "centre words"): put("isic2020", "centre", "Elsewhere", 5),
    ("isic2018 rows", "confirm_type words"): put("isic2018", "confirm_type", "a guess", 5),
    ("isic2019 rows", "columns"): extra_column,
    ("isic2020 rows", "age_years known"): missing_share("isic2020", "age_years", 0.3),
    ("isic2020 rows", "sex known"): missing_share("isic2020", "sex", 0.3),
    ("isic2020 rows", "site known"): missing_share("isic2020", "site", 0.4),
    ("isic2020 labels", "diagnosis given"): put("isic2020", "diagnosis", None, 5),
    ("isic2020 labels", "diagnosis complete"): without_melanoma,
    ("isic2020 labels", "rule_id given"): put("isic2020", "rule_id", None, 5),
    ("isic2020 labels", "raw_label words"): both(
        put("isic2020", "raw_label", "wart", 5), put("isic2020", "diagnosis", "UNK", 5)
    ),
    ("isic2020 labels", "mapping"): put("isic2020", "diagnosis", "UNK", 5),
    ("isic2018 labels", "lesion_id known"): missing_share("isic2018", "lesion_id", 0.2),
    ("isic2019 labels", "lesion_id known"): missing_share("isic2019", "lesion_id", 0.7),
    ("isic2019 labels", "lesion_id pattern"): put("isic2019", "lesion_id", "XYZ_0000001", 20),
    ("isic2018 labels", "confirm_type known"): missing_share("isic2018", "confirm_type", 0.2),
    ("isic2020 labels", "patient_id known"): missing_share("isic2020", "patient_id", 0.2),
    ("isic2020 labels", "patient_id pattern"): put("isic2020", "patient_id", "somebody", 5),
    ("isic2020 images", "rows"): no_image_at_all,
    ("isic2018 images", "image_id given"): image("isic2018", "image_id", None),
    ("isic2019 images", "image_id unique"): same_image_twice,
    ("isic2018 images", "part words"): image("isic2018", "part", "extra"),
    ("isic2018 images", "file given"): image("isic2018", "file", None),
    ("isic2018 images", "sha256 pattern"): image("isic2018", "sha256", "none"),
    ("isic2018 images", "opens"): unreadable("cut short"),
    ("isic2018 images", "reason_told"): unreadable(None),
    ("isic2018 images", "has_bytes"): image("isic2018", "bytes", 0),
    ("isic2018 images", "has_size"): both(image("isic2018", "width", 0), image("isic2018", "height", 0)),
    ("isic2018 images", "large_enough"): image("isic2018", "width", 31),
    ("isic2018 images", "has_thumbnail"): image("isic2018", "thumbnail", bytes(10)),
    ("train and test", "not_in_test"): put("isic2020", "image_id", "ISIC_0000020", 12),
    ("2020 apart", "only_in_2020"): both(
        put("isic2020", "image_id", "ISIC_0000020", 5), put("isic2019", "part", "test", 20)
    ),
    ("2018 within 2019", "same_lesion_id"): put("isic2018", "lesion_id", "HAM_0009999", 2),
    ("2018 within 2019", "same_diagnosis"): both(
        put("isic2018", "diagnosis", "AKIEC", 1), put("isic2018", "raw_label", "AKIEC", 1)
    ),
    ("2018 within 2019", "same_sex"): put("isic2018", "sex", "male", 2),
    ("2018 within 2019", "same_age_years"): put("isic2018", "age_years", 85.0, 2),
    ("2018 within 2019", "in_2019"): without_2018s_third,
    ("official duplicates", "kept_is_listed"): put("isic2020", "duplicate_of", "ISIC_0000999", 1),
    ("official duplicates", "same_patient"): put("isic2020", "patient_id", "IP_0000099", 1),
    ("official duplicates", "same_test_patient"): both(
        put("isic2020", "duplicate_of", "ISIC_0000506", 10),
        put("isic2020", "part", "test", slice(6, 11, 4)),
        put("isic2020", "patient_id", "IP_0000099", 10),
    ),
    ("official duplicates", "same_diagnosis"): both(
        put("isic2020", "diagnosis", "NV", 1), put("isic2020", "raw_label", "nevus", 1)
    ),
    ("official duplicates", "same_part"): put("isic2020", "part", "validation", 1),
    ("official duplicates", "kept_stays"): put("isic2020", "duplicate_of", "ISIC_0000501", 0),
}
ALSO = {
    # What can't be spoilt alone, and what breaks with it.
    ("isic2020 rows", "age_years range"): {("isic2020 rows", "age_years words")},
    ("isic2020 rows", "image_id letters"): {("isic2020 rows", "image_id pattern")},
    ("isic2018 images", "has_size"): {("isic2018 images", "large_enough")},
    ("isic2018 images", "reason_told"): {("isic2018 images", "opens")},
    ("isic2020 labels", "raw_label words"): {("isic2020 labels", "mapping")},
    ("train and test", "not_in_test"): {
        ("2020 apart", "only_in_2020"),
    },
}


@pytest.fixture(scope="module")
def good():
    rows = tables()
    return quality.validate(rows, facts(rows))


def test_good_tables_break_no_rule(good):
    assert broken(good) == set()
    assert good.counts["checked"] > 100
    quality.raise_if_critical(good)


@pytest.mark.slow  # a third of a second each: Great Expectations
@pytest.mark.parametrize("target", MUTATIONS, ids=" | ".join)
def test_each_rule_fails_alone_when_its_law_is_broken(target):
    rows = tables()
    images = facts(rows)
    MUTATIONS[target](rows, images)
    suite = target[0]
    checks = [*published.checks(rows, images), *contract.checks(rows, images)]
    touched = [
        check for check in checks if check.suite.split()[0] == suite.split()[0] or check.suite == suite
    ]
    if suite == "train and test":
        touched = [check for check in checks if check.suite in {suite, "2020 apart"}]
    report = running.run(touched)
    assert broken(report) == {target, *ALSO.get(target, set())}
    failed = next(item for item in report.results if (item.suite, item.rule) == target)
    assert failed.unexpected or (failed.detail and "None" not in failed.detail)
    if target[1] == "diagnosis complete":
        assert failed.detail.startswith("missing ")


def spoil_case(column, value, row=10):
    def spoil(cases, patients):
        if value is None or isinstance(value, str):
            cases[column] = cases[column].astype("object")
        cases.loc[row, column] = value
        return cases, patients

    return spoil


def spoil_patient(column, value, row=10):
    def spoil(cases, patients):
        patients[column] = patients[column].astype("object")
        patients.loc[row, column] = value
        return cases, patients

    return spoil


def without_fold_2(cases, patients):
    return cases[cases.fold != 2], patients[(cases.fold != 2).to_numpy()]


def without_melanoma_in_fold_1(cases, patients):
    cases.loc[(cases.fold == 1), "diagnosis"] = "NV"
    return cases, patients


def with_all_melanomas_in_fold_1(cases, patients):
    cases["diagnosis"] = cases["diagnosis"].mask(cases["diagnosis"].notna(), "NV")
    cases.loc[cases.index[cases.fold == 1][:1], "diagnosis"] = "MEL"
    return cases, patients


PREPARED = {
    ("prepared", "rows"): lambda cases, patients: (cases[:0], patients[:0]),
    ("prepared", "image_id given"): spoil_case("image_id", None),
    ("prepared", "image_id unique"): lambda cases, patients: (pd.concat([cases, cases.iloc[[10]]]), patients),
    ("prepared", "split words"): spoil_case("split", "validation", slice(0, 1)),
    ("prepared", "split complete"): lambda cases, patients: (cases[6:], patients[6:]),
    ("prepared", "fold words"): spoil_case("fold", 3, slice(10, 11)),
    ("prepared", "sex_missing given"): spoil_patient("sex_missing", None),
    ("prepared", "site_missing given"): spoil_patient("site_missing", None),
    ("patients", "rows"): lambda cases, patients: (cases, patients[:0]),
    ("prepared", "group range"): spoil_case("group", -1),
    ("prepared", "width range"): spoil_case("width", 0),
    ("prepared", "height range"): spoil_case("height", 0),
    ("prepared", "store given"): spoil_case("store", None),
    ("prepared", "label_where_it_belongs"): spoil_case("diagnosis", "NV", 0),
    ("prepared", "fold_where_it_belongs"): spoil_case("fold", -1, slice(6, 7)),
    ("prepared", "group_in_one_place"): spoil_case("group", 5, 15),
    ("prepared", "patient_id_in_one_place"): spoil_case("patient_id", "IP_5", 15),
    ("prepared", "lesion_id_in_one_place"): spoil_case("lesion_id", "HAM_5", 15),
    ("prepared", "fold complete"): without_fold_2,
    ("prepared", "has_patient_row"): lambda cases, patients: (cases, patients.drop(index=10)),
    ("prepared", "age_years given"): spoil_patient("age_years", None),
    ("prepared", "age_years range"): spoil_patient("age_years", 130.0),
    ("prepared", "sex given"): spoil_patient("sex", None),
    ("prepared", "sex words"): spoil_patient("sex", "woman"),
    ("prepared", "site given"): spoil_patient("site", None),
    ("prepared", "site words"): spoil_patient("site", "elbow"),
    ("prepared", "age_missing given"): spoil_patient("age_missing", None),
    ("patients", "is_a_case"): lambda cases, patients: (cases.drop(index=[10, 11]), patients),
    ("patients", "image_id unique"): lambda cases, patients: (
        cases,
        pd.concat([patients, patients.iloc[[3]]]),
    ),
    ("diagnoses by fold", "in_fold"): without_melanoma_in_fold_1,
    ("diagnoses by fold", "in_another_fold"): with_all_melanomas_in_fold_1,
}
WITHOUT_A_PATIENT = {
    ("prepared", f"{name} given")
    for name in ("age_years", "sex", "site", "age_missing", "sex_missing", "site_missing")
}
PREPARED_ALSO = {
    ("prepared", "rows"): {
        ("prepared", "split complete"),
        ("prepared", "fold complete"),
        ("patients", "rows"),
        ("diagnoses by fold", "rows"),
    },
    ("prepared", "image_id given"): {
        *WITHOUT_A_PATIENT,
        ("prepared", "has_patient_row"),
        ("patients", "is_a_case"),
    },
    ("prepared", "split complete"): {("prepared", "fold complete")},
    ("prepared", "has_patient_row"): WITHOUT_A_PATIENT,
    ("patients", "rows"): {*WITHOUT_A_PATIENT, ("prepared", "has_patient_row")},
    ("patients", "image_id unique"): {("prepared", "image_id unique")},
    ("prepared", "fold complete"): {("diagnoses by fold", "in_fold")},
}


def test_a_good_prepared_table_breaks_no_rule():
    cases, patients = prepared()
    assert broken(quality.validate_prepared(cases, patients, folds=3)) == set()
    dropped = cases.iloc[[6]].assign(split="dropped", fold=-1, why_dropped="duplicate")  # looked at by none
    assert broken(quality.validate_prepared(pd.concat([cases, dropped]), patients, folds=3)) == set()


@pytest.mark.slow
@pytest.mark.parametrize("target", PREPARED, ids=" | ".join)
def test_each_rule_of_the_prepared_table_can_fail(target):
    report = quality.validate_prepared(*PREPARED[target](*prepared()), folds=3)
    assert broken(report) == {target, *PREPARED_ALSO.get(target, set())}


def test_each_rule_has_its_mutation():
    rows = tables()
    checks = [*published.checks(rows, facts(rows)), *contract.checks(rows, facts(rows))]
    families = {(check.suite.split()[-1], rule.id) for check in checks for rule in check.rules}
    assert families - {("labels", "rows"), ("rows", "rows")} == {
        (suite.split()[-1], rule) for suite, rule in MUTATIONS
    }
    cases, patients = prepared()
    checks = prepared_suite.checks(cases, patients, 3)
    names = {(check.suite, rule.id) for check in checks for rule in check.rules}
    assert names - {("diagnoses by fold", "rows")} == set(PREPARED)


WARNINGS = {
    "published": {
        ("rows", "image_id pattern"),
        ("rows", "age_years words"),
        ("rows", "age_years known"),
        ("rows", "sex known"),
        ("rows", "site known"),
        ("labels", "diagnosis complete"),
        ("labels", "lesion_id known"),
        ("labels", "lesion_id pattern"),
        ("labels", "confirm_type known"),
        ("labels", "patient_id pattern"),
        ("labels", "traceable"),
        ("labels", "one_patient"),
        ("images", "rows"),
        ("images", "opens"),
        ("images", "large_enough"),
    },
    "contract": {
        ("2018 within 2019", "same_sex"),
        ("2018 within 2019", "same_age_years"),
        ("mine shared", "same_diagnosis"),
        ("mine shared", "used_here"),
        ("official duplicates", "same_test_patient"),
    },
    "prepared": {("diagnoses by fold", "in_fold"), ("diagnoses by fold", "in_another_fold")},
}


@pytest.mark.parametrize("suites", WARNINGS)
def test_these_rules_warn_and_every_other_stops(suites):
    mine = released(["ISIC_0000001", "ISIC_0700001"], ["x", "x"], ["NV", None], part=["train", "aside"])
    rows = {**tables(), "mine": mine}
    checks = {
        "published": [
            replace(check, suite=check.suite.split()[1]) for check in published.checks(rows, facts(rows))
        ],
        "contract": contract.checks(rows, facts(rows)),
        "prepared": prepared_suite.checks(*prepared(), 3),
    }[suites]
    told = {
        severity: {(c.suite, rule.id) for c in checks for rule in c.rules if rule.severity == severity}
        for severity in (rules.WARNING, rules.CRITICAL)
    }
    assert told[rules.WARNING] == WARNINGS[suites]
    assert not told[rules.WARNING] & told[rules.CRITICAL]


def only(checks, suite, rule):
    check = next(check for check in checks if check.suite == suite)
    return replace(check, rules=tuple(one for one in check.rules if one.id == rule))


LIMITS = [
    ("isic2020 rows", "image_id letters", "image_id", ["a.b-c_1"], [" a", "a ", "a/b"]),
    (
        "isic2020 rows",
        "image_id pattern",
        "image_id",
        ["ISIC_0000900_downsampled"],
        ["xISIC_0000900", "ISIC_000090", "ISIC_00000900", "ISIC_0000900_down"],
    ),
    ("isic2020 rows", "age_years range", "age_years", [0.0, 120.0], [-1.0, 121.0]),
    ("isic2020 rows", "age_years words", "age_years", [0.0, 120.0], [-5.0, 125.0]),
    (
        "isic2018 labels",
        "lesion_id pattern",
        "lesion_id",
        ["HAM_0000001"],
        ["xHAM_0000001", "HAM_000001", "HAM_00000001"],
    ),
    (
        "isic2019 labels",
        "lesion_id pattern",
        "lesion_id",
        ["HAM_1", "BCN_1", "MSK4_1"],
        ["xBCN_1", "BCN_1-", "BCN", "MEL_1"],
    ),
    (
        "isic2020 labels",
        "patient_id pattern",
        "patient_id",
        ["IP_0000001"],
        ["xIP_0000001", "IP_000001", "IP_00000001"],
    ),
    ("isic2018 images", "sha256 pattern", "sha256", ["a" * 64], ["a" * 63, "a" * 65, "g" * 64]),
    ("isic2018 images", "has_bytes", "bytes", [1], [0]),
    ("isic2018 images", "has_size", "height", [1], [0]),
    ("isic2018 images", "large_enough", "width", [32], [31]),
    ("isic2018 images", "large_enough", "height", [32], [31]),
    ("isic2018 images", "has_thumbnail", "thumbnail", [bytes(4096)], [bytes(4095), bytes(4097)]),
    ("prepared", "age_years range", "age_years", [0.0, 120.0], [-1.0, 121.0]),
    ("prepared", "width range", "width", [1], [0]),
    ("prepared", "height range", "height", [1], [0]),
]


@pytest.mark.parametrize(("suite", "rule", "column", "within", "beyond"), LIMITS)
def test_what_lies_on_a_limit_passes_and_what_lies_beyond_is_named(suite, rule, column, within, beyond):
    rows, (cases, patients) = tables(), prepared()
    images = facts(rows)
    if suite == "prepared":
        table = patients if column == "age_years" else cases
    else:
        table = (images if suite.endswith("images") else rows)[suite.split()[0]]
    told = [*within, *beyond]
    table[column] = [*told, *table[column].iloc[len(told) :]]
    checks = [*published.checks(rows, images), *prepared_suite.checks(cases, patients, 3)]
    (found,) = running.run([only(checks, suite, rule)]).results
    outside = table["image_id"][len(within) : len(told)]
    assert [name.split(" (")[0] for name in found.first] == outside.tolist()


SHARES = [
    ("isic2020 rows", "age_years", 90),
    ("isic2020 rows", "sex", 90),
    ("isic2020 rows", "site", 80),
    ("isic2018 labels", "lesion_id", 99),
    ("isic2018 labels", "confirm_type", 99),
    ("isic2019 labels", "lesion_id", 50),
    ("isic2020 labels", "patient_id", 99),
]


@pytest.mark.parametrize(("suite", "column", "percent"), SHARES)
def test_so_many_of_a_hundred_rows_have_a_value_and_not_one_fewer(suite, column, percent):
    release = suite.split()[0]
    train = tables()[release].query("part == 'train'")
    hundred = pd.concat([train] * 9, ignore_index=True)[:100]
    held = []
    for known in (percent, percent - 1):
        table = hundred.assign(**{column: hundred[column].where(hundred.index < known)})
        check = only(published.checks({release: table}, {}), suite, f"{column} known")
        held += [result.success for result in running.run([check]).results]
    assert held == [True, False]


def test_a_critical_failure_stops_with_its_first_rows():
    rows = tables()
    put("isic2020", "age_years", 850.0, 5)(rows, None)
    report = quality.validate(rows, facts(rows))
    with pytest.raises(
        DataError, match=r"isic2020 rows: 1 critical expectation failed: .*\(1 of 13 rows: ISIC_0000505"
    ):
        quality.raise_if_critical(report)


def test_a_collection_that_lists_an_image_of_2018s_test_folder_stops():
    """2018's test images are in no table: their folder alone tells."""
    rows = tables()
    rows["mine"] = released(["ISIC_0034524"], ["Benign:nevus"], ["NV"], rule_id="archive:nevus")
    images = facts(rows)
    images["isic2018"] = pd.concat(
        [images["isic2018"], images["mine"].assign(part="test")], ignore_index=True
    )
    check = next(check for check in contract.checks(rows, images) if check.suite == "train and test")
    with pytest.raises(
        DataError, match=r"train and test: 1 .*folder of test images\. \(1 of \d+ rows: ISIC_0034524\)"
    ):
        quality.raise_if_critical(running.run([check]))


def test_a_collection_that_lists_the_larger_copy_of_a_test_image_stops():
    rows = {"isic2019": tables()["isic2019"], "mine": released(["ISIC_0034524"], ["x"], ["NV"])}
    test = released(["ISIC_0034524_downsampled"], ["x"], ["NV"], part="test")
    test[["raw_label", "diagnosis", "rule_id"]] = None
    rows["isic2019"] = pd.concat([rows["isic2019"], test], ignore_index=True)
    check = next(check for check in contract.checks(rows, facts(rows)) if check.suite == "train and test")
    with pytest.raises(DataError, match=r"test images\. \(1 of \d+ rows: ISIC_0034524\)"):
        quality.raise_if_critical(running.run([check]))


def test_the_larger_copy_of_an_image_that_2019_gives_out_smaller_has_its_label():
    for here, agrees in (("NV", True), ("MEL", False)):
        rows = {
            "isic2019": released(["ISIC_0000001_downsampled"], ["NV"], ["NV"]),
            "mine": released(["ISIC_0000001"], [here], [here]),
        }
        check = next(check for check in contract.checks(rows, facts(rows)) if check.suite == "mine shared")
        assert broken(running.run([check])) == (set() if agrees else {("mine shared", "same_diagnosis")})


@pytest.mark.parametrize(
    ("said", "here", "agrees"),
    [
        ("UNK", "NV", True),
        ("UNK", "MEL", False),
        ("UNK", "BCC", False),
        ("UNK", "SCC", False),
        ("AKIEC", "AK", True),
        ("AKIEC", "SCC", True),
        ("AKIEC", "NV", False),
        ("NV", "UNK", False),
    ],
)
def test_a_collection_may_say_more_of_a_challenges_image_but_nothing_else(said, here, agrees):
    rows = {
        "isic2019": released(["ISIC_0000001"], [said], [said]),
        "mine": released(["ISIC_0000001"], [here], [here]),
    }
    check = next(check for check in contract.checks(rows, facts(rows)) if check.suite == "mine shared")
    assert broken(running.run([check])) == (set() if agrees else {("mine shared", "same_diagnosis")})


@pytest.mark.parametrize(
    ("said", "why", "agrees"),
    [
        ("NV", "no diagnosis", True),
        ("UNK", "indeterminate, other", True),
        ("NV", "indeterminate, other", False),
        ("UNK", "benign, other", False),
        ("UNK", "malignant, other", False),
        ("MEL", "no dermoscopic image: clinical", False),
    ],
)
def test_an_image_that_others_learn_from_is_not_set_aside_without_a_word(said, why, agrees):
    rows = {
        "isic2019": released(["ISIC_0000001"], [said], [said]),
        "mine": pd.concat(
            [
                released(["ISIC_0700001"], ["Benign:nevus"], ["NV"], rule_id="archive:nevus"),
                released(["ISIC_0000001"], ["x"], [None], rule_id=f"archive:aside, {why}").assign(
                    part="aside"
                ),
            ],
            ignore_index=True,
        ),
    }
    check = next(check for check in contract.checks(rows, facts(rows)) if check.suite == "mine shared")
    assert broken(running.run([check])) == (set() if agrees else {("mine shared", "used_here")})


@pytest.mark.parametrize(("groups", "warned"), [(2, False), (3, True)])
def test_a_diagnosis_must_stand_in_every_fold_from_as_many_groups_as_folds_on(groups, warned):
    cases, patients = prepared()
    rare = cases.index[cases.fold == 1][::2][:groups]
    cases["diagnosis"] = cases["diagnosis"].mask(cases["diagnosis"].notna(), "NV")
    cases.loc[rare, "diagnosis"] = "DF"  # one image of each group of fold 1
    assert cases.group[rare].nunique() == groups
    check = next(c for c in prepared_suite.checks(cases, patients, 3) if c.suite == "diagnoses by fold")
    assert broken(running.run([check])) == {
        ("diagnoses by fold", "in_another_fold"),
        *([("diagnoses by fold", "in_fold")] if warned else []),
    }


def test_a_warning_does_not_stop():
    rows = tables()
    put("isic2018", "age_years", 85.0, 2)(rows, None)
    report = quality.validate(rows, facts(rows))
    assert report.counts["warnings"] == 1
    quality.raise_if_critical(report)


def test_the_stage_says_each_warning_and_lists_the_unreadable_files_before_it_stops(project, capsys):
    shutil.copy(ROOT / "params.yaml", project)
    rows = tables()
    images = facts(rows)
    both(unreadable("cut short"), put("isic2018", "age_years", 85.0, 2))(rows, images)
    put("isic2020", "sex", "woman", 5)(rows, images)
    for name, table in rows.items():
        outputs.releases.of(name).write(table)
        outputs.facts.of(name).write(images[name])
    with pytest.raises(DataError, match="sex is one of 2 known values"):
        runpy.run_path(str(ROOT / "stages" / "validate.py"))["main"]()
    assert capsys.readouterr().out.splitlines() == [
        "warning: 2018 within 2019: A shared image has the same age in both. (1 of 14 rows: ISIC_0000002)",
        "warning: isic2018 images: Every image file decodes. (1 of 14 rows: ISIC_0000000)",
    ]
    listed = project / "reports" / "quality" / "unreadable.csv"
    assert listed.read_text(encoding="utf-8").splitlines()[1:] == [
        "isic2018,ISIC_0000000,ISIC_0000000.jpg,cut short"
    ]


def test_an_empty_file_is_a_warning_as_any_unreadable_file_is():
    rows = tables()
    images = facts(rows)
    both(unreadable("the file is empty"), image("isic2018", "bytes", 0))(rows, images)
    report = quality.validate(rows, images)
    assert broken(report) == {("isic2018 images", "opens")}
    quality.raise_if_critical(report)


def test_a_missing_column_is_critical_whatever_the_rule_says():
    check = rules.Check("odd", pd.DataFrame({"image_id": ["a"]}), (rules.given("age_years", "warning"),))
    report = running.run([check])
    assert report.failed_critical[0].rule == "age_years given"
    with pytest.raises(DataError, match="age_years"):
        quality.raise_if_critical(report)


def test_an_empty_release_is_critical():
    rows = tables()
    no_row_at_all(rows, None)
    report = quality.validate(rows, facts(rows))
    assert ("isic2020 labels", "rows") in {(item.suite, item.rule) for item in report.failed_critical}


def test_the_report_is_the_same_in_every_run(good):
    rows = tables()
    again = quality.validate(rows, facts(rows)).to_json()
    assert json.dumps(again) == json.dumps(good.to_json())
    assert again["results"] == sorted(again["results"], key=lambda row: (row["suite"], row["rule"]))


def test_releases_that_are_not_asked_for_are_not_missed():
    rows = {"isic2018": tables()["isic2018"]}
    report = quality.validate(rows, facts(rows))
    assert broken(report) == set()
    assert {item.suite for item in report.results} == {
        "isic2018 rows",
        "isic2018 labels",
        "isic2018 images",
        "train and test",
    }


def test_data_docs_open_without_the_net_and_show_what_failed(project):
    rows = {"isic2018": tables()["isic2018"]}
    rows["isic2018"].loc[2, "age_years"] = 51.0
    report = quality.validate(rows, facts(rows))
    folder = project / "reports" / "quality"
    quality.data_docs(folder, report, rows, facts(rows))
    pages = list(folder.rglob("*.html"))
    assert len(pages) == 1 + 2 * 4  # the index; expectations and results of each suite
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert "http:" not in text
        assert "https:" not in text
        assert not re.search(r"""(?:src|href)=["']//""", text)
        assert "<script" not in text.lower()
        assert "<style>" in text
        assert "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' file:" in text
    index = (folder / "index.html").read_text(encoding="utf-8")
    assert "ISIC_0000002 (51.0)" in index
    assert "validations/isic2018%20rows/" in index
    pictures = re.findall(r"<img src='([^']+)'", index)
    assert len(pictures) == 6
    for picture in pictures:
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
    assert not (folder / "static").exists()  # scripts and fonts of the pages before
    assert not list(project.joinpath(".tmp").iterdir())


def test_unreadable_files_are_listed_with_their_reason_until_there_are_none(project):
    rows = {"isic2018": tables()["isic2018"]}
    good, bad = facts(rows), facts(rows)
    unreadable("cut short, at byte 900")(rows, bad)
    folder = project / "reports" / "quality"
    for images, linked in ((bad, True), (good, False)):
        quality.data_docs(folder, quality.validate(rows, images), rows, images)
        assert (folder / "unreadable.csv").exists() == linked
        assert ("href='unreadable.csv'" in (folder / "index.html").read_text(encoding="utf-8")) == linked
        if linked:
            assert (folder / "unreadable.csv").read_text(encoding="utf-8").splitlines() == [
                "release,image_id,file,problem",
                'isic2018,ISIC_0000000,ISIC_0000000.jpg,"cut short, at byte 900"',
            ]


def test_the_report_is_the_same_where_thumbnails_are_told_by_their_length():
    rows = tables()
    whole = facts(rows)
    whole["isic2018"].loc[2, "thumbnail"] = bytes(10)
    light = {
        name: table.drop(columns="thumbnail").assign(thumbnail_bytes=table["thumbnail"].map(len))
        for name, table in whole.items()
    }
    assert quality.validate(rows, whole).to_json() == quality.validate(rows, light).to_json()


@pytest.mark.isic
def test_the_official_tables_break_no_critical_rule(isic):
    rows = {name: releases.read(name, releases.find_release(isic, name)) for name in releases.READERS}
    empty = {name: table.iloc[:0] for name, table in facts(tables()).items()}
    report = quality.validate(rows, empty)
    quality.raise_if_critical(report)
    known = {(name, "rows") for name in ("isic2018 images", "isic2019 images", "isic2020 images")}
    assert broken(report) - known == {
        ("2018 within 2019", "same_age_years"),  # two images: 5 years in HAM10000, 0 in 2019
        ("official duplicates", "same_test_patient"),  # ten test pairs under two patient ids
    }


def test_the_picture_of_ages_holds_every_age_that_the_suite_lets_pass():
    figure = Figure()
    ages = pd.DataFrame({"age_years": [0.0, 45, 95, 120]})
    plots._ages(figure, {"isic2020": ages})
    (drawn,) = figure.axes[0].patches
    assert drawn.get_xy()[:, 0].min() < 0
    assert drawn.get_xy()[:, 0].max() > 120
    heights = dict(zip(*drawn.get_xy()[1:-1:2].T, strict=True))
    assert sum(heights.values()) == pytest.approx(100)
