"""The drawn release: the official layouts, with all that makes the real ones hard; whole, or not there."""

import csv
import errno
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from dermaflow import sample
from dermaflow.errors import DataError
from dermaflow.sample import release as drawing
from dermaflow.sample.world import FULL_IMAGES, MOST_IMAGES, populate
from dermaflow.taxonomy import DIAGNOSES, SITES

SMALL = 90
HEADERS = {
    "isic2018/ISIC2018_Task3_Training_GroundTruth.csv": "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC",
    "isic2018/ISIC2018_Task3_Validation_GroundTruth.csv": "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC",
    "isic2018/ISIC2018_Task3_Training_LesionGroupings.csv": "image,lesion_id,diagnosis_confirm_type",
    "isic2018/HAM10000_metadata.csv": "lesion_id,image_id,dx,dx_type,age,sex,localization",
    "isic2019/ISIC_2019_Training_GroundTruth.csv": "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK",
    "isic2019/ISIC_2019_Training_Metadata.csv": "image,age_approx,anatom_site_general,lesion_id,sex",
    "isic2019/ISIC_2019_Test_Metadata.csv": "image,age_approx,anatom_site_general,sex",
    "isic2020/train.csv": "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,"
    "diagnosis,benign_malignant,target",
    "isic2020/test.csv": "image_name,patient_id,sex,age_approx,anatom_site_general_challenge",
    "isic2020/sample_submission.csv": "image_name,target",
    "isic2020/2020_Challenge_duplicates.csv": "ISIC_id,ISIC_id_paired,partition",
}
SCRIPT = """
import sys, pathlib
from dermaflow import sample
print(sample.draw(pathlib.Path(sys.argv[1]), images=90, workers=2).digest)
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample") / "data"
    return sample.draw(folder, images=SMALL, workers=1)


@pytest.fixture
def drawn(small):
    return small.folder


def rows(folder, name):
    with (folder / name).open(newline="") as file:
        return list(csv.DictReader(file))


def label(row):
    marked = [name for name, value in row.items() if value == "1.0"]
    assert len(marked) == 1
    return marked[0]


def sha(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def size_px(file):
    with Image.open(file) as image:
        return image.size


def stems(folder, pattern="*.jpg"):
    return {file.stem for file in folder.glob(pattern)}


@pytest.mark.parametrize("name", HEADERS)
def test_each_table_has_the_published_columns_and_plain_line_ends(drawn, name):
    text = (drawn / name).read_bytes()
    assert text.split(b"\n")[0].decode() == HEADERS[name]
    assert b"\r" not in text
    assert text.endswith(b"\n")


def test_2018_is_contained_in_2019_and_akiec_is_ak_or_scc(drawn):
    old = {r["image"]: label(r) for r in rows(drawn, "isic2018/ISIC2018_Task3_Training_GroundTruth.csv")}
    new = {r["image"]: label(r) for r in rows(drawn, "isic2019/ISIC_2019_Training_GroundTruth.csv")}
    assert set(old) < set(new)
    assert {(old[name], new[name]) for name in old if old[name] != new[name]} == {
        ("AKIEC", "AK"),
        ("AKIEC", "SCC"),
    }


def test_a_part_of_2018s_files_lies_in_2019s_folder_too_byte_for_byte(drawn):
    old, new = drawn / "isic2018/ISIC2018_Task3_Training_Input", drawn / "isic2019/ISIC_2019_Training_Input"
    both = stems(old) & stems(new)
    assert 0.4 < len(both) / len(stems(old)) < 0.6
    assert all((old / f"{name}.jpg").read_bytes() == (new / f"{name}.jpg").read_bytes() for name in both)


def test_every_listed_image_has_a_file_and_every_file_is_listed(drawn):
    old = {r["image"] for r in rows(drawn, "isic2018/ISIC2018_Task3_Training_GroundTruth.csv")}
    new = {r["image"] for r in rows(drawn, "isic2019/ISIC_2019_Training_GroundTruth.csv")}
    own = stems(drawn / "isic2019/ISIC_2019_Training_Input") - old
    assert stems(drawn / "isic2018/ISIC2018_Task3_Training_Input") == old
    assert own == new - old
    for part in ("train", "test"):
        assert {r["image_name"] for r in rows(drawn, f"isic2020/{part}.csv")} == stems(
            drawn / "isic2020" / part
        )
    tested = {r["image"] for r in rows(drawn, "isic2019/ISIC_2019_Test_Metadata.csv")}
    assert tested == stems(drawn / "isic2019/ISIC_2019_Test_Input")
    assert {r["image_id"] for r in rows(drawn, "isic2018/HAM10000_metadata.csv")} == old
    assert {r["image"] for r in rows(drawn, "isic2018/ISIC2018_Task3_Training_LesionGroupings.csv")} == old
    assert {r["image"] for r in rows(drawn, "isic2019/ISIC_2019_Training_Metadata.csv")} == new


def test_each_year_has_a_small_test_set_without_labels(drawn):
    labelled = "".join(
        (drawn / name).read_text() for name in HEADERS if "Ground" in name or name.endswith("train.csv")
    )
    for folder in ("isic2018/ISIC2018_Task3_Test_Input", "isic2019/ISIC_2019_Test_Input", "isic2020/test"):
        names = stems(drawn / folder)
        assert len(names) >= 4
        assert not [name for name in names if name in labelled]
    wanted = [r["image_name"] for r in rows(drawn, "isic2020/sample_submission.csv")]
    assert wanted == [r["image_name"] for r in rows(drawn, "isic2020/test.csv")]


def test_some_lesions_have_several_images_and_some_patients_several_lesions(drawn):
    of_lesion = Counter(r["lesion_id"] for r in rows(drawn, "isic2019/ISIC_2019_Training_Metadata.csv"))
    assert sum(count > 1 for name, count in of_lesion.items() if name) >= 5
    assert {name[:3] for name in of_lesion} == {"HAM", "BCN", "MSK", ""}
    of_patient = Counter(r["patient_id"] for r in rows(drawn, "isic2020/train.csv"))
    assert sum(count > 1 for count in of_patient.values()) >= 3
    assert not set(of_patient) & {r["patient_id"] for r in rows(drawn, "isic2020/test.csv")}


def test_a_lesion_has_one_diagnosis_and_a_patient_one_sex(drawn):
    truth = {r["image"]: label(r) for r in rows(drawn, "isic2019/ISIC_2019_Training_GroundTruth.csv")}
    found = defaultdict(set)
    for row in rows(drawn, "isic2019/ISIC_2019_Training_Metadata.csv"):
        if row["lesion_id"]:
            found[row["lesion_id"]].add(truth[row["image"]])
    for row in rows(drawn, "isic2020/train.csv"):
        found[row["patient_id"]].add(row["sex"])
    assert all(len(values) == 1 for values in found.values())


def test_official_pairs_share_patient_diagnosis_and_part(drawn):
    pairs = rows(drawn, "isic2020/2020_Challenge_duplicates.csv")
    assert {r["partition"] for r in pairs} == {"train", "test"}
    for pair in pairs:
        listed = {r["image_name"]: r for r in rows(drawn, f"isic2020/{pair['partition']}.csv")}
        one, two = (dict(listed[pair[key]], image_name="") for key in ("ISIC_id", "ISIC_id_paired"))
        assert one == two


def test_there_are_duplicates_that_no_table_names(drawn):
    folder = drawn / "isic2019/ISIC_2019_Training_Input"
    truth = {r["image"]: label(r) for r in rows(drawn, "isic2019/ISIC_2019_Training_GroundTruth.csv")}
    lesion = {r["image"]: r["lesion_id"] for r in rows(drawn, "isic2019/ISIC_2019_Training_Metadata.csv")}
    same = defaultdict(list)
    for file in folder.glob("*.jpg"):
        same[sha(file)].append(file.stem)
    groups = [names for names in same.values() if len(names) > 1]
    assert len(groups) >= 2
    assert all(len({lesion[name] for name in names}) == len(names) for names in groups)
    assert (
        sum(len({truth[name] for name in names}) > 1 for names in groups) == 1
    )  # one pair contradicts itself


def test_a_mirrored_copy_shows_the_same_picture_in_other_bytes(drawn):
    files = {file.stem: file for file in drawn.rglob("*.jpg")}
    mirrored = [pair for pair in populate(SMALL, sample.SEED).unlisted if pair[2] == "mirrored"]
    assert mirrored
    for one, two, _ in mirrored:
        first, second = (cv2.imread(str(files[name])).astype(int) for name in (one, two))
        assert np.abs(first[:, ::-1] - second).mean() < 4
        assert np.abs(first - second).mean() > 4


def test_gaps_are_written_as_each_table_writes_them(drawn):
    old = rows(drawn, "isic2018/HAM10000_metadata.csv")
    assert {"male", "female", "unknown"} == {r["sex"] for r in old}
    assert {"unknown", "trunk"} <= {r["localization"] for r in old}
    assert all(r["age"] == "" or r["age"].endswith(".0") for r in old)
    new = rows(drawn, "isic2019/ISIC_2019_Training_Metadata.csv")
    for column in ("age_approx", "anatom_site_general", "sex", "lesion_id"):
        assert "" in {r[column] for r in new}
    assert {r["sex"] for r in new} == {"male", "female", ""}
    assert {r["anatom_site_general_challenge"] for r in rows(drawn, "isic2020/train.csv")} <= {*SITES, ""}
    assert any(r["image"].endswith("_downsampled") for r in new)


def test_2020_speaks_its_own_words_and_marks_melanomas(drawn):
    found = {(r["diagnosis"], r["benign_malignant"], r["target"]) for r in rows(drawn, "isic2020/train.csv")}
    assert ("melanoma", "malignant", "1") in found
    assert {name for name, benign, target in found if (benign, target) == ("benign", "0")} == {
        "unknown", "nevus", "seborrheic keratosis", "lichenoid keratosis", "lentigo NOS",
    }  # fmt: skip


def test_every_training_image_has_a_mask_of_its_shape(drawn):
    training = set()
    for folder in (
        "isic2018/ISIC2018_Task3_Training_Input",
        "isic2019/ISIC_2019_Training_Input",
        "isic2020/train",
    ):
        for file in (drawn / folder).glob("*.jpg"):
            training.add(file.stem)
            mask = cv2.imread(str(drawn / "masks" / f"{file.stem}_segmentation.png"), cv2.IMREAD_UNCHANGED)
            width, height = size_px(file)
            assert width * mask.shape[0] == height * mask.shape[1]
            assert set(np.unique(mask)) == {0, 255}
            assert (mask == 255).mean() > 0.02
    assert stems(drawn / "masks", "*.png") == {f"{name}_segmentation" for name in training}


def test_some_images_are_3000_pixels_and_more(drawn):
    sizes = [size_px(file) for file in drawn.rglob("*.jpg")]
    assert sum(max(size) >= 3000 for size in sizes) >= 1
    assert len(set(sizes)) >= 6


def test_each_release_says_that_it_is_drawn(drawn):
    for folder in sample.ENTRIES:
        assert "prove nothing medical" in (drawn / folder / "NOTICE.txt").read_text()


def test_the_summary_counts_what_lies_there(small):
    files = [file for file in small.folder.rglob("*") if file.is_file()]
    assert small.files == len(files)
    assert small.size_bytes == sum(file.stat().st_size for file in files)
    assert small.digest == sample.tree_digest(small.folder)
    assert sum(small.diagnoses.values()) == len(list((small.folder / "masks").glob("*.png")))
    assert sum(small.images.values()) == len({file.stem for file in small.folder.rglob("*.jpg")})


@pytest.mark.parametrize(("images", "lesions", "pictures"), [(SMALL, 4, 4), (FULL_IMAGES, 8, 14)])
def test_the_rarest_diagnosis_keeps_enough_for_folds_and_a_hold_out(images, lesions, pictures):
    train = [item for item in populate(images, sample.SEED).listings if item.part == "train"]
    assert abs(len(train) - images) < 0.25 * images
    for code in DIAGNOSES:
        mine = [item for item in train if item.lesion.diagnosis == code]
        groups = {item.lesion.patient.patient_id or item.lesion.name for item in mine}
        assert len(groups) >= lesions
        assert len(mine) >= pictures


def test_the_full_world_is_as_large_as_promised_and_few_fields_are_missing():
    world = populate(FULL_IMAGES, sample.SEED)
    names = [item.image_id for item in world.listings]
    assert len(set(names)) == len(names)
    assert abs(len(names) - 360) < 20
    train = [item.lesion for item in world.listings if item.part == "train"]
    assert sum(max(p.width, p.height) * p.factor >= 3000 for p in world.pictures) >= 4
    for gaps in (
        [x.patient.age for x in train],
        [x.patient.sex for x in train],
        [x.site_2019 or None for x in train],
    ):
        assert 0.005 < gaps.count(None) / len(gaps) < 0.05
    counts = Counter(lesion.diagnosis for lesion in train)
    assert counts.most_common(1)[0][0] == "NV"
    assert counts["NV"] > 3 * counts["DF"]


def test_the_largest_world_still_gives_each_image_its_own_id_and_a_larger_one_is_refused():
    names = [item.image_id for item in populate(MOST_IMAGES, sample.SEED).listings]
    assert len(set(names)) == len(names) > MOST_IMAGES
    with pytest.raises(DataError, match=r"4001 images are wanted.*at most 4000"):
        populate(MOST_IMAGES + 1, sample.SEED)


def test_another_seed_is_another_world():
    one, two = (populate(SMALL, seed) for seed in (1, 2))
    assert [item.lesion.patient for item in one.listings] != [item.lesion.patient for item in two.listings]
    assert populate(SMALL, 1) == one


def test_a_folder_that_holds_something_is_refused_and_left_alone(tmp_path):
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(DataError, match=r"holds 1 entries: letters.txt"):
        sample.draw(tmp_path, images=SMALL)
    assert [entry.name for entry in tmp_path.iterdir()] == ["letters.txt"]


def test_replace_exchanges_the_four_folders_and_keeps_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "_draw_pictures", lambda *_: None)
    target = tmp_path / "data"
    (target / "isic2018").mkdir(parents=True)
    (target / "isic2018/old.csv").write_text("old")
    elsewhere = tmp_path / "archive"
    elsewhere.mkdir()
    (elsewhere / "keep.jpg").write_text("keep")
    (target / "isic2020").symlink_to(elsewhere)
    (target / "notes.txt").write_text("mine")
    sample.draw(target, images=SMALL, replace=True)
    assert not (target / "isic2018/old.csv").exists()
    assert (target / "isic2018/HAM10000_metadata.csv").exists()
    assert not (target / "isic2020").is_symlink()
    assert (elsewhere / "keep.jpg").read_text() == "keep"  # a link goes, what it names stays
    assert (target / "notes.txt").read_text() == "mine"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["archive", "data"]


@pytest.mark.parametrize("there", [True, False])
def test_a_linked_target_is_drawn_on_the_disk_that_it_names(tmp_path, monkeypatch, there):
    other = tmp_path / "other disk"
    (other / "data" if there else other).mkdir(parents=True)
    (tmp_path / "data").symlink_to(other / "data")
    homes = []
    monkeypatch.setattr(drawing, "_draw_pictures", lambda _, scratch, *__: homes.append(scratch.parent))
    sample.draw(tmp_path / "data", images=SMALL)
    assert homes == [other]
    assert (tmp_path / "data").is_symlink()
    assert sorted(entry.name for entry in (other / "data").iterdir()) == sorted(sample.ENTRIES)


def test_a_target_that_is_a_disk_of_its_own_is_drawn_inside_it(tmp_path, monkeypatch):
    homes = []
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path)
    monkeypatch.setattr(drawing, "_draw_pictures", lambda _, scratch, *__: homes.append(scratch.parent))
    sample.draw(tmp_path, images=SMALL)
    assert homes == [tmp_path]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(sample.ENTRIES)


def test_a_full_disk_is_seen_before_the_work_starts(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=5_000_000)
    monkeypatch.setattr(drawing.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match="only 5 MB are free, 60 MB are needed"):
        sample.draw(tmp_path / "data", images=SMALL)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_leaves_nothing_half_written(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(drawing, "_draw_pictures", full)
    with pytest.raises(DataError, match="the disk is full"):
        sample.draw(tmp_path / "data", images=SMALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_release_is_the_same_with_two_processes_and_no_special_instructions(small, tmp_path):
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    features = " ".join(name for name in __cpu_dispatch__ if __cpu_features__.get(name))
    plain = {**os.environ, "NPY_DISABLE_CPU_FEATURES": features, "JSIMD_FORCENONE": "1"}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "data")]
    done = subprocess.run(command, env=plain, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == small.digest


@pytest.mark.slow
def test_the_full_release_keeps_its_limits(tmp_path):
    told = []
    start = time.process_time()
    summary = sample.draw(tmp_path / "data", workers=1, progress=lambda *at: told.append(at))
    assert time.process_time() - start < 55  # seconds of one core; two have it in 30
    assert summary.size_bytes < 40_000_000
    assert abs(sum(summary.images.values()) - 360) < 20
    assert told[-1][0] == told[-1][1] == len(told)
    assert Path(summary.folder / "masks").is_dir()
