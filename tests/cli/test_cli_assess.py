"""`dermaflow assess`: a bundle measured on labelled images that its training never held."""

import csv
import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from dermaflow import cli, outputs
from dermaflow.bundle.apply import Frequencies
from dermaflow.errors import BundleError, DataError
from dermaflow.impute.apply import Patient
from dermaflow.serve.truth import Labelled, read_truth
from dermaflow.splits.learned import learned_from
from dermaflow.taxonomy import NINE
from helpers_bundle import other_thing, picture, tiny_bundle

CODES = ["MEL", "NV", "BCC", "NV", "AK", "BKL", "MEL", "NV", "DF", "SCC", "NV", "VASC"]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    home = tmp_path_factory.mktemp("bundles")
    return {
        "nine": tiny_bundle(home / "nine"),
        "seven": tiny_bundle(home / "seven", "isic2018", detector=False),
    }


@pytest.fixture
def folder(project, tmp_path):
    """Twelve images, their confirmed diagnoses, and nothing of a project but its root."""
    (tmp_path / "images").mkdir()
    for number in range(12):
        (tmp_path / f"images/img{number}.jpg").write_bytes(picture(number))
    rows = [f"img{number}.jpg,{code.lower()},5{number % 10}" for number, code in enumerate(CODES)]
    (tmp_path / "truth.csv").write_text("\n".join(["image,diagnosis,age", *rows]))
    return tmp_path


def assess(folder, bundle, *words):
    given = {"images": "images", "truth": "truth.csv", "out": "report"}
    options = [word for name, value in given.items() for word in (f"--{name}", str(folder / value))]
    return CliRunner().invoke(cli.app, ["assess", *options, "--bundle", str(bundle.folder), *words])


def answers_of(folder):
    with (folder / "report/answers.csv").open(newline="") as opened:
        return {row["image"]: row for row in csv.DictReader(opened)}


def test_figures_are_those_of_the_answers_beside_the_diagnoses(folder, bundles):
    shown = assess(folder, bundles["nine"])
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert "12 images, not a medical device. Random networks" in shown.output
    answers = answers_of(folder)
    columns = [f"probability_{code}" for code in NINE.classes]
    found = np.array([[float(answers[f"img{n}"][name]) for name in columns] for n in range(12)])
    target = np.array([NINE.classes.index(code) for code in CODES])
    decided = (found / bundles["nine"].calibration.prior).argmax(axis=1)
    by_class = [(decided[target == index] == index).mean() for index in np.unique(target)]
    metrics = json.loads((folder / "report/metrics.json").read_text())
    assert metrics["balanced_accuracy"]["value"] == pytest.approx(np.mean(by_class), abs=1e-6)
    assert metrics["melanoma_auc"]["value"] == pytest.approx(
        roc_auc_score(target == 0, found[:, 0]), abs=1e-6
    )
    assert metrics["bundle"] == {"name": "tiny-demo", "digest": bundles["nine"].digest}
    malignant = [float(answers[f"img{n}"]["malignant_probability"]) for n in range(12)]
    referred = np.array(malignant) >= 0.3  # the tiny bundle's threshold
    bad = np.isin(CODES, ["MEL", "BCC", "AK", "SCC"])
    assert metrics["operating_point"]["sensitivity"]["value"] == pytest.approx(referred[bad].mean(), abs=1e-6)
    page = (folder / "report/report.html").read_text()
    missed = page.split("Malignant cases that would not be referred")[1].split("</section>")[0]
    for number in range(12):
        assert (f"<td>img{number}</td>" in missed) == bool(bad[number] and not referred[number])
    assert {file.name for file in (folder / "report/plots").iterdir()} == {
        "roc.png",
        "confusion.png",
        "reliability.png",
        "subgroups.png",
    }


def test_a_report_on_told_answers_says_that_promises_are_of_untold_ones(folder, bundles):
    bundle = replace(bundles["nine"], folder=folder / "bundle")
    shutil.copytree(bundles["nine"].folder, bundle.folder)
    there = Frequencies(np.zeros((len(bundle.members), 9)), np.full(9, 1 / 9))
    replace(bundle, calibration=replace(bundle.calibration, centres={"HAM": there})).write(bundle.folder)
    pages = []
    for words in ([], ["--centre", "HAM", "--out", str(folder / "told")]):
        assert assess(folder, bundle, *words).exit_code == 0
        pages.append((folder / ("told" if words else "report") / "report.html").read_text())
    for page, count in zip(pages, (0, 2), strict=True):  # of the threshold, and of the sets
        assert page.count("on told ones it need not hold") == count
        assert ("frequency in training at HAM)" in page) == bool(count)


def test_a_cancer_that_the_bundle_can_not_name_counts_where_it_should_be_referred(folder, bundles):
    truth = folder / "truth.csv"
    for code in ("ak", "scc", "nv"):
        truth.write_text(truth.read_text().replace(f",{code},", ",AKIEC,"))
    unknown = {"img1", "img3", "img4", "img7", "img9", "img10"}
    shown = assess(folder, bundles["nine"])
    assert shown.stderr == f"the bundle does not know the diagnosis of 6: {', '.join(sorted(unknown))}\n"
    metrics = json.loads((folder / "report/metrics.json").read_text())
    assert (metrics["cases"], metrics["outside_view"]) == (6, 6)
    malignant = {image: float(row["malignant_probability"]) for image, row in answers_of(folder).items()}
    bad = ["img0", "img2", "img6", *unknown]
    referred = np.mean([malignant[image] >= 0.3 for image in bad])  # the tiny bundle's threshold
    assert metrics["operating_point"]["sensitivity"]["value"] == pytest.approx(referred, abs=1e-6)
    page = (folder / "report/report.html").read_text()
    missed = page.split("Malignant cases that would not be referred")[1].split("</section>")[0]
    assert {image for image in bad if f"<td>{image}</td>" in missed} == {
        image for image in bad if malignant[image] < 0.3
    }
    assert "<td>AKIEC</td>" in missed


def test_images_of_one_patient_lesion_or_file_are_resampled_together(folder, bundles):
    (folder / "images/img11.jpg").write_bytes(picture(0))
    rows = ["image,diagnosis,patient_id,lesion_id"]
    rows += [
        f"img{n},{code},{'p' if n < 3 else ''},{'l' if n in (2, 5) else ''}" for n, code in enumerate(CODES)
    ]
    (folder / "truth.csv").write_text("\n".join(rows))
    assert assess(folder, bundles["nine"]).exit_code == 0
    metrics = json.loads((folder / "report/metrics.json").read_text())
    assert (metrics["cases"], metrics["groups"]) == (12, 8)  # 0, 1, 2, 5 and 11 are one
    assert metrics["balanced_accuracy"]["low"] is None
    assert "none for fewer than ten groups" in (folder / "report/report.html").read_text()


def test_what_is_left_out_is_named(folder, bundles):
    truth = folder / "truth.csv"
    rows = truth.read_text().splitlines()
    rows[1], rows[2] = "img0,,50", "img1,UNK,50"  # not confirmed yet; outside the seven
    truth.write_text("\n".join([*rows[:-1], "img99,NV,50"]))
    (folder / "images/img3.jpg").write_bytes(b"no image")
    shown = assess(folder, bundles["seven"])
    assert shown.exit_code == 1
    assert shown.stderr == (
        "no diagnosis is given of 1: img11\nno image is there of 1: img99\nnot confirmed yet are 1: img0\n"
        "the bundle does not know the diagnosis of 1: img1\n"
        "not read: img3: neither a JPEG nor a PNG image\n"
    )
    metrics = json.loads((folder / "report/metrics.json").read_text())
    assert (metrics["cases"], metrics["outside_view"], metrics["out_of_distribution"]) == (8, 1, None)
    page = (folder / "report/report.html").read_text()
    assert "1 images have a diagnosis that it does not know" in page
    assert "the service answers whatever it is shown" in page
    assert "could not be looked up" in page
    assert len(answers_of(folder)) == 9


def test_images_of_other_things_are_counted(folder, bundles):
    (folder / "images/img4.jpg").write_bytes(other_thing())
    assert assess(folder, bundles["nine"]).exit_code == 0
    metrics = json.loads((folder / "report/metrics.json").read_text())
    assert metrics["out_of_distribution"]["unlike"]["value"] == pytest.approx(1 / 12, abs=1e-6)


def test_training_images_are_refused_by_name_and_by_content(folder, bundles, project, monkeypatch):
    cases = pd.DataFrame({"image_id": ["ISIC_1", "img5", "img6"], "split": ["train", "hold_out", "dropped"]})
    facts = pd.DataFrame({"image_id": ["ISIC_1", "img5"], "sha256": ["a", "b"]})
    pairs = pd.DataFrame(
        {
            "image_a": ["img8", "ISIC_1", "img9", "img5"],
            "image_b": ["ISIC_1", "img7", "ISIC_1", "img6"],
            "joined": [True, True, False, True],
        }
    )
    given = {"ISIC_1": "x", "other": "a", "img5": "b", "img6": "c", "img7": "d", "img8": "e", "img9": "f"}
    assert learned_from(cases, pairs, facts, given) == ["ISIC_1", "other", "img7", "img8"]
    sha256 = hashlib.sha256(picture(4)).hexdigest()
    facts = pd.DataFrame({"image_id": ["ISIC_1"], "sha256": [sha256]})
    tables = {"cases": cases.assign(store="isic2018"), "facts": facts, "split": pairs}
    for table in (outputs.cases, outputs.facts.of("isic2018")):
        table.path.parent.mkdir(parents=True, exist_ok=True)
        table.path.touch()
    (project / "params.yaml").write_text("releases: [isic2019]\nevaluate: {}\n")  # edited since
    monkeypatch.setattr(type(outputs.cases), "read", lambda self, *_: tables[self.file.partition("/")[0][:5]])
    with pytest.raises(DataError, match=r"3 of its images are training images .*: img4, img7, img8\. Leave"):
        raise assess(folder, bundles["nine"]).exception
    assert not (folder / "report").exists()


@pytest.mark.parametrize(("own", "stored"), [(True, "isic2018"), (False, "isic2018"), (None, "isic2019")])
def test_only_the_bundles_own_whole_training_is_said_to_hold_none(
    folder, bundles, project, monkeypatch, own, stored
):
    """After another split training images may be held out here; the facts of a release may be gone."""
    tables = {
        "cases": pd.DataFrame({"image_id": ["ISIC_1"], "split": ["train"], "store": [stored]}),
        "facts": pd.DataFrame({"image_id": ["ISIC_1"], "sha256": ["a"]}),
        "split": pd.DataFrame({"image_a": [], "image_b": [], "joined": np.zeros(0, bool)}),
    }
    for table in (outputs.cases, outputs.holdout, outputs.facts.of("isic2018")):
        table.path.parent.mkdir(parents=True, exist_ok=True)
        table.path.touch()
    (project / "params.yaml").write_text("releases: [isic2018]\nevaluate: {}\n")
    monkeypatch.setattr(type(outputs.cases), "read", lambda self, *_: tables[self.file.partition("/")[0][:5]])
    digest = "1" * 64 if own is False else bundles["nine"].inputs["holdout"]
    monkeypatch.setattr(type(outputs.cases), "content", lambda self: digest)
    assert assess(folder, bundles["nine"]).exit_code == 0
    assert json.loads((folder / "report/metrics.json").read_text())["compared_with_training"] == bool(own)
    page = (folder / "report/report.html").read_text()
    assert ("None of them is a training image of this project by its name" in page) == bool(own)
    assert ("is of another split" in page) != bool(own)


def test_a_place_that_is_taken_is_left_as_it_was_and_an_empty_folder_taken(folder, bundles):
    (folder / "report").mkdir()
    assert assess(folder, bundles["nine"]).exit_code == 0
    before = {file.name: file.stat().st_mtime_ns for file in (folder / "report").iterdir()}
    with pytest.raises(DataError, match="something is there already"):
        raise assess(folder, bundles["nine"]).exception
    assert {file.name: file.stat().st_mtime_ns for file in (folder / "report").iterdir()} == before
    assert {file.name for file in folder.iterdir()} == {"images", "truth.csv", "report"}


@pytest.mark.parametrize("kind", ["link", "working folder", "own disk"])
def test_an_empty_folder_is_filled_where_it_is(folder, bundles, monkeypatch, kind):
    place = folder / "place"
    place.mkdir()
    if kind == "link":
        (folder / "report").symlink_to(place, target_is_directory=True)
        assert assess(folder, bundles["nine"]).exit_code == 0
    elif kind == "working folder":
        monkeypatch.chdir(place)
        assert assess(folder, bundles["nine"], "--out", ".").exit_code == 0
    else:  # nothing is renamed to it, as no folder can be to a mounted disk
        held = place.stat().st_ino
        assert assess(folder, bundles["nine"], "--out", str(place)).exit_code == 0
        assert place.stat().st_ino == held
    assert {file.name for file in place.iterdir()} == {"report.html", "metrics.json", "answers.csv", "plots"}


def test_a_quote_that_is_never_closed_measures_nothing(folder, bundles):
    truth = folder / "truth.csv"
    truth.write_text(truth.read_text().replace("img1.jpg", '"img1.jpg'))
    with pytest.raises(DataError, match=r"^truth\.csv, line 3: .*quotes"):
        raise assess(folder, bundles["nine"]).exception
    assert not (folder / "report").exists()


def test_what_cannot_be_measured_is_an_error_and_leaves_nothing(folder, bundles):
    def told():
        error = assess(folder, bundles["seven"], *words).exception
        assert not (folder / "report").exists()
        return str(error)

    words = ["--centre", "Nowhere"]
    assert isinstance(assess(folder, bundles["seven"], *words).exception, BundleError)
    assert "it learned from no centre 'Nowhere'" in told()
    words = []
    (folder / "truth.csv").write_text("image,diagnosis\nimg0,UNK\nimg1,SCC\nimg2,UNK\n")
    (folder / "images/img1.jpg").write_bytes(b"no image")
    assert "none of its 2 diagnoses is among the bundle's: MEL, NV, BCC, AKIEC" in told()
    (folder / "truth.csv").write_text("image,diagnosis\nimg1,SCC\n")
    assert "none of the 1 images can be read; img1: neither a JPEG" in told()
    (folder / "truth.csv").write_text("image,diagnosis\nimg77,NV\n")
    assert "none of its images is in" in told()


def test_a_table_of_diagnoses_is_read_with_all_that_it_may_hold(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text(
        "image,diagnosis,age,sex,site,patient_id,lesion_id\na.JPG,akiec,55,male,torso,p1,\nb,,,,,,\n"
    )
    known, unconfirmed = read_truth(file)
    assert known == {"a": Labelled("AKIEC", Patient(55.0, "male", "torso"), "p1", None)}
    assert unconfirmed == ["b"]
    file.write_text("image,diagnosis,patient_id,lesion_id\na,NV,NA,unknown\n")
    assert read_truth(file)[0]["a"] == Labelled("NV", Patient(), None, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,age\na,5\n", "line 1: the columns are image, age. Name them image, diagnosis, age"),
        ("image,diagnosis,colour\na,NV,red\n", "only image and diagnosis are required"),
        (
            "image,diagnosis\na,naevus\n",
            "t.csv, line 2, column diagnosis: diagnosis is 'naevus'. Write one of: MEL",
        ),
        ("image,diagnosis,age\na,NV,old\n", "line 2, column age: age is 'old'"),
        ("image,diagnosis\na,NV\na.png,MEL\n", "line 3: a is listed twice"),
        ("image,diagnosis\na,\n", "no image has a diagnosis"),
        (
            "image,diagnosis,patient_id,lesion_id\na,NV,p1,1\nb,NV,,1\nc,NV,p2,1\n",
            "line 4, column lesion_id: lesion 1 is of the patients p1 and p2. Write lesion ids that no two",
        ),
    ],
)
def test_a_wrong_table_of_diagnoses_is_an_error_that_names_the_row(tmp_path, text, message):
    file = tmp_path / "t.csv"
    file.write_text(text)
    with pytest.raises(DataError) as caught:
        read_truth(file)
    assert message in str(caught.value)
