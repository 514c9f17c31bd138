"""Image files by id, from folders, zips and links."""

import os
import pickle
import zipfile

import numpy as np
import pytest

from dermaflow.errors import DataError
from dermaflow.sources import Entry, open_source

FOLDERS = {"train": ["Input", "part_1", "part_2"], "validation": [], "test": ["Test"]}


def zipped(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


@pytest.fixture
def root(tmp_path):
    for name, content in {"Input/b.JPG": b"B", "Input/a.jpeg": b"A", "Test/c.png": b"C"}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return tmp_path


def test_entries_are_sorted_by_id_and_know_their_part(root):
    (root / "Input" / "ATTRIBUTION.txt").write_text("no image")
    (root / "Input" / "._a.jpg").write_text("a Mac's note")
    assert open_source(root, FOLDERS).entries == (
        Entry("a", "train", "Input/a.jpeg"),
        Entry("b", "train", "Input/b.JPG"),
        Entry("c", "test", "Test/c.png"),
    )


def test_a_zip_gives_the_same_ids_and_bytes_as_the_folder(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("zips")
    zipped(other / "Input.zip", {"Input/b.JPG": b"B", "deep/er/a.jpeg": b"A", "__MACOSX/a.jpeg": b"?"})
    zipped(other / "Test.zip", {"c.png": b"C"})
    folder, archive = open_source(root, FOLDERS), open_source(other, FOLDERS)
    assert [entry.file for entry in archive.entries] == [
        "Input.zip/deep/er/a.jpeg",
        "Input.zip/Input/b.JPG",
        "Test.zip/c.png",
    ]
    for one, two in zip(folder.entries, archive.entries, strict=True):
        assert (one.image_id, one.part) == (two.image_id, two.part)
        assert folder.read(one.image_id) == archive.read(one.image_id)


def test_a_link_is_as_good_as_what_it_points_to(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("links")
    (other / "Input").symlink_to(root / "Input")
    (other / "part_1").symlink_to(root / "Input")  # the same folder by a second name counts once
    source = open_source(other, FOLDERS)
    assert [entry.image_id for entry in source.entries] == ["a", "b"]
    assert source.read("a") == b"A"


def test_the_root_itself_can_hold_images_and_a_folder_below_it_counts_once(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.jpg").write_bytes(b"A")
    (tmp_path / "deep" / "b.jpg").write_bytes(b"B")
    zipped(tmp_path / "more.zip", {"c.jpg": b"C"})
    source = open_source(tmp_path, {"train": [".", "deep", "more"], "test": []})
    assert [entry.file for entry in source.entries] == ["a.jpg", "deep/b.jpg", "more.zip/c.jpg"]
    assert [source.read(entry.image_id) for entry in source.entries] == [b"A", b"B", b"C"]


def test_a_linked_folder_below_the_root_counts_once(tmp_path, tmp_path_factory):
    other = tmp_path_factory.mktemp("elsewhere")
    (other / "a.jpg").write_bytes(b"A")
    (tmp_path / "images").symlink_to(other)
    source = open_source(tmp_path, {"train": [".", "images"], "test": []})
    assert [entry.file for entry in source.entries] == ["images/a.jpg"]


def test_the_unpacked_folder_is_taken_where_the_zip_lies_beside_it(root):
    zipped(root / "Input.zip", {"a.jpeg": b"old"})
    assert open_source(root, FOLDERS).read("a") == b"A"


def test_all_folders_of_a_part_count(root):
    for name in ("part_1", "part_2"):
        (root / name).mkdir()
        (root / name / f"{name}.jpg").write_bytes(b"P")
    assert len(open_source(root, FOLDERS)) == 5


@pytest.mark.parametrize("second", ["Input/a.png", "part_1/a.jpg", "Test/a.jpg"])
def test_two_files_of_one_id_are_refused(root, second):
    (root / second).parent.mkdir(exist_ok=True)
    (root / second).write_bytes(b"A")
    with pytest.raises(DataError, match=f"1 image ids have two files: .*{second}"):
        open_source(root, FOLDERS)


def test_a_release_whose_images_lie_elsewhere_has_no_image_folder(tmp_path):
    assert open_source(tmp_path, FOLDERS).entries == ()


def test_an_absent_id_and_a_vanished_file_are_named(root):
    source = open_source(root, FOLDERS)
    with pytest.raises(DataError, match="no file of image z"):
        source.read("z")
    assert "z" not in source
    (root / "Input" / "a.jpeg").unlink()
    with pytest.raises(DataError, match=r"Input/a\.jpeg: no such file"):
        source.read("a")


def test_a_damaged_zip_or_member_is_an_error_that_names_it(tmp_path):
    (tmp_path / "Input.zip").write_bytes(b"PK no zip")
    with pytest.raises(DataError, match=r"Input\.zip: not a whole zip file"):
        open_source(tmp_path, FOLDERS)
    zipped(tmp_path / "Input.zip", {"a.jpg": b"A" * 500, "b.jpg": b"B"})
    source = open_source(tmp_path, FOLDERS)
    content = (tmp_path / "Input.zip").read_bytes()
    (tmp_path / "Input.zip").write_bytes(content[:36] + b"\x00\x01" + content[38:])
    with pytest.raises(DataError, match=r"Input\.zip/a\.jpg: can't be read"):
        source.read("a")
    assert source.read("b") == b"B"


def test_any_damaged_byte_of_a_zipped_image_is_an_error_and_no_traceback(tmp_path):
    file = np.random.default_rng(0).integers(0, 8, 400, np.uint8).tobytes()
    zipped(tmp_path / "Input.zip", {"a.jpg": file})
    whole = (tmp_path / "Input.zip").read_bytes()
    start = whole.index(b"a.jpg") + len(b"a.jpg")
    for at in range(start, start + 60):
        (tmp_path / "Input.zip").write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        os.utime(tmp_path / "Input.zip", ns=(at, at))
        with pytest.raises(DataError, match="can't be read"):
            open_source(tmp_path, FOLDERS).read("a")


@pytest.mark.parametrize("packed", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_any_damaged_byte_of_a_zip_is_an_error_whatever_it_is_packed_with(tmp_path, packed):
    with zipfile.ZipFile(tmp_path / "Input.zip", "w", packed) as archive:
        archive.writestr("a.jpg", np.random.default_rng(0).integers(0, 8, 300, np.uint8).tobytes())
    whole = (tmp_path / "Input.zip").read_bytes()
    refused = 0
    for at in range(len(whole)):
        (tmp_path / "Input.zip").write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        os.utime(tmp_path / "Input.zip", ns=(at, at))
        try:
            source = open_source(tmp_path, FOLDERS)
            for entry in source.entries:
                source.read(entry.image_id)
        except DataError:
            refused += 1
    assert refused > len(whole) / 2


def test_a_source_goes_to_other_processes_as_plain_data(tmp_path):
    zipped(tmp_path / "Input.zip", {"a.jpg": b"A"})
    source = open_source(tmp_path, FOLDERS)
    source.read("a")
    assert pickle.loads(pickle.dumps(source)).read("a") == b"A"


def test_a_name_that_no_table_can_hold_is_an_error_with_its_remedy(root):
    (root / "Input" / os.fsdecode(b"f\xfcr.jpg")).touch()
    with pytest.raises(
        DataError, match=r"1 image files have names that are not UTF-8: .*f.udcfcr\.jpg'\. Rename"
    ):
        open_source(root, FOLDERS)
