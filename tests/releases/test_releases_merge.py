"""Merging, finding and checking releases; exact counts on the real tables."""

import pandas as pd
import pytest
from published_files import write, write_2018, write_2019, write_2020, write_archive, write_dataverse

from dermaflow import releases
from dermaflow.errors import DataError
from dermaflow.releases import check

YEARS = ["isic2018", "isic2019", "isic2020"]


@pytest.fixture
def tables(tmp_path):
    for write_year, name in ((write_2018, "2018"), (write_2019, "2019"), (write_2020, "isic2020")):
        write_year(tmp_path / name)
    return {year: releases.read(year, releases.find_release(tmp_path, year)) for year in YEARS}


def test_a_shared_image_has_one_row_with_the_label_of_2019(tables):
    merged = releases.merge(tables).set_index("image_id")
    assert len(merged) == 6
    assert merged.diagnosis["ISIC_0000002"] == "SCC"
    assert merged.rule_id["ISIC_0000002"] == "isic2019:SCC"
    assert merged.release["ISIC_0000002"] == "isic2018"
    assert merged.confirm_type["ISIC_0000002"] == "histopathology"


def test_the_label_of_2019_wins_in_any_order_of_the_releases(tables):
    turned = dict(reversed(list(tables.items())))
    assert releases.merge(turned).set_index("image_id").diagnosis["ISIC_0000002"] == "SCC"
    assert releases.merge(turned).set_index("image_id").release["ISIC_0000002"] == "isic2019"


def test_akiec_stays_akiec_where_2019_is_not_asked_for(tables):
    merged = releases.merge({"isic2018": tables["isic2018"]}).set_index("image_id")
    assert merged.diagnosis["ISIC_0000002"] == "AKIEC"
    assert merged.rule_id["ISIC_0000002"] == "isic2018:AKIEC unresolved"


def test_metadata_come_from_the_fuller_row_and_its_gaps_from_the_other(tables):
    first, second = tables["isic2018"].copy(), tables["isic2019"].copy()
    first.loc[0, ["age_years", "confirm_type"]] = [None, None]  # now 2019's row is the fuller
    second.loc[0, "site"] = None
    merged = releases.merge({"isic2018": first, "isic2019": second}).set_index("image_id")
    assert merged.age_years["ISIC_0000001"] == 55
    assert merged.sex["ISIC_0000001"] == "female"
    second.loc[0, ["sex", "lesion_id"]] = [None, None]  # now 2018's is, but for the age
    merged = releases.merge({"isic2018": first, "isic2019": second}).set_index("image_id")
    assert merged.sex["ISIC_0000001"] == "male"
    assert merged.site["ISIC_0000001"] == "head/neck"
    assert merged.age_years["ISIC_0000001"] == 55


def test_where_both_rows_know_a_field_the_fuller_one_is_believed_whoever_ranks_first(tables):
    first, second = tables["isic2018"], tables["isic2019"].copy()
    second.loc[0, ["age_years", "site", "lesion_id"]] = [None, None, None]
    merged = releases.merge({"isic2018": first, "isic2019": second}).set_index("image_id")
    assert merged.label_release["ISIC_0000001"] == "isic2019"
    assert (first.sex[0], second.sex[0]) == ("male", "female")
    assert merged.sex["ISIC_0000001"] == "male"


def test_a_centre_that_is_unknown_gives_way_to_a_known_one(tables):
    first, second = tables["isic2018"].copy(), tables["isic2019"].assign(centre="unknown")
    first.loc[0, ["age_years", "sex", "site"]] = [None, None, None]  # 2019's row is the fuller
    merged = releases.merge({"isic2018": first, "isic2019": second}).set_index("image_id")
    assert merged.centre["ISIC_0000001"] == "HAM"
    assert merged.centre["ISIC_0000009"] == "unknown"  # nobody knows it


def test_validation_and_test_rows_are_not_merged(tables):
    table = tables["isic2018"].assign(part=["train", "validation", "test"])
    assert releases.merge({"isic2018": table}).image_id.tolist() == ["ISIC_0000001"]


def test_an_unlabelled_training_row_is_refused(tables):
    table = tables["isic2018"]
    table.loc[0, "diagnosis"] = None
    with pytest.raises(DataError, match="isic2018: 1 training rows have no diagnosis"):
        releases.merge({"isic2018": table})
    with pytest.raises(DataError, match="no release to merge"):
        releases.merge({})


def test_the_first_release_that_holds_a_file_stores_it():
    facts = {
        "b": pd.DataFrame({"image_id": ["x", "y"], "readable": True}),
        "a": pd.DataFrame({"image_id": ["z", "y", "w"], "readable": True}),
    }
    assert releases.locate(facts) == {"b": ["x", "y"], "a": ["w", "z"]}


def test_a_damaged_file_gives_way_to_a_good_one_of_a_later_release():
    facts = {
        "b": pd.DataFrame({"image_id": ["x", "y", "z"], "readable": [True, False, False]}),
        "a": pd.DataFrame({"image_id": ["x", "y", "z"], "readable": [True, True, False]}),
    }
    assert releases.locate(facts) == {"b": ["x", "z"], "a": ["y"]}


def test_image_folders_name_kaggles_layout_too():
    assert releases.image_folders("isic2020")["train"][:2] == ["train", "jpeg/train"]
    assert releases.image_folders("isic2018")["train"][0] == "ISIC2018_Task3_Training_Input"


def test_a_release_is_found_by_its_name_or_its_year(tmp_path):
    (tmp_path / "2019").mkdir()
    assert releases.find_release(tmp_path, "isic2019").name == "2019"
    (tmp_path / "isic2019").mkdir()
    with pytest.raises(DataError, match="both isic2019/ and 2019/ are there"):
        releases.find_release(tmp_path, "isic2019")
    (tmp_path / "2019").rmdir()
    assert releases.find_release(tmp_path, "isic2019").name == "isic2019"
    with pytest.raises(DataError, match="neither isic2018/ nor 2018/ is there"):
        releases.find_release(tmp_path, "isic2018")


def test_check_tells_what_is_there_and_what_is_missing(tmp_path):
    write_2018(tmp_path / "2018")
    images = tmp_path / "2018" / "ISIC2018_Task3_Training_Input"
    for name in ("ISIC_0000001.jpg", "ISIC_0000002.JPG", "ISIC_9999999.png", "notes.txt"):
        write(images / name, [])
    write(tmp_path / "2020" / "train.csv", ["image_name;target"])
    report = check.check(tmp_path, YEARS)
    first, absent, broken = report.releases
    assert not report.complete
    assert first.rows == {"train": 3}
    assert first.images == {"train": 2}
    assert first.unlisted == 1
    assert first.classes == {"AKIEC": 1, "MEL": 1, "NV": 1}
    assert first.files["validation"] is None
    assert absent.folder is None
    assert "semicolons" in str(broken.problem)
    assert report.merged["rows"] == 3
    assert report.merged["with_image"] == 2
    assert [item.release for item in report.broken] == ["isic2020"]
    text = report.to_text()
    assert "isic2019: absent" in text
    assert "isic2020 in 2020/ can't be used: train.csv, row 0 (header): the columns are separated by" in text
    assert "merged (without isic2019, isic2020): 3 images" in text
    assert "found     ISIC2018_Task3_Training_GroundTruth.csv" in text
    assert "ISIC2018_Task3_Validation_GroundTruth.csv (optional" in text
    assert "2 images (1 absent)" in text
    assert report.to_json()["releases"]["isic2018"]["images"] == {"train": 2}


def test_check_knows_collections_and_files_that_lie_with_another_release(tmp_path):
    write_2019(tmp_path / "2019")
    write_archive(
        tmp_path / "mine",
        {"ISIC_0000001": {}, "ISIC_0700002": {}, "ISIC_0700003": {"path": "Malignant"}},
    )
    for name in ("ISIC_0000001.jpg", "ISIC_0700003.JPG"):
        write(tmp_path / "mine" / name, [])
    report = check.check(tmp_path, ["isic2019", "mine"])
    year, mine = report.releases
    assert (year.images, year.elsewhere) == ({"train": 0}, {"train": 1})
    assert mine.rows == {"train": 2, "aside": 1}
    assert mine.images == {"train": 1, "aside": 1}
    assert mine.aside == {"malignant, unnamed": 1}
    assert mine.classes == {"NV": 2}
    assert report.merged["rows"] == 5
    assert report.merged["with_image"] == 1
    text = report.to_text()
    assert "4 rows,       0 images and 1 in another release's folder (3 absent)" in text
    assert "aside     malignant, unnamed 1" in text
    assert "looked for" not in text  # all have images somewhere


def test_check_says_where_images_are_looked_for_that_no_folder_holds(tmp_path):
    write_2019(tmp_path / "2019")
    write_archive(tmp_path / "mine", {"ISIC_0700002": {}})
    year, mine = check.check(tmp_path, ["isic2019", "mine"]).to_text().split("\nmine in ")
    assert "looked for in ISIC_2019_Training_Input, " in year
    assert "looked for in . (the folder itself), images, ISIC-images, ISIC_images, each also as .zip" in mine


def test_check_counts_a_repeat_that_stands_in_for_an_absent_file(tmp_path):
    names = ["ISIC_0000001", "ISIC_0000002", "ISIC_0000003"]
    rows = [(name, "IP_1", "unknown") for name in names]
    write_2020(tmp_path / "2020", rows, [(names[0], names[1])])
    for name in names[1:]:
        write(tmp_path / "2020" / "train" / f"{name}.jpg", [])
    merged = check.check(tmp_path, ["isic2020"]).merged
    assert (merged["rows"], merged["after_duplicates"], merged["with_image"]) == (3, 2, 2)


def test_check_counts_no_file_of_a_test_folder_for_a_training_row(tmp_path):
    """Stage locate takes training files alone, so split would drop the row."""
    write_2018(tmp_path / "2018")
    write_archive(tmp_path / "mine", {"ISIC_0700001": {}, "ISIC_0700002": {}})
    write(tmp_path / "mine" / "ISIC_0700001.jpg", [])
    for name in ("ISIC_0000001.jpg", "ISIC_0700002.jpg"):
        write(tmp_path / "2018" / "ISIC2018_Task3_Validation_Input" / name, [])
    report = check.check(tmp_path, ["isic2018", "mine"])
    year, mine = report.releases
    assert year.images == {"train": 0, "validation": 2}
    assert (mine.images, mine.elsewhere) == ({"train": 1}, {})
    assert report.merged["with_image"] == 1


def test_check_says_what_it_accepted_and_what_takes_a_tables_place(tmp_path):
    folder = write_dataverse(tmp_path / "2018")
    path = folder / "HAM10000_metadata.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    report = check.check(tmp_path, ["isic2018"])
    assert report.complete
    assert report.releases[0].accepted == ("HAM10000_metadata.csv: a byte order mark",)
    text = report.to_text()
    assert "accepted  HAM10000_metadata.csv: a byte order mark" in text
    assert (
        "absent    ISIC2018_Task3_Training_GroundTruth.csv: its place is taken by HAM10000_metadata" in text
    )


def test_check_says_where_a_needed_table_comes_from(tmp_path):
    for name in ("2019", "mine"):
        (tmp_path / name).mkdir()
    text = check.check(tmp_path, ["isic2019", "mine"]).to_text()
    assert "ISIC_2019_Training_GroundTruth.csv (needed; from challenge.isic-archive.com/data)" in text
    assert "metadata.csv (needed; from the ISIC Archive: `isic image download" in text


def test_check_shows_the_other_releases_where_a_zip_of_one_is_damaged(tmp_path):
    write_2019(tmp_path / "2019")
    write(tmp_path / "2018" / "ISIC2018_Task3_Training_GroundTruth.zip", ["no zip"])
    report = check.check(tmp_path, ["isic2018", "isic2019"])
    assert [item.release for item in report.broken] == ["isic2018"]
    assert "GroundTruth.zip: not a whole zip file" in report.to_text()
    assert report.merged["rows"] == 4


def test_check_opens_no_image_and_names_two_files_of_one_id(tmp_path):
    write_2019(tmp_path / "2019")
    folder = tmp_path / "2019" / "ISIC_2019_Training_Input"
    write(folder / "ISIC_0000001.jpg", [])
    (folder / "ISIC_0000001.jpg").chmod(0)
    assert check.check(tmp_path, ["isic2019"]).complete
    write(folder / "deep" / "ISIC_0000001.png", [])
    report = check.check(tmp_path, ["isic2019"])
    assert "1 image ids have two files" in str(report.releases[0].problem)


@pytest.mark.isic
def test_the_official_tables_merge_to_the_published_counts(isic):
    report = check.check(isic, YEARS)
    assert report.complete
    assert report.merged["rows"] == 58_457
    assert report.merged["after_duplicates"] == 58_032
    assert report.merged["classes"] == {
        "UNK": 26_708,
        "NV": 18_066,
        "MEL": 5_103,
        "BCC": 3_323,
        "BKL": 2_845,
        "AK": 867,
        "SCC": 628,
        "VASC": 253,
        "DF": 239,
    }
    years = {item.release: item for item in report.releases}
    assert years["isic2018"].images == {"train": 8_450, "validation": 0}
    assert years["isic2019"].images["train"] + years["isic2019"].elsewhere["train"] == 21_388
    assert all(item.accepted == () for item in report.releases)
    assert years["isic2019"].missing == {
        "age_years": 0.0173,
        "sex": 0.0152,
        "site": 0.1039,
        "patient_id": 1.0,
        "lesion_id": 0.0823,
    }
    assert years["isic2020"].duplicates == 425


@pytest.mark.isic
def test_ham10000_metadata_alone_gives_the_labels_of_the_ground_truth(isic, tmp_path):
    (tmp_path / "HAM10000_metadata.csv").symlink_to(isic / "2018" / "HAM10000_metadata.csv")
    alone = releases.read("isic2018", tmp_path).set_index("image_id").diagnosis
    truth = releases.read("isic2018", isic / "2018").set_index("image_id")
    assert len(alone) == 10_015
    assert truth.diagnosis[truth.part == "train"].sort_index().equals(alone.sort_index())


@pytest.mark.isic
def test_the_merged_table_before_duplicates_and_the_akiec_of_2018(isic):
    tables = {year: releases.read(year, releases.find_release(isic, year)) for year in YEARS}
    merged = releases.merge(tables)
    assert merged.diagnosis.value_counts().to_dict() == {
        "UNK": 27_126,
        "NV": 18_068,
        "MEL": 5_106,
        "BCC": 3_323,
        "BKL": 2_847,
        "AK": 867,
        "SCC": 628,
        "VASC": 253,
        "DF": 239,
    }
    first = tables["isic2018"].set_index("image_id")
    akiec = merged[merged.image_id.isin(first.index[first.raw_label == "AKIEC"])]
    assert akiec.diagnosis.value_counts().to_dict() == {"SCC": 197, "AK": 130}
    assert merged.confirm_type.value_counts()["histopathology"] == 5_340
    assert not merged.image_id.duplicated().any()


def test_the_larger_copy_of_an_image_that_2019_gives_out_smaller_is_a_repeat_of_it(tmp_path):
    write_2019(tmp_path / "2019", {"ISIC_0000001_downsampled": "NV", "ISIC_0000002": "MEL"})
    lesions = {"ISIC_0000001": "IL_1", "ISIC_0000007": "IL_1", "ISIC_0000008": "IL_8"}
    write_archive(tmp_path / "mine", {image: {"lesion_id": lesion} for image, lesion in lesions.items()})
    read = {name: releases.read(name, releases.find_release(tmp_path, name)) for name in ("isic2019", "mine")}
    merged = releases.merge(read).set_index("image_id")
    assert merged["duplicate_of"].dropna().to_dict() == {"ISIC_0000001": "ISIC_0000001_downsampled"}
    shown = merged["lesion_id"]  # its other picture must not lie in another split
    assert shown["ISIC_0000001_downsampled"] == shown["ISIC_0000001"] == shown["ISIC_0000007"]
    assert shown["ISIC_0000008"] == "IL_8"


def test_the_larger_copy_keeps_2019s_label_where_it_stands_in_for_the_smaller(tmp_path):
    write_2019(tmp_path / "2019", {"ISIC_0000001_downsampled": "MEL", "ISIC_0000002": "NV"})
    write_archive(tmp_path / "mine", {"ISIC_0000001": {}, "ISIC_0000003": {}})
    read = {name: releases.read(name, releases.find_release(tmp_path, name)) for name in ("isic2019", "mine")}
    assert read["mine"].diagnosis.tolist() == ["NV", "NV"]
    merged = releases.merge(read).set_index("image_id")
    larger = merged.loc["ISIC_0000001"]
    assert (larger.release, larger.diagnosis, larger.label_release) == ("mine", "MEL", "isic2019")
    assert merged.loc["ISIC_0000003", ["diagnosis", "label_release"]].tolist() == ["NV", "mine"]
