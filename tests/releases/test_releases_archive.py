"""A collection of the ISIC Archive: what its diagnoses become, what is set aside, how it joins the years."""

import re

import pandas as pd
import pytest
from published_files import (
    MELANOMA,
    NEVUS,
    write,
    write_2018,
    write_2019,
    write_2020,
    write_archive,
    write_dataverse,
)

from dermaflow import quality, releases
from dermaflow.errors import DataError
from dermaflow.quality import contract, published, running
from dermaflow.releases import archive
from dermaflow.taxonomy import DIAGNOSES, SITES

FOLLICULAR = "Malignant:Malignant adnexal epithelial proliferations - Follicular"
SKIN = "Malignant:Malignant epidermal proliferations"
SOFT = "Benign:Benign soft tissue proliferations"


def one(tmp_path, **given):
    """Read a collection of one nevus and one row that differs."""
    folder = write_archive(tmp_path / "mine", {"ISIC_0000001": {}, "ISIC_0000002": given})
    return releases.read("mine", folder).set_index("image_id").loc["ISIC_0000002"]


@pytest.mark.parametrize(
    ("path", "code", "rule"),
    [
        (NEVUS, "NV", "nevus"),
        (f"{NEVUS}:Nevus, NOS, Compound", "NV", "nevus"),
        (f"{NEVUS}:Blue nevus:Blue nevus, Cellular", "NV", "nevus"),
        (MELANOMA, "MEL", "melanoma, nos"),
        (
            MELANOMA.replace(", NOS", " in situ:Melanoma in situ, Lentigo maligna type"),
            "MEL",
            "melanoma in situ",
        ),
        (MELANOMA.replace(", NOS", " metastasis"), "MEL", "melanoma metastasis"),
        (MELANOMA.rpartition(":")[0], "MEL", "malignant melanocytic proliferations (melanoma)"),
        (
            f"{FOLLICULAR}:Basal cell carcinoma:Basal cell carcinoma, Nodular",
            "BCC",
            "basal cell carcinoma",
        ),
        (f"{SKIN}:Squamous cell carcinoma, NOS", "SCC", "squamous cell carcinoma, nos"),
        (f"{SKIN}:Squamous cell carcinoma in situ", "SCC", "squamous cell carcinoma in situ"),
        (f"{SKIN}:Keratoacanthoma", "SCC", "keratoacanthoma"),
        (
            "Indeterminate:Indeterminate epidermal proliferations:Solar or actinic keratosis",
            "AK",
            "solar or actinic keratosis",
        ),
        ("Benign:Benign epidermal proliferations:Seborrheic keratosis", "BKL", "seborrheic keratosis"),
        ("Benign:Benign epidermal proliferations:Solar lentigo", "BKL", "solar lentigo"),
        (
            "Benign:Benign epidermal proliferations:Lichen planus like keratosis",
            "BKL",
            "lichen planus like keratosis",
        ),
        ("Benign:Flat melanotic pigmentations - not melanocytic nevus:Lentigo NOS", "BKL", "lentigo nos"),
        (f"{SOFT} - Fibro-histiocytic:Dermatofibroma:Dermatofibroma, Cellular", "DF", "dermatofibroma"),
        (f"{SOFT} - Vascular:Hemangioma:Hemangioma, Cherry", "VASC", "hemangioma"),
        (f"{SOFT} - Vascular:Venous lake", "VASC", "benign soft tissue proliferations - vascular"),
        ("Benign:Hemorrhagic lesions:Hemorrhage:Subungual hemorrhage", "VASC", "hemorrhage"),
        ("Benign", "UNK", "benign, unnamed"),
        ("Benign:Cysts:Comedo", "UNK", "benign, other"),
        ("Benign:Benign epidermal proliferations:Epidermal nevus", "UNK", "benign, other"),
        ("Benign:Benign epidermal proliferations:A name of next year", "UNK", "benign, other"),
    ],
)
def test_the_deepest_name_with_a_rule_gives_the_code(tmp_path, path, code, rule):
    row = one(tmp_path, path=path)
    assert (row.part, row.diagnosis, row.rule_id) == ("train", code, f"archive:{rule}")
    assert row.raw_label == path


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"path": "Malignant:Merkel cell proliferation:Merkel cell carcinoma"}, "malignant, other"),
        ({"path": "Malignant"}, "malignant, unnamed"),
        ({"path": "Malignant:Collision - At least one malignant proliferation"}, "malignant, other"),
        (
            {"path": "Indeterminate:Indeterminate melanocytic proliferations:Atypical Spitz tumor"},
            "indeterminate, other",
        ),
        ({"path": ""}, "no diagnosis"),
        ({"image_type": "TBP tile: close-up"}, "no dermoscopic image: tbp tile: close-up"),
        ({"image_type": "clinical: overview", "path": MELANOMA}, "no dermoscopic image: clinical: overview"),
        ({"image_manipulation": "synthetic"}, "synthetic image"),
    ],
)
def test_what_has_no_place_is_set_aside_with_its_reason_and_without_a_label(tmp_path, given, why):
    row = one(tmp_path, **given)
    assert (row.part, row.rule_id) == ("aside", f"archive:aside, {why}")
    assert pd.isna(row.diagnosis)
    assert row.row == 2


def test_an_unknown_kind_of_image_and_an_instrument_in_it_do_not_set_aside(tmp_path):
    assert one(tmp_path, image_type="", image_manipulation="instrument only").part == "train"


def older(tmp_path, diagnosis, group):
    write(
        tmp_path / "old" / "metadata.csv",
        [
            "isic_id,benign_malignant,diagnosis,age_approx,sex",
            "ISIC_0000001,benign,nevus,40,male",
            f"ISIC_0000002,{group},{diagnosis},,",
        ],
    )
    return releases.read("old", tmp_path / "old").set_index("image_id").loc["ISIC_0000002"]


@pytest.mark.parametrize(
    ("diagnosis", "group", "code", "rule"),
    [
        ("melanoma", "malignant", "MEL", "melanoma"),
        ("actinic keratosis", "benign", "AK", "actinic keratosis"),
        ("nevus", "indeterminate/benign", "NV", "nevus"),
        ("lichenoid keratosis", "", "BKL", "lichenoid keratosis"),
        ("vascular lesion", "benign", "VASC", "vascular lesion"),
        ("scar", "", "UNK", "benign, other"),
        ("other", "benign", "UNK", "benign, other"),
        ("", "benign", "UNK", "benign, unnamed"),
        ("other", "", None, "aside, no diagnosis"),
        ("AIMP", "indeterminate", None, "aside, indeterminate, other"),
        ("merkel cell carcinoma", "", None, "aside, malignant, other"),
        ("", "malignant", None, "aside, malignant, unnamed"),
    ],
)
def test_the_older_columns_are_read_where_the_path_is_absent(tmp_path, diagnosis, group, code, rule):
    row = older(tmp_path, diagnosis, group)
    assert row.rule_id == f"archive:{rule}"
    assert row.diagnosis == code if code else pd.isna(row.diagnosis)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"path": MELANOMA.replace("Malignant:", "Benign:", 1)}, "1 rows are benign and named Melanoma, NOS"),
        ({"path": NEVUS.replace("Benign:", "Malignant:", 1)}, "1 rows are malignant and named Nevus"),
        ({"path": "Bening:Cysts"}, "1 rows have an unknown diagnosis_1: Bening"),
        ({"path": ":Cysts:Comedo"}, "1 rows name 'Cysts' without diagnosis_1"),
        (
            {"benign_malignant": "malignant"},
            "1 rows are Benign in diagnosis_1 and malignant in benign_malignant",
        ),
        ({"benign_malignant": "maybe"}, "1 rows have an unknown benign_malignant: maybe"),
        (
            {"diagnosis_confirm_type": "a guess"},
            "cells of diagnosis_confirm_type hold unknown words: a guess",
        ),
        (
            {"anatom_site_general": "", "anatom_site_1": "Wing"},
            "cells of anatom_site_1 hold unknown words: wing",
        ),
    ],
)
def test_rows_that_contradict_themselves_are_refused_by_file_and_row(tmp_path, given, message):
    with pytest.raises(DataError, match=message) as caught:
        one(tmp_path, **given)
    assert caught.value.where == "metadata.csv, row 2"
    assert caught.value.remedy


def test_an_unknown_word_in_the_older_column_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"metadata\.csv, row 2: 1 rows have an unknown diagnosis: wart"):
        older(tmp_path, "wart", "benign")


def test_a_collection_without_any_row_to_learn_from_says_why(tmp_path):
    folder = write_archive(tmp_path, {"a": {"path": "Malignant"}, "b": {"path": ""}, "c": {"path": ""}})
    with pytest.raises(
        DataError, match=r"none of 3 rows can be learned from: no diagnosis 2, malignant, unnamed 1"
    ):
        releases.read("mine", folder)


def test_a_table_without_a_column_of_diagnoses_is_refused(tmp_path):
    write(tmp_path / "metadata.csv", ["isic_id,sex", "ISIC_0000001,male"])
    with pytest.raises(DataError, match=r"row 0 \(header\): no column diagnosis_1 .*it has image_id, sex"):
        releases.read("mine", tmp_path)


@pytest.mark.parametrize(
    ("given", "site"),
    [
        ({"anatom_site_general": "lateral torso"}, "torso"),
        ({"anatom_site_general": "", "anatom_site_1": "Head and neck", "anatom_site_2": "Neck"}, "head/neck"),
        (
            {
                "anatom_site_general": "",
                "anatom_site_1": "Lower extremity",
                "anatom_site_2": "Foot",
                "anatom_site_3": "Sole of foot",
                "anatom_site_4": "Heel",
            },
            "palms/soles",
        ),
        ({"anatom_site_general": "", "anatom_site_1": "Anogenital region"}, "oral/genital"),
        ({"anatom_site_general": "", "anatom_site_special": "acral palms or soles"}, "palms/soles"),
        ({"anatom_site_general": "head/neck", "anatom_site_special": "nail NOS"}, "head/neck"),
    ],
)
def test_a_site_comes_from_the_first_column_that_knows_it(tmp_path, given, site):
    row = one(tmp_path, **given)
    assert row.site == site
    assert row.raw_site


def test_every_rule_leads_to_a_code_and_every_site_to_one_of_the_six():
    assert set(archive.TERMS.values()) == set(DIAGNOSES) - {"UNK"}
    assert set(archive._SITES.values()) | set(archive._SPECIAL.values()) - {None} <= set(SITES)
    assert not set(archive.TERMS) & set(archive._OLD)


def test_ages_of_85_and_more_count_as_85(tmp_path):
    assert one(tmp_path, age_approx="85+").age_years == 85


# Among the other releases


@pytest.fixture
def tables(tmp_path):
    for write_year, name in ((write_2018, "2018"), (write_2019, "2019"), (write_2020, "2020")):
        write_year(tmp_path / name)
    write_archive(
        tmp_path / "mine",
        {
            "ISIC_0000002": {"path": f"{SKIN}:Squamous cell carcinoma in situ"},  # AKIEC in 2018, SCC in 2019
            "ISIC_0000003": {"path": MELANOMA},
            "ISIC_0100002": {"path": "Benign"},  # unknown in 2020
            "ISIC_0700001": {},
            "ISIC_0700002": {"path": "Malignant"},
        },
    )
    names = ["isic2018", "isic2019", "isic2020", "mine"]
    return {name: releases.read(name, releases.find_release(tmp_path, name)) for name in names}


def test_a_collection_adds_its_own_images_and_leaves_the_labels_of_the_years(tables):
    merged = releases.merge(tables).set_index("image_id")
    assert len(merged) == 7
    assert merged.rule_id["ISIC_0000003"] == "isic2019:MEL"
    assert merged.release["ISIC_0700001"] == "mine"
    assert merged.rule_id["ISIC_0700001"] == "archive:nevus"
    assert "ISIC_0700002" not in merged.index
    assert merged.patient_id["ISIC_0000003"] == "IP_0000002"  # 2018 and 2019 name no patient


def test_unnamed_benign_of_the_archive_of_2019_and_of_2020_stay_apart(tables, tmp_path):
    merged = releases.merge(tables).set_index("image_id")
    assert merged.rule_id["ISIC_0100002"] == "isic2020:unknown"
    alone = releases.merge({"mine": tables["mine"]}).set_index("image_id")
    assert alone.rule_id["ISIC_0100002"] == "archive:benign, unnamed"
    unk = releases.read("isic2019", write_2019(tmp_path / "unk", {"ISIC_0000001": "UNK"}))
    rules = {*unk.rule_id, alone.rule_id["ISIC_0100002"], merged.rule_id["ISIC_0100002"]}
    assert len(rules) == 3


def test_a_collection_takes_2018s_akiec_apart_and_changes_nothing_else_of_it(tables):
    merged = releases.merge({name: tables[name] for name in ("isic2018", "mine")}).set_index("image_id")
    assert merged.diagnosis["ISIC_0000002"] == "SCC"
    assert merged.label_release["ISIC_0000002"] == "mine"
    assert merged.release["ISIC_0000002"] == "isic2018"
    assert merged.label_release["ISIC_0000003"] == "isic2018"


def test_one_lesion_under_two_ids_is_one_lesion_after_merging(tmp_path):
    # HAM_0000000 has images 1 and 2 in 2018; the archive knows image 2 as IL_9 and another image of IL_9.
    first = releases.read("isic2018", write_2018(tmp_path / "2018"))
    first.loc[first.image_id == "ISIC_0000002", "lesion_id"] = "HAM_0000000"
    mine = write_archive(
        tmp_path / "mine",
        {"ISIC_0000002": {"lesion_id": "IL_9"}, "ISIC_0700001": {"lesion_id": "IL_9"}, "ISIC_0700002": {}},
    )
    tables = {"isic2018": first, "mine": releases.read("mine", mine)}
    for order in (tables, dict(reversed(tables.items()))):
        lesion = releases.merge(order).set_index("image_id").lesion_id
        assert lesion[["ISIC_0000001", "ISIC_0000002", "ISIC_0700001"]].tolist() == ["HAM_0000000"] * 3
        assert lesion["ISIC_0700002"] == "IL_0000003"


def test_ids_that_meet_in_a_chain_of_collections_become_one(tmp_path):
    def mine(name, pairs):
        rows = {image: {"patient_id": patient} for image, patient in pairs.items()}
        return releases.read(name, write_archive(tmp_path / name, rows))

    tables = {
        "a": mine("a", {"x1": "P_a", "x2": "P_b"}),
        "b": mine("b", {"x2": "Q", "x3": "Q"}),
        "c": mine("c", {"x3": "R", "x1": "R", "x4": "S"}),
    }
    patient = releases.merge(tables).set_index("image_id").patient_id
    assert len(set(patient[["x1", "x2", "x3"]])) == 1
    assert patient["x4"] == "S"


def test_a_row_set_aside_still_says_whose_picture_it_is(tmp_path):
    """Else two pictures of one lesion, both labelled by 2019 alone, could stand in two splits."""
    write_2019(tmp_path / "2019")
    table = tmp_path / "2019" / "ISIC_2019_Training_Metadata.csv"
    table.write_text(re.sub(r"BCN_\d+", "", table.read_text()))
    aside = {"path": "Indeterminate", "lesion_id": "IL_0000007", "patient_id": "IP_0000007"}
    made = {"lesion_id": "IL_0000007", "image_type": "clinical: close-up"}
    write_archive(tmp_path / "mine", {"ISIC_0000001": aside, "ISIC_0000009": made, "ISIC_0700001": {}})
    tables = {
        name: releases.read(name, releases.find_release(tmp_path, name)) for name in ("isic2019", "mine")
    }
    assert tables["mine"].part.tolist() == ["train", "aside", "aside"]
    merged = releases.merge(tables).set_index("image_id")
    assert merged.index.tolist() == [f"ISIC_000000{i}" for i in (1, 2, 3, 9)] + ["ISIC_0700001"]
    assert merged.lesion_id["ISIC_0000001"] == merged.lesion_id["ISIC_0000009"] == "IL_0000007"
    assert merged.patient_id["ISIC_0000001"] == "IP_0000007"
    assert merged.release["ISIC_0000001"] == merged.label_release["ISIC_0000001"] == "isic2019"
    assert merged.diagnosis["ISIC_0000009"] == "AK"


def test_ids_that_meet_in_an_image_without_a_label_mean_one_lesion_too(tmp_path):
    """Nobody trains on ISIC_0700009, but two collections know it, by two ids."""
    aside = {"path": "Indeterminate"}
    rows = {"ISIC_0700001": {"lesion_id": "IL_0000001"}, "ISIC_0700009": {**aside, "lesion_id": "IL_0000001"}}
    write_archive(tmp_path / "mine", rows)
    rows = {"ISIC_0700002": {"lesion_id": "IL_0000002"}, "ISIC_0700009": {**aside, "lesion_id": "IL_0000002"}}
    write_archive(tmp_path / "yours", rows)
    tables = {name: releases.read(name, tmp_path / name) for name in ("mine", "yours")}
    assert releases.merge(tables).lesion_id.tolist() == ["IL_0000001"] * 2


def test_an_image_that_is_set_aside_alone_stays_out(tables):
    assert "ISIC_0700002" not in releases.merge(tables).image_id.tolist()


def test_a_file_in_a_collections_folder_serves_the_year_that_lists_it(tables):
    facts = {
        "isic2018": pd.DataFrame({"image_id": ["ISIC_0000001"], "readable": True}),
        "mine": pd.DataFrame({"image_id": ["ISIC_0000003", "ISIC_0700001"], "readable": True}),
    }
    merged = releases.merge(tables).set_index("image_id")
    assert merged.release["ISIC_0000003"] == "isic2018"
    assert releases.locate(facts) == {"isic2018": ["ISIC_0000001"], "mine": ["ISIC_0000003", "ISIC_0700001"]}


# Names


def test_a_name_that_is_no_year_is_a_collection_if_its_folder_says_so(tmp_path):
    with pytest.raises(DataError, match=r"mine is no known release.*metadata\.csv.*isic-cli"):
        releases.read("mine", tmp_path)
    with pytest.raises(DataError, match=r"mine/ is not there"):
        releases.find_release(tmp_path, "mine")
    write_archive(tmp_path / "mine")
    assert releases.find_release(tmp_path, "mine").name == "mine"


@pytest.mark.parametrize("name", ["../up", "a b", "", "masks", "x.y", "-x"])
def test_names_that_can_be_no_stage_or_folder_are_refused(tmp_path, name):
    with pytest.raises(DataError, match="can't name a release"):
        releases.read(name, tmp_path)


def test_collections_are_found_by_their_table(tmp_path):
    write_archive(tmp_path / "b_mine")
    write_archive(tmp_path / "a-other")
    write_archive(tmp_path / "2019")  # a year's folder is that year's, whatever lies in it
    (tmp_path / "notes").mkdir()
    assert releases.collections(tmp_path) == ["a-other", "b_mine"]


# Its suites


def broken(report):
    return {(item.suite, item.rule) for item in report.failed_critical + report.failed_warning}


def suites(tables):
    checks = [*published.checks(tables, {}), *contract.checks(tables, {})]
    return running.run([check for check in checks if check.suite.startswith(("mine", "2020 "))])


def spoilt(tables, column, value, image):
    table = tables["mine"].copy()
    table[column] = table[column].astype("object")
    table.loc[table.image_id == image, column] = value
    return {**tables, "mine": table}


def test_a_good_collection_breaks_no_rule_and_2020_may_be_listed_again(tables):
    assert broken(suites(tables)) == set()


@pytest.mark.parametrize(
    ("column", "value", "image", "target"),
    [
        ("part", "extra", "ISIC_0700001", ("mine rows", "part words")),
        ("raw_label", None, "ISIC_0700001", ("mine labels", "raw_label given")),
        ("diagnosis", "WART", "ISIC_0700001", ("mine labels", "diagnosis words")),
        ("rule_id", "isic2019:NV", "ISIC_0700001", ("mine labels", "rule_id pattern")),
        ("lesion_id", "IL_0000001", "ISIC_0700001", ("mine labels", "one_patient")),
        ("diagnosis", "NV", "ISIC_0700002", ("mine aside", "diagnosis words")),
        ("rule_id", "archive:nevus", "ISIC_0700002", ("mine aside", "rule_id pattern")),
        ("diagnosis", "BCC", "ISIC_0000003", ("mine shared", "same_diagnosis")),
    ],
)
def test_each_rule_of_a_collection_fails_alone(tables, column, value, image, target):
    assert broken(suites(spoilt(tables, column, value, image))) == {target}


def test_an_image_that_names_neither_patient_nor_lesion_is_warned_of(tables):
    table = spoilt(spoilt(tables, "lesion_id", None, "ISIC_0700001"), "patient_id", None, "ISIC_0700001")
    report = suites(table)
    assert broken(report) == {("mine labels", "traceable")}
    quality.report.raise_if_critical(report)


def test_labels_from_dx_pass_the_suite_of_2018(tmp_path):
    words = {
        f"ISIC_000000{i}": word for i, word in enumerate(["nv", "akiec", "mel", "bcc", "bkl", "df", "vasc"])
    }
    tables = {"isic2018": releases.read("isic2018", write_dataverse(tmp_path, words))}
    assert broken(running.run(published.checks(tables, {}))) == set()
    tables["isic2018"].loc[0, "raw_label"] = "mel"
    assert broken(running.run(published.checks(tables, {}))) == {("isic2018 labels", "mapping")}
