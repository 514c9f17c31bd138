"""A folder of images in each challenge's columns."""

import csv
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from dermaflow import cli
from dermaflow.bundle.apply import Calibration, Frequencies
from dermaflow.errors import BundleError, DataError
from dermaflow.impute.apply import Patient
from dermaflow.serve import formats, inference, predict_folder
from dermaflow.serve.formats import Scored
from dermaflow.serve.metadata import read_metadata
from dermaflow.taxonomy import EIGHT, NINE, SEVEN, VIEWS
from helpers_bundle import picture

PRIOR = np.array([0.10, 0.40, 0.05, 0.02, 0.10, 0.01, 0.01, 0.01, 0.30])
HEADS = {
    "isic2018": ["image", "MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"],
    "isic2019": ["image", "MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK"],
    "siim2020": ["image_name", "target"],
    "full": [
        "image",
        *(f"probability_{code}" for code in NINE.classes),
        "malignant_probability",
        "imputed",
        "ood_score",
    ],
}


@pytest.fixture
def scored():
    rng = np.random.default_rng(5)
    probabilities = rng.dirichlet(np.ones(9), 6)
    imputed = [("age",), (), ("age", "sex", "site"), (), (), ()]
    return Scored([f"img{i}" for i in range(6)], probabilities, imputed, np.linspace(0, 2, 6), NINE, PRIOR)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(5):
        (folder / f"img{seed}.jpg").write_bytes(picture(seed))
    (folder / "PNG5.PNG").write_bytes(picture(5, extension=".png"))
    (folder / "ATTRIBUTION.txt").write_text("no image")
    return folder


def table(scored, layout):
    head, *rows = formats.lines(scored, layout)
    return head, rows


@pytest.mark.parametrize("layout", list(HEADS))
def test_each_format_has_its_challenges_columns_and_a_row_an_image(scored, layout):
    head, rows = table(scored, layout)
    assert head == HEADS[layout]
    assert [row[0] for row in rows] == scored.images
    assert {len(row) for row in rows} == {len(head)}


@pytest.mark.parametrize("layout", ["isic2018", "isic2019"])
def test_scores_for_balanced_accuracy_lie_between_0_and_1_and_sum_to_1(scored, layout):
    values = np.array([row[1:] for row in table(scored, layout)[1]], float)
    assert values.min() >= 0
    assert values.max() <= 1
    assert values.sum(axis=1) == pytest.approx(1, abs=1e-6)


def test_isic2018_sums_probabilities_and_priors_before_it_divides(scored):
    """By hand: AKIEC is (AK + SCC) over the sum of their priors, not the sum of two scores."""
    _, rows = table(scored, "isic2018")
    for row, p in zip(rows, scored.probabilities, strict=True):
        of = dict(zip(NINE.classes, p, strict=True))
        prior = dict(zip(NINE.classes, PRIOR, strict=True))
        ratio = {code: of[code] / prior[code] for code in ("MEL", "NV", "BCC", "BKL", "DF", "VASC")}
        ratio["AKIEC"] = (of["AK"] + of["SCC"]) / (prior["AK"] + prior["SCC"])
        by_hand = [ratio[code] / sum(ratio.values()) for code in SEVEN.classes]
        assert [float(cell) for cell in row[1:]] == pytest.approx(by_hand, rel=1e-8)


def test_isic2019_leaves_unk_out_because_it_means_another_thing_there(scored):
    _, rows = table(scored, "isic2019")
    assert {row[-1] for row in rows} == {"0"}
    ratio = scored.probabilities[:, :8] / PRIOR[:8]
    found = np.array([row[1:9] for row in rows], float)
    assert found == pytest.approx(ratio / ratio.sum(axis=1, keepdims=True), rel=1e-8)


def test_siim2020_gives_the_melanoma_probability(scored):
    _, rows = table(scored, "siim2020")
    assert [float(row[1]) for row in rows] == pytest.approx(scored.probabilities[:, 0], rel=1e-8)


def test_full_gives_probabilities_the_malignant_sum_and_what_was_imputed(scored):
    _, rows = table(scored, "full")
    found = np.array([row[1:10] for row in rows], float)
    assert found == pytest.approx(scored.probabilities, rel=1e-8)
    by_hand = scored.probabilities[:, [0, 2, 3, 7]].sum(axis=1)  # MEL, BCC, AK, SCC
    assert [float(row[-3]) for row in rows] == pytest.approx(by_hand, rel=1e-8)
    assert [row[-2] for row in rows[:3]] == ["age", "", "age sex site"]
    assert [float(row[-1]) for row in rows] == pytest.approx(scored.ood_scores)


def test_full_tells_a_score_just_above_the_border_from_the_border(scored):
    head, *rows = formats.lines(
        replace(scored, ood_scores=np.array([1, 1.00001, 1.00004, 0.99999, 0, 9.0])), "full"
    )
    assert [float(row[head.index("ood_score")]) > 1 for row in rows] == [
        False,
        True,
        True,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(("view", "layout"), [(v, f) for v in VIEWS for f in HEADS])
def test_a_view_gives_each_format_that_it_can(view, layout):
    classes = len(VIEWS[view].classes)
    share = np.full(classes, 1 / classes)
    one = Scored(["a"], share[None], [()], None, VIEWS[view], share)
    if (view, layout) == ("isic2018", "isic2019"):
        with pytest.raises(BundleError, match="isic2019 can't be made from this bundle"):
            list(formats.lines(one, layout))
    else:
        assert len(list(formats.lines(one, layout))) == 2


def test_a_format_that_nobody_knows_lists_those_that_there_are():
    with pytest.raises(DataError, match="isic2018, isic2019, siim2020, full"):
        formats.check("isic2017", EIGHT)


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_a_batch_of_any_size_gives_what_the_service_answers_image_by_image(runners, images, batch):
    runner = runners["nine"]
    patients = {"img1": Patient(80, "male", "torso"), "img3": Patient(None, "female", None)}
    files = predict_folder.image_files(images)
    scored, problems = predict_folder.predict_folder(runner, files, patients, batch=batch)
    assert problems == []
    assert list(scored.images) == ["PNG5", "img0", "img1", "img2", "img3", "img4"]
    rows = zip(scored.images, scored.probabilities, scored.imputed, scored.ood_scores, strict=True)
    for name, row, imputed, ood_score in rows:
        answer = inference.answer(files[name](), patients.get(name, Patient()), runner)
        assert list(answer.probabilities.values()) == pytest.approx(row, abs=1e-6)
        assert tuple(answer.imputed) == imputed
        assert answer.ood_score == pytest.approx(ood_score, abs=1e-6)


@pytest.mark.parametrize("batch", [1, 2, 16])
def test_what_cannot_be_read_is_listed_and_all_others_are_written(loaded, runners, images, tmp_path, batch):
    (images / "img1.jpg").write_bytes(b"no image")
    (images / "img2.jpg").write_bytes(picture(2)[:300])
    files = predict_folder.image_files(images)
    files["gone"] = (images / "gone.jpg").read_bytes
    scored, problems = predict_folder.predict_folder(runners["nine"], files, {}, batch=batch)
    assert [name for name, _ in problems] == ["img1", "img2", "gone"]
    assert "neither a JPEG nor a PNG" in problems[0][1]
    assert list(scored.images) == ["PNG5", "img0", "img3", "img4"]


def test_a_folder_goes_to_a_csv_with_its_metadata(loaded, images, tmp_path):
    metadata, out = tmp_path / "patients.csv", tmp_path / "answers.csv"
    metadata.write_text("image,age,sex,site\nimg0.jpg,55,male,torso\nimg1,,female,\n")
    assert predict_folder.score(loaded["nine"], images, metadata, "full", out) == ([], [])
    with out.open(newline="") as opened:
        rows = {row["image"]: row["imputed"] for row in csv.DictReader(opened)}
    assert rows["img0"] == ""
    assert rows["img1"] == "age site"
    assert rows["img2"] == "age sex site"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["answers.csv", "images", "patients.csv"]


def test_a_name_is_the_same_in_either_form_of_unicode(tmp_path):
    (tmp_path / "ha\u0308ut.jpg").write_bytes(b"")  # as macOS may store it
    (tmp_path / "patients.csv").write_text("image,age\nh\u00e4ut.jpg,50\n", encoding="utf-8")
    (image,) = predict_folder.image_files(tmp_path)
    assert list(read_metadata(tmp_path / "patients.csv")) == [image]


def test_metadata_of_no_image_are_named_and_an_error_if_there_are_no_others(loaded, images, tmp_path):
    metadata, out = tmp_path / "patients.csv", tmp_path / "answers.csv"
    metadata.write_text("image,age\nimg0,55\nimg7.jpg,60\nIMG1,70\n")
    assert predict_folder.score(loaded["nine"], images, metadata, "full", out) == ([], ["img7", "IMG1"])
    out.unlink()
    metadata.write_text("image,age\nimg7.jpg,60\nIMG1,70\n")
    with pytest.raises(DataError, match=r"^patients\.csv: none of its images is in .*; it names img7, IMG1"):
        predict_folder.score(loaded["nine"], images, metadata, "full", out)
    assert not out.exists()


def test_a_place_that_takes_no_csv_is_refused_before_any_image_is_read(loaded, images, tmp_path, monkeypatch):
    monkeypatch.setattr(predict_folder, "predict_folder", lambda *_: pytest.fail("read"))
    with pytest.raises(DataError, match="it is no ordinary file"):
        predict_folder.score(loaded["nine"], images, None, "full", tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="it is no ordinary file"):
        predict_folder.score(loaded["nine"], images, None, "full", tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()
    with pytest.raises(DataError, match="no such folder"):
        predict_folder.score(loaded["nine"], images, None, "full", tmp_path / "absent" / "a.csv")


def test_a_link_to_write_to_stays_a_link(loaded, images, tmp_path):
    (tmp_path / "link.csv").symlink_to("real.csv")
    predict_folder.score(loaded["nine"], images, None, "full", tmp_path / "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text().startswith("image,")


def test_a_file_that_cant_be_made_is_told_before_any_image_is_read(loaded, images, tmp_path, monkeypatch):
    monkeypatch.setattr(predict_folder, "predict_folder", lambda *_: pytest.fail("read"))
    out = tmp_path / f"{'x' * 251}.csv"  # the scratch file's name is longer than any file system takes
    with pytest.raises(DataError, match=r"x\.csv: it can't be written: .* Give another path"):
        predict_folder.score(loaded["nine"], images, None, "full", out)


def test_the_answers_never_take_the_place_of_what_they_are_made_from(loaded, images, tmp_path):
    metadata = tmp_path / "patients.csv"
    metadata.write_text("image,age\nimg0,55\n")
    (tmp_path / "link.csv").symlink_to(metadata)
    for out in (metadata, tmp_path / "link.csv", images / "img0.jpg"):
        with pytest.raises(
            DataError, match=r"the patients' table would lie there\. Give the CSV another name"
        ):
            predict_folder.score(loaded["nine"], images, metadata, "full", out)
    assert metadata.read_text() == "image,age\nimg0,55\n"


def test_where_no_image_can_be_read_the_old_file_stays(loaded, images, tmp_path):
    out = tmp_path / "answers.csv"
    out.write_text("old")
    for file in images.iterdir():
        file.write_bytes(b"no image")
    with pytest.raises(
        DataError, match=r"none of the 6 images can be read; PNG5: .*neither a JPEG nor a PNG"
    ):
        predict_folder.score(loaded["nine"], images, None, "full", out)
    assert out.read_text() == "old"


def test_scoring_that_fails_leaves_nothing_and_the_old_file(loaded, images, tmp_path, monkeypatch):
    out = tmp_path / "a.csv"
    out.write_text("old")

    def stopped(*_):
        assert len(list(tmp_path.iterdir())) == 3  # the scratch file waits
        raise KeyboardInterrupt

    monkeypatch.setattr(predict_folder, "predict_folder", stopped)
    with pytest.raises(KeyboardInterrupt):
        predict_folder.score(loaded["nine"], images, None, "full", out)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.csv", "images"]
    assert out.read_text() == "old"


def test_an_impossible_format_is_refused_before_any_image_is_read(loaded, tmp_path):
    with pytest.raises(BundleError, match="isic2019"):
        predict_folder.score(loaded["isic2018"], tmp_path / "absent", None, "isic2019", tmp_path / "a.csv")


def test_a_failed_write_leaves_the_old_file(scored, tmp_path, monkeypatch):
    out = tmp_path / "a.csv"
    out.write_text("old")

    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(predict_folder.csv, "writer", full_disk)
    with pytest.raises(DataError, match=rf"^{out}: it can't be written: No space left"):
        predict_folder.write_csv(scored, "full", out)
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]
    assert out.read_text() == "old"


def test_a_folder_without_images_two_files_of_one_id_and_no_folder_are_errors(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        predict_folder.image_files(tmp_path / "absent")
    with pytest.raises(DataError, match=r"no \.jpg"):
        predict_folder.image_files(tmp_path)
    for name in ("a.jpg", "a.png"):
        (tmp_path / name).write_bytes(picture())
    with pytest.raises(DataError, match=r"two files of the same id: a[.]jpg"):
        predict_folder.image_files(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,age\na,old\n", "p.csv, line 2, column age: age is 'old'"),
        ("image,age\na,\nb,130\n", "p.csv, line 3, column age"),
        ("image,age\na,nan\n", "column age"),
        ("image,sex\na,m\n", "line 2, column sex: sex is 'm'"),
        ("image,site\na,arm\n", "line 2, column site"),
        ("image,site\na,unknown\n", "line 2, column site"),
        ("image,age_approx\na,5\n", "line 1: the columns are image, age_approx"),
        ("age,sex\n5,male\n", "line 1: the columns are"),
        ("image,age\na,5\na.jpg,6\n", "line 3: a is listed twice"),
        ("image,age\n,5\n", "line 2: no image is named"),
        ("", "line 1: the columns are"),
        ("image,age\na,5_5\n", "column age"),
        ("image,age\na,5\nb,55,5\n", "p.csv, line 3: it has more cells than the 2 columns. Write 55.5, not"),
        ("image,age,sex\na,55,5,male\n", "line 2: it has more cells than the 3 columns"),
        ('image,age\na,5\n"b,6\nc,7\n', "p.csv, line 3: unexpected end of data. Mend its quotes"),
        ('image,age\na,5\n"b,6\nc",7\nd,8\n', "p.csv, line 3: a quote runs over several lines"),
        ('image,age\n"a"b,5\n', "p.csv, line 2: ',' expected after '\"'. Mend its quotes"),
        ("image,sex\na," + "m" * 200_000, "p.csv, line 2: field larger than field limit"),
        ('image,"age\na,5\n', "p.csv: can't be read: unexpected end of data"),
    ],
)
def test_a_wrong_patient_table_is_an_error_that_names_the_row(tmp_path, text, message):
    file = tmp_path / "p.csv"
    file.write_text(text)
    with pytest.raises(DataError) as caught:
        read_metadata(file)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "table",
    [
        "image,site\na,mäl\n".encode("latin-1"),
        "image,age\na,5\n".encode("utf-16"),
    ],
)
def test_a_patient_table_that_is_no_csv_in_utf8_is_an_error_that_says_so(tmp_path, table):
    file = tmp_path / "p.csv"
    file.write_bytes(table)
    with pytest.raises(DataError, match=r"^p\.csv: can't be read: .* Save it as CSV in UTF-8"):
        read_metadata(file)


def test_a_hidden_file_is_no_image_of_a_folder(tmp_path):
    for name in ("a.jpg", "._a.jpg"):
        (tmp_path / name).write_bytes(picture())
    assert list(predict_folder.image_files(tmp_path)) == ["a"]


def test_a_patient_table_is_read_with_missing_cells_columns_and_a_byte_order_mark(tmp_path):
    file = tmp_path / "p.csv"
    file.write_bytes(b"\xef\xbb\xbfimage,age,site\r\na.JPG, 55 ,torso\r\nb,,\r\n")
    assert read_metadata(file) == {"a": Patient(55.0, None, "torso"), "b": Patient()}


def test_a_class_that_training_never_saw_scores_zero():
    prior = np.array([0.5, 0.5, 0, 0, 0, 0, 0, 0, 0])
    one = Scored(["a"], np.full((1, 9), 1 / 9), [()], None, NINE, prior)
    row = next(iter(table(one, "isic2018")[1]))
    assert [float(cell) for cell in row[1:]] == [0.5, 0.5, 0, 0, 0, 0, 0]


def test_the_calibrations_prior_is_the_one_that_is_divided_by(runners, images):
    """A bundle with another prior gives other decision scores and the same probabilities."""
    runner = runners["nine"]
    scored, _ = predict_folder.predict_folder(runner, predict_folder.image_files(images), {})
    assert (scored.prior == runner.bundle.calibration.prior).all()
    other = replace(scored, prior=np.full(9, 1 / 9))
    assert table(scored, "full") == table(other, "full")
    assert table(scored, "isic2018") != table(other, "isic2018")
    assert isinstance(runner.bundle.calibration, Calibration)


def knowing_nowhere(bundle):
    """The bundle as if it had learned other frequencies from a centre called Nowhere."""
    there = Frequencies(np.zeros((2, 9)) + np.log(np.linspace(1, 9, 9)), np.linspace(1, 9, 9) / 45)
    return replace(bundle, calibration=replace(bundle.calibration, centres={"Nowhere": there}))


def test_one_who_tells_the_centre_gets_its_frequencies(folders, images, tmp_path):
    from dermaflow.bundle import format as bundle_format

    folder = shutil.copytree(folders["nine"], tmp_path / "bundle")
    knowing_nowhere(bundle_format.read(folder)).write(folder)
    scored, out = {}, tmp_path / "a.csv"
    given = ["--images", str(images), "--bundle", str(folder), "--out", str(out)]
    for layout in ("full", "isic2019"):
        for name, words in (("untold", []), ("told", ["--centre", "Nowhere"])):
            shown = CliRunner().invoke(cli.app, ["predict", *given, "--format", layout, *words])
            assert shown.exit_code == 0, shown.output
            with out.open(newline="") as opened:
                rows = list(csv.reader(opened))[1:]
            scored[layout, name] = np.array([[float(cell) for cell in row[1:10]] for row in rows])
    there = np.linspace(1, 9, 9) / 45
    by_hand = scored["full", "untold"] * there
    assert scored["full", "told"] == pytest.approx(by_hand / by_hand.sum(axis=1, keepdims=True))
    ratio = (scored["full", "told"] / there)[:, :8]
    assert scored["isic2019", "told"][:, :8] == pytest.approx(ratio / ratio.sum(axis=1, keepdims=True))
    assert abs(scored["isic2019", "told"] - scored["isic2019", "untold"]).max() > 0.01


def test_a_centre_that_the_bundle_did_not_learn_from_is_refused_before_any_image_is_read(loaded, tmp_path):
    bundle = knowing_nowhere(loaded["nine"].bundle)
    asked = replace(loaded["nine"], bundle=bundle), tmp_path / "absent", None, "full", tmp_path / "a.csv"
    with pytest.raises(BundleError, match=r"no centre 'HAM'.*Name one of: Nowhere; or name none"):
        predict_folder.score(*asked, "HAM")


def test_the_command_says_which_rows_of_metadata_it_did_not_use(folders, images, tmp_path):
    metadata = tmp_path / "patients.csv"
    metadata.write_text("image,age\nimg0,55\nimg7,60\n")
    given = {"images": images, "out": tmp_path / "a.csv", "metadata": metadata, "bundle": folders["nine"]}
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    shown = CliRunner().invoke(cli.app, ["predict", *words])
    others = "not scored: 1 (no .jpg, .jpeg or .png file): ATTRIBUTION.txt\n"
    assert (shown.exit_code, shown.stderr) == (
        0,
        f"{others}not used: 1 rows of metadata match no image: img7\n",
    )


def test_the_command_says_what_it_did_not_score(folders, images):
    (images / "deeper").mkdir()
    (images / "scan.tif").touch()
    (images / ".hidden").touch()
    (images / "patients.csv").write_text("image,age\nimg0,55\n")
    given = {"images": images, "out": images / "answers.csv", "metadata": images / "patients.csv"}
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    shown = CliRunner().invoke(cli.app, ["predict", *words, "--bundle", str(folders["nine"])])
    said = "not scored: 3 (no .jpg, .jpeg or .png file): ATTRIBUTION.txt, deeper, scan.tif\n"
    assert (shown.exit_code, shown.stderr) == (0, said)


def test_what_is_no_file_is_named_and_not_read(loaded, images, tmp_path):
    (images / "camera.jpg").symlink_to("/dev/null")  # a pipe without a writer would hang where it is read
    (images / "deeper.png").mkdir()
    (images / "gone.jpg").symlink_to("nowhere")
    problems, _ = predict_folder.score(loaded["nine"], images, None, "full", tmp_path / "a.csv", None)
    ordinary = "it is no ordinary file"
    assert problems == [
        ("camera", ordinary),
        ("deeper", ordinary),
        ("gone", "No such file or directory"),
    ]


def test_a_file_name_that_no_csv_can_hold_is_said_before_anything_is_scored(tmp_path):
    for name in (b"l\xe9sion.jpg", "l\u00e9sion \u202f2.jpg".encode()):
        (tmp_path / os.fsdecode(name)).write_bytes(picture())
    with pytest.raises(DataError, match=r"not UTF-8: 'l\\udce9sion'\. Rename"):
        predict_folder.image_files(tmp_path)
