"""Each release in each layout that people have it in: the same rows, and the same image bytes by id."""

import zipfile

import pytest
from published_files import (
    write_2018,
    write_2019,
    write_2020,
    write_archive,
    write_dataverse,
)

from dermaflow import releases, sources
from dermaflow.errors import DataError

IMAGES = {
    "isic2018": ["ISIC_0000001", "ISIC_0000002", "ISIC_0000003"],
    "isic2019": ["ISIC_0000001", "ISIC_0000002", "ISIC_0000003", "ISIC_0000009"],
    "isic2020": ["ISIC_0100001", "ISIC_0100002"],
    "mine": ["ISIC_0000001", "ISIC_0000002", "ISIC_0700003"],
}
WRITE = {"isic2018": write_2018, "isic2019": write_2019, "isic2020": write_2020, "mine": write_archive}
ZIPPED_IMAGES = {
    "isic2018": ("ISIC2018_Task3_Training_Input.zip", "ISIC2018_Task3_Training_Input/"),
    "isic2019": ("ISIC_2019_Training_Input.zip", "ISIC_2019_Training_Input/"),
    "isic2020": ("ISIC_2020_Training_JPEG.zip", "train/"),
    "mine": ("ISIC-images.zip", ""),
}


def put(folder, images):
    folder.mkdir(parents=True, exist_ok=True)
    for image in images:
        (folder / f"{image}.jpg").write_bytes(image.encode())


def put_zip(path, images, below="", more=None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as box:
        for image in images:
            box.writestr(f"{below}{image}.jpg", image.encode())
        for name, content in {
            f"{below}ATTRIBUTION.txt": "x",
            f"__MACOSX/{below}._x.jpg": "x",
            **(more or {}),
        }.items():
            box.writestr(name, content)


def bytes_of(release, folder):
    source = sources.open_source(folder, releases.image_folders(release))
    return {entry.image_id: (entry.part, source.read(entry.image_id)) for entry in source.entries}


def wanted(release):
    return {image: ("train", image.encode()) for image in IMAGES[release]}


def zip_tables(folder):
    """Put each table into a zip of its name, in a folder of its name, as the challenge does."""
    for table in list(folder.glob("*.csv")):
        with zipfile.ZipFile(table.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as box:
            box.write(table, f"{table.stem}/{table.name}")
        table.unlink()


@pytest.mark.parametrize("release", IMAGES)
def test_everything_can_stay_in_its_zips(tmp_path, release):
    plain = releases.read(release, WRITE[release](tmp_path / "plain"))
    folder = WRITE[release](tmp_path / "zipped")
    zip_tables(folder)
    name, below = ZIPPED_IMAGES[release]
    put_zip(folder / name, IMAGES[release], below)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert releases.read(release, folder).equals(plain)
    assert bytes_of(release, folder) == wanted(release)
    assert {
        path: path.read_bytes() for path in folder.iterdir()
    } == before  # nothing was unpacked beside them


def test_the_test_parts_stay_in_their_zips_too(tmp_path):
    write_2020(tmp_path)
    put_zip(tmp_path / "ISIC_2020_Training_JPEG.zip", IMAGES["isic2020"], "train/")
    put_zip(tmp_path / "ISIC_2020_Test_JPEG.zip", ["ISIC_0200001"], "ISIC_2020_Test_Input/")
    assert bytes_of("isic2020", tmp_path)["ISIC_0200001"] == ("test", b"ISIC_0200001")


def test_a_zip_of_images_with_a_tables_name_is_not_taken_for_the_table(tmp_path):
    plain = releases.read("isic2020", write_2020(tmp_path))
    put_zip(tmp_path / "test.zip", ["ISIC_0200001"], "test/")
    put_zip(tmp_path / "train.zip", IMAGES["isic2020"], "train/")
    (tmp_path / "train.csv").rename(tmp_path / "ISIC_2020_Training_GroundTruth.csv")
    assert releases.read("isic2020", tmp_path).equals(plain)
    assert bytes_of("isic2020", tmp_path) == wanted("isic2020") | {"ISIC_0200001": ("test", b"ISIC_0200001")}


def test_kaggles_layout_of_2020(tmp_path):
    plain = releases.read("isic2020", write_2020(tmp_path))
    put(tmp_path / "jpeg" / "train", IMAGES["isic2020"])
    put(tmp_path / "jpeg" / "test", ["ISIC_0200001"])
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "ISIC_0100001.dcm").write_bytes(b"Kaggle's DICOM files lie beside them")
    assert bytes_of("isic2020", tmp_path) == wanted("isic2020") | {"ISIC_0200001": ("test", b"ISIC_0200001")}
    assert releases.read("isic2020", tmp_path).equals(plain)


@pytest.mark.parametrize("zipped", [False, True])
def test_ham10000_as_dataverse_gives_it(tmp_path, zipped):
    folder = write_dataverse(tmp_path)
    first, second = IMAGES["isic2018"][:2], IMAGES["isic2018"][2:]
    for number, images in enumerate((first, second), start=1):
        name = f"HAM10000_images_part_{number}"
        put_zip(folder / f"{name}.zip", images) if zipped else put(folder / name, images)
    assert bytes_of("isic2018", folder) == wanted("isic2018")
    table = releases.read("isic2018", folder)
    assert table.image_id.tolist() == IMAGES["isic2018"]
    assert table.raw_label.tolist() == ["nv", "akiec", "mel"]
    assert table.diagnosis.tolist() == ["NV", "AKIEC", "MEL"]
    assert table.rule_id.tolist() == ["isic2018:dx nv", "isic2018:dx akiec unresolved", "isic2018:dx mel"]
    assert set(table.confirm_type) == {"histopathology"}
    assert table.lesion_id.tolist() == ["HAM_0000000", "HAM_0000001", "HAM_0000002"]


def test_the_ground_truth_counts_where_both_are_there(tmp_path):
    write_2018(tmp_path)
    write_dataverse(tmp_path)
    assert set(releases.read("isic2018", tmp_path).rule_id) == {
        "isic2018:NV",
        "isic2018:AKIEC unresolved",
        "isic2018:MEL",
    }
    write_dataverse(tmp_path, {"ISIC_0000001": "nv", "ISIC_0000002": "vasc", "ISIC_0000003": "mel"})
    with pytest.raises(DataError, match=r"metadata.csv, row 2: 1 rows have a dx that contradicts .*_0000002"):
        releases.read("isic2018", tmp_path)


def test_two_tables_of_lesions_fill_each_others_gaps_and_must_not_contradict(tmp_path):
    table = write_2018(tmp_path) / "ISIC2018_Task3_Training_LesionGroupings.csv"
    before = releases.read("isic2018", tmp_path)
    table.write_text(table.read_text().replace("HAM_0000001,histopathology", ","))
    assert releases.read("isic2018", tmp_path).equals(before)
    table.write_text(table.read_text().replace("HAM_0000002", "HAM_0000007"))
    with pytest.raises(DataError, match="1 images have two lesion ids: ISIC_0000003"):
        releases.read("isic2018", tmp_path)


def test_a_half_unpacked_folder_does_not_hide_the_zip_beside_it(tmp_path):
    folder = write_2019(tmp_path)
    name, images = "ISIC_2019_Training_Input", IMAGES["isic2019"]
    put_zip(folder / f"{name}.zip", images, f"{name}/")
    put(folder / name, images[:1])
    with pytest.raises(
        DataError, match=rf"3 images of {name}.zip are not in the folder .*_0000002, .*Unpack"
    ):
        bytes_of("isic2019", folder)
    put(folder / name, images)
    assert bytes_of("isic2019", folder) == wanted("isic2019")


def test_a_zip_with_the_other_slash_is_read(tmp_path):
    folder = write_2019(tmp_path)
    put_zip(folder / "ISIC_2019_Training_Input.zip", IMAGES["isic2019"], "ISIC_2019_Training_Input\\")
    assert bytes_of("isic2019", folder) == wanted("isic2019")


@pytest.mark.parametrize("name", ["HAM10000_metadata", "HAM10000_metadata.tab", "HAM10000_metadata.csv"])
@pytest.mark.parametrize("sign", [",", "\t"])
def test_dataverses_table_is_read_under_each_of_its_names(tmp_path, name, sign):
    plain = releases.read("isic2018", write_dataverse(tmp_path / "plain"))
    text = (tmp_path / "plain" / "HAM10000_metadata.csv").read_text().replace(",", sign)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / name).write_text(text)
    if name.endswith(".csv") and sign == "\t":
        with pytest.raises(releases.published.DataError, match="separated by tabs"):
            releases.read("isic2018", tmp_path / "other")
    else:
        assert releases.read("isic2018", tmp_path / "other").equals(plain)


def test_dx_is_also_2019s_label_for_the_same_image(tmp_path):
    tables = {
        "isic2018": releases.read("isic2018", write_dataverse(tmp_path / "2018")),
        "isic2019": releases.read("isic2019", write_2019(tmp_path / "2019")),
    }
    merged = releases.merge(tables).set_index("image_id")
    assert merged.rule_id["ISIC_0000002"] == "isic2019:SCC"


@pytest.mark.parametrize("below", ["", "images", "deep/er"])
def test_an_archive_folder_holds_its_images_flat_or_in_folders(tmp_path, below):
    write_archive(tmp_path)
    put(tmp_path / below, IMAGES["mine"])
    (tmp_path / "attribution.txt").write_text("Some Clinic")
    (tmp_path / "licenses").mkdir()
    (tmp_path / "licenses" / "CC-BY.txt").write_text("...")
    assert bytes_of("mine", tmp_path) == wanted("mine")


@pytest.mark.parametrize("name", ["images.zip", "ISIC-images.zip", "ISIC_images.zip"])
def test_an_archives_zip_may_hold_the_table_too(tmp_path, name):
    plain = releases.read("mine", write_archive(tmp_path / "plain"))
    table = (tmp_path / "plain" / "metadata.csv").read_text()
    folder = tmp_path / "all" / "mine"
    folder.mkdir(parents=True)
    put_zip(folder / name, IMAGES["mine"], more={"metadata.csv": table})
    assert releases.collections(tmp_path / "all") == ["mine"]
    assert releases.read("mine", folder).equals(plain)
    assert bytes_of("mine", folder) == wanted("mine")


@pytest.mark.parametrize("release", IMAGES)
@pytest.mark.parametrize("ending", [".JPG", ".JPEG", ".png", ".PNG"])
def test_endings_of_image_files_may_be_in_upper_case(tmp_path, release, ending):
    WRITE[release](tmp_path)
    name = releases.image_folders(release)["train"][0]
    put(tmp_path / name, IMAGES[release])
    for path in list((tmp_path / name).glob("*.jpg")):
        path.rename(path.with_suffix(ending))
    assert bytes_of(release, tmp_path) == wanted(release)
