"""Every malformed table that people really have is accepted, or refused with file, row and remedy."""

import zipfile

import numpy as np
import pytest
from published_files import NINE, SEVEN, one_hot, write, write_2018, write_2019, write_2020

from dermaflow import releases
from dermaflow.errors import DataError
from dermaflow.quality import contract, running
from dermaflow.releases import check, isic2018, isic2019, isic2020
from dermaflow.releases.notes import noting

TRUTH = "ISIC_2019_Training_GroundTruth.csv"


def column(table, image, name):
    return table.set_index("image_id").loc[image, name]


def test_2018_reads_labels_lesions_and_patients_in_file_order(tmp_path):
    table = releases.read("isic2018", write_2018(tmp_path))
    assert table.image_id.tolist() == ["ISIC_0000001", "ISIC_0000002", "ISIC_0000003"]
    assert table.row.tolist() == [1, 2, 3]
    assert table.diagnosis.tolist() == ["NV", "AKIEC", "MEL"]
    assert column(table, "ISIC_0000002", "rule_id") == "isic2018:AKIEC unresolved"
    assert column(table, "ISIC_0000002", "lesion_id") == "HAM_0000001"
    assert set(table.site) == {"head/neck"}
    assert set(table.raw_site) == {"scalp"}
    assert set(table.confirm_type) == {"histopathology"}


@pytest.mark.parametrize(
    ("word", "site"),
    [
        ("abdomen", "torso"),
        ("acral", "palms/soles"),
        ("back", "torso"),
        ("chest", "torso"),
        ("ear", "head/neck"),
        ("face", "head/neck"),
        ("foot", "lower extremity"),
        ("genital", "oral/genital"),
        ("hand", "upper extremity"),
        ("lower extremity", "lower extremity"),
        ("neck", "head/neck"),
        ("scalp", "head/neck"),
        ("trunk", "torso"),
        ("upper extremity", "upper extremity"),
    ],
)
def test_2018_maps_each_word_for_a_site_to_one_of_the_six(tmp_path, word, site):
    table = write_2018(tmp_path) / "HAM10000_metadata.csv"
    table.write_text(table.read_text().replace("scalp", word))
    assert set(releases.read("isic2018", tmp_path).site) == {site}


def test_2018_validation_rows_follow_the_training_rows(tmp_path):
    write_2018(tmp_path)
    write(
        tmp_path / "ISIC2018_Task3_Validation_GroundTruth.csv",
        ["image," + ",".join(SEVEN), *one_hot({"ISIC_0000007": "DF"}, SEVEN)],
    )
    table = releases.read("isic2018", tmp_path)
    assert table.part.tolist() == ["train"] * 3 + ["validation"]
    assert table.iloc[-1].row == 1
    assert table.iloc[-1].diagnosis == "DF"


def test_2018_without_its_optional_tables_knows_labels_only(tmp_path):
    write_2018(tmp_path)
    (tmp_path / "HAM10000_metadata.csv").unlink()
    (tmp_path / "ISIC2018_Task3_Training_LesionGroupings.csv").unlink()
    table = releases.read("isic2018", tmp_path)
    assert table.diagnosis.notna().all()
    assert table[["lesion_id", "age_years", "sex", "site", "confirm_type"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("release", "name"), [("isic2018", "GroundTruth"), ("isic2019", "GroundTruth"), ("isic2020", "train.csv")]
)
def test_no_ground_truth_is_an_error_that_says_where_to_get_it(tmp_path, release, name):
    with pytest.raises(DataError, match=f"no .*{name}.*challenge.isic-archive.com"):
        releases.read(release, tmp_path)


def test_2019_takes_the_centre_from_the_lesion_id(tmp_path):
    write_2019(tmp_path)
    write(
        tmp_path / "ISIC_2019_Training_Metadata.csv",
        [
            "image,age_approx,anatom_site_general,lesion_id,sex",
            "ISIC_0000001,,,,",
            "ISIC_0000002,85,lateral torso,BCN_1,male",
            "ISIC_0000003,0,oral/genital,MSK4_2,female",
            "ISIC_0000009,20,palms/soles,HAM_3,unknown",
        ],
    )
    table = releases.read("isic2019", tmp_path)
    assert table.centre.tolist() == ["unknown", "BCN", "MSK", "HAM"]
    assert table.site.fillna("?").tolist() == ["?", "torso", "oral/genital", "palms/soles"]
    assert np.isnan(table.age_years[0])
    assert table.age_years[2] == 0
    assert table.sex.fillna("?").tolist() == ["?", "male", "female", "?"]


def test_2019_metadata_in_another_order_finds_its_images(tmp_path):
    write_2019(tmp_path)
    path = tmp_path / "ISIC_2019_Training_Metadata.csv"
    head, *rows = path.read_text().splitlines()
    write(path, [head, *reversed(rows)])
    assert column(releases.read("isic2019", tmp_path), "ISIC_0000009", "lesion_id") == "BCN_0000003"


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("nevus", "NV"),
        ("melanoma", "MEL"),
        ("seborrheic keratosis", "BKL"),
        ("lichenoid keratosis", "BKL"),
        ("solar lentigo", "BKL"),
        ("lentigo NOS", "BKL"),
        ("unknown", "UNK"),
        ("cafe-au-lait macule", "UNK"),
        ("atypical melanocytic proliferation", "UNK"),
    ],
)
def test_2020_maps_each_diagnosis_by_a_named_rule(tmp_path, word, code):
    table = releases.read("isic2020", write_2020(tmp_path, [("ISIC_0100001", "IP_1", word)]))
    assert table.diagnosis.tolist() == [code]
    assert table.raw_label.tolist() == [word]
    assert table.rule_id.tolist() == [f"isic2020:{word.lower()}"]
    assert releases.read("isic2020", write_2020(tmp_path, [("ISIC_0100001", "IP_1", word.title())])).equals(
        table
    )
    assert table.centre.tolist() == ["SIIM"]


def test_2020_drops_the_second_image_of_each_pair_and_one_end_of_each_chain(tmp_path):
    rows = [(f"ISIC_010000{i}", "IP_1", "nevus") for i in range(1, 7)]
    names = [row[0] for row in rows]
    pairs = [(names[1], names[0]), (names[2], names[3]), (names[3], names[4])]
    table = releases.read("isic2020", write_2020(tmp_path, rows, pairs)).set_index("image_id")
    assert table.duplicate_of.dropna().to_dict() == {
        names[0]: names[1],
        names[3]: names[2],
        names[4]: names[2],
    }


@pytest.mark.parametrize("spoil", [str.lower, lambda image: image.removeprefix("ISIC_")])
def test_2020_refuses_a_list_of_duplicates_that_fits_no_image(tmp_path, spoil):
    rows = [("ISIC_0100001", "IP_1", "nevus"), ("ISIC_0100002", "IP_1", "nevus")]
    write_2020(tmp_path, rows, [tuple(spoil(row[0]) for row in rows)])
    with pytest.raises(
        DataError, match=r"duplicates\.csv, row 1: none of its 1 pairs .* Write its ids as train\.csv does"
    ):
        releases.read("isic2020", tmp_path)


def test_2020_notes_how_many_pairs_name_an_image_of_no_table(tmp_path):
    rows = [(f"ISIC_010000{i}", "IP_1", "nevus") for i in (1, 2, 3)]
    (a, b, c), unlisted = (row[0] for row in rows), "ISIC_0999999"
    write_2020(tmp_path, rows, [(a, b), (unlisted, c)])
    with noting() as notes:
        table = releases.read("isic2020", tmp_path).set_index("image_id")
    assert notes == ["2020_Challenge_duplicates.csv: 1 of 2 pairs name an image of no table"]
    assert table.duplicate_of.dropna().to_dict() == {b: a}


def test_2020_keeps_one_of_a_chain_whose_kept_image_is_in_no_table(tmp_path):
    rows = [(f"ISIC_010000{i}", "IP_1", "nevus") for i in (1, 2, 3, 4)]
    (a, b, c, d), unlisted = (row[0] for row in rows), "ISIC_0999999"
    write_2020(tmp_path, rows, [(unlisted, a), (a, b), (c, d)])
    table = releases.read("isic2020", tmp_path).set_index("image_id")
    assert table.duplicate_of.dropna().to_dict() in ({b: a, d: c}, {a: b, d: c})


def test_2020_leaves_a_pair_of_a_training_and_a_test_image_to_the_suites(tmp_path):
    rows = [("ISIC_0100001", "IP_1", "nevus"), ("ISIC_0100002", "IP_1", "nevus")]
    folder = write_2020(tmp_path / "isic2020", rows, [("ISIC_0200001", "ISIC_0100002")])
    write(
        folder / "test.csv",
        ["image,patient,sex,age_approx,anatom_site_general", "ISIC_0200001,IP_1,male,45,torso"],
    )
    table = releases.read("isic2020", folder)
    assert column(table, "ISIC_0100002", "duplicate_of") == "ISIC_0200001"
    report = running.run(contract.checks({"isic2020": table}, {}))
    assert [item.rule for item in report.failed_critical] == ["same_part"]
    seen = check.check(tmp_path, ["isic2020"])
    assert (seen.releases[0].duplicates, seen.merged["after_duplicates"]) == (0, 2)


def test_chained_pairs_keep_exactly_one_image_in_any_order():
    assert isic2020.chains([("a", "b"), ("b", "a")]) == {"b": "a"}
    dropped = isic2020.chains([("c", "d"), ("b", "c"), ("a", "b")])
    assert dropped == {"b": "a", "c": "a", "d": "a"}
    assert isic2020.chains([("a", "b"), ("c", "b")]).keys() == {"b", "a"}


def test_2020_reads_the_archives_own_file_names(tmp_path):
    write_2020(tmp_path, [("ISIC_0100001", "IP_1", "nevus"), ("ISIC_0100002", "IP_1", "nevus")])
    (tmp_path / "train.csv").rename(tmp_path / "ISIC_2020_Training_GroundTruth.csv")
    write(
        tmp_path / "ISIC_2020_Training_Duplicates.csv",
        ["image_name_1,image_name_2", "ISIC_0100001,ISIC_0100002"],
    )
    write(
        tmp_path / "ISIC_2020_Test_Metadata.csv",
        ["image,patient,anatom_site_general,age_approx,sex", "ISIC_0200001,IP_9,torso,40,female"],
    )
    table = releases.read("isic2020", tmp_path)
    assert table.part.tolist() == ["train", "train", "test"]
    assert column(table, "ISIC_0100002", "duplicate_of") == "ISIC_0100001"
    assert column(table, "ISIC_0200001", "patient_id") == "IP_9"


def test_2020_refuses_a_target_that_contradicts_the_diagnosis(tmp_path):
    path = write_2020(tmp_path) / "train.csv"
    path.write_text(path.read_text().replace("nevus,x,0", "nevus,x,1"))
    with pytest.raises(DataError, match=r"train\.csv, row 1: 1 rows have a target that contradicts"):
        releases.read("isic2020", tmp_path)


def test_sites_of_all_years_are_among_the_six():
    from dermaflow.taxonomy import SITES

    for module in (isic2018, isic2019, isic2020):
        assert set(module.SITES.values()) <= set(SITES)
    assert len(isic2018.SITES) == 14  # the fifteenth word is `unknown`
    assert len(isic2019.SITES) == 8


# What is accepted


@pytest.mark.parametrize("ending", [".jpg", ".JPG", ".jpeg", ".png"])
def test_extensions_behind_ids_are_stripped(tmp_path, ending):
    path = write_2019(tmp_path) / TRUTH
    path.write_text(path.read_text().replace("ISIC_0000002", f"ISIC_0000002{ending}"))
    assert "ISIC_0000002" in set(releases.read("isic2019", tmp_path).image_id)


def test_byte_order_mark_crlf_spaces_and_further_columns_are_accepted(tmp_path):
    plain = releases.read("isic2019", write_2019(tmp_path))
    path = tmp_path / TRUTH
    head, *rows = path.read_text().splitlines()
    text = "\r\n".join([f"{head}, score_weight", *(f" {row} ,1.0" for row in rows)]) + "\r\n\r\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert releases.read("isic2019", tmp_path).equals(plain)


def test_tables_in_their_own_folder_or_in_the_official_zip_are_read(tmp_path):
    plain = releases.read("isic2019", write_2019(tmp_path / "plain"))
    nested = write_2019(tmp_path / "nested")
    (nested / "x").mkdir()
    (nested / "x").rename(nested / TRUTH.removesuffix(".csv"))
    (nested / TRUTH).rename(nested / TRUTH.removesuffix(".csv") / TRUTH)
    assert releases.read("isic2019", nested).equals(plain)
    zipped = write_2019(tmp_path / "zipped")
    text = (zipped / TRUTH).read_bytes()
    (zipped / TRUTH).unlink()
    for between in ("/", "\\"):  # as a zip made on Windows may have it
        with zipfile.ZipFile(zipped / TRUTH.replace(".csv", ".zip"), "w") as box:
            box.writestr(f"{TRUTH.removesuffix('.csv')}{between}{TRUTH}", text)
        assert releases.read("isic2019", zipped).equals(plain)


def test_ham_metadata_is_read_in_the_tab_form_of_dataverse(tmp_path):
    plain = releases.read("isic2018", write_2018(tmp_path))
    path = tmp_path / "HAM10000_metadata.csv"
    (tmp_path / "HAM10000_metadata.tab").write_text(path.read_text().replace(",", "\t"))
    path.unlink()
    assert releases.read("isic2018", tmp_path).equals(plain)


# What is refused


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda text: text.replace(",", ";"),
            r"row 0 \(header\): the columns are separated by semicolons.*commas",
        ),
        (lambda text: text.replace(",", "\t"), "separated by tabs"),
        (lambda text: "", "the file is empty"),
        (lambda text: "\n\n", "the file is empty"),
        (lambda text: '"\n\n', "the file is empty"),
        (lambda text: '  "\n \n', "the file is empty"),
        (lambda text: text.splitlines()[0], "a header and no row"),
        (lambda text: text.replace("VASC", "VASK"), r"no column VASC; it has image, MEL"),
        (
            lambda text: text + text.splitlines()[2],
            r"rows 2, 5: 1 images are listed more than once: ISIC_0000002",
        ),
        (
            lambda text: text + text.splitlines()[2].replace("02,", "02.jpg,"),
            "listed more than once: ISIC_0000002",
        ),
        (
            lambda text: text.replace("ISIC_0000003,1.0,0.0", "ISIC_0000003,1.0,1.0"),
            r"row 3: 1 images have two or more diagnoses set: ISIC_0000003",
        ),
        (
            lambda text: text.replace("ISIC_0000003,1.0,0.0", "ISIC_0000003,0.0,0.0"),
            r"row 3: 1 images have no diagnosis set: ISIC_0000003",
        ),
        (
            lambda text: text.replace("ISIC_0000003,1.0,0.0", "ISIC_0000003,0.7,0.3"),
            "rows hold neither 0 nor 1, first 0.7 in MEL",
        ),
        (
            lambda text: text.replace("ISIC_0000003,1.0", "ISIC_0000003,yes"),
            r"row 3: 1 cells of MEL are no number, first 'yes'",
        ),
        (
            lambda text: text.replace("ISIC_0000003,1.0,", "ISIC_0000003,1.0,9,"),
            r"row 3: 11 cells where the header has 10",
        ),
        (lambda text: text.replace("ISIC_0000003,", ","), r"row 3: 1 rows name no image"),
    ],
)
def test_a_malformed_ground_truth_is_refused_with_file_and_row(tmp_path, damage, message):
    path = write_2019(tmp_path) / TRUTH
    path.write_text(damage(path.read_text()))
    with pytest.raises(DataError, match=message) as caught:
        releases.read("isic2019", tmp_path)
    assert TRUTH in caught.value.where
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("55,anterior", "850,anterior", r"ages are not 0 to 120 years, first 850"),
        ("55,anterior", "-5,anterior", r"ages are not 0 to 120 years, first -5"),
        ("55,anterior", "old,anterior", r"ages are no number, first 'old'"),
        ("anterior torso", "elbow", r"cells of site hold unknown words: elbow"),
        ("female", "woman", r"cells of sex hold unknown words: woman"),
    ],
)
def test_a_malformed_metadata_table_is_refused(tmp_path, old, new, message):
    path = write_2019(tmp_path) / "ISIC_2019_Training_Metadata.csv"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=message) as caught:
        releases.read("isic2019", tmp_path)
    assert "ISIC_2019_Training_Metadata.csv" in caught.value.where


def test_other_encodings_and_broken_zips_are_refused(tmp_path):
    path = write_2019(tmp_path) / TRUTH
    text = path.read_text()
    path.write_bytes(text.encode("utf-16"))
    with pytest.raises(DataError, match="is not UTF-8"):
        releases.read("isic2019", tmp_path)
    path.unlink()
    (tmp_path / TRUTH.replace(".csv", ".zip")).write_bytes(b"PK no zip")
    with pytest.raises(DataError, match="not a whole zip file"):
        releases.read("isic2019", tmp_path)


def test_any_damaged_byte_of_a_zipped_table_is_an_error_and_no_traceback(tmp_path):
    path = write_2019(tmp_path, {f"ISIC_{number:07d}": "NV" for number in range(40)}) / TRUTH
    packed = path.with_suffix(".zip")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as box:
        box.write(path, path.name)
    path.unlink()
    whole = packed.read_bytes()
    start = whole.index(TRUTH.encode()) + len(TRUTH)
    for at in range(start, start + 60):
        packed.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        with pytest.raises(DataError, match="can't be read"):
            releases.read("isic2019", tmp_path)


@pytest.mark.parametrize(
    ("release", "write", "table", "title"),
    [
        ("isic2018", write_2018, "HAM10000_metadata.csv", "site"),
        ("isic2019", write_2019, "ISIC_2019_Training_Metadata.csv", "age"),
        ("isic2019", write_2019, TRUTH, "image_id"),
        ("isic2020", write_2020, "train.csv", "site"),
    ],
)
def test_a_further_column_with_a_name_of_ours_is_left_out(tmp_path, release, write, table, title):
    path = write(tmp_path) / table
    plain = releases.read(release, tmp_path)
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"{header},{title}", *(f"{row},torso" for row in rows)]) + "\n")
    assert releases.read(release, tmp_path).equals(plain)


def test_an_unknown_diagnosis_of_2020_is_refused(tmp_path):
    write_2020(tmp_path, [("ISIC_0100001", "IP_1", "wart")])
    with pytest.raises(DataError, match=r"train\.csv, row 1: 1 diagnoses are unknown words: wart"):
        releases.read("isic2020", tmp_path)


def test_an_image_in_two_parts_is_refused(tmp_path):
    write_2018(tmp_path)
    write(
        tmp_path / "ISIC2018_Task3_Validation_GroundTruth.csv",
        ["image," + ",".join(SEVEN), *one_hot({"ISIC_0000001": "DF"}, SEVEN)],
    )
    with pytest.raises(DataError, match="1 images stand in two parts: ISIC_0000001"):
        releases.read("isic2018", tmp_path)


def test_unknown_releases_and_absent_folders_are_named(tmp_path):
    with pytest.raises(DataError, match=r"isic2017 is no known release.*isic2018, isic2019, isic2020"):
        releases.read("isic2017", tmp_path)
    with pytest.raises(DataError, match="no folder for isic2018"):
        releases.read("isic2018", tmp_path / "none")


def test_the_unk_column_of_2019_may_be_absent(tmp_path):
    path = write_2019(tmp_path) / TRUTH
    path.write_text("\n".join(line.rpartition(",")[0] for line in path.read_text().splitlines()))
    assert len(releases.read("isic2019", tmp_path)) == 4
    assert NINE[-1] == "UNK"
