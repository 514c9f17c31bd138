"""`dermaflow repro` tidies outputs/ before and says afterwards where the results differ."""

import json
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from dermaflow import datadir
from dermaflow.cli import repro
from dermaflow.errors import DermaflowError
from tests_paths import ROOT


def stage(out, *deps, md5="1"):
    return {"deps": [{"path": path} for path in deps], "outs": [{"path": out, "md5": md5}]}


LOCK = {
    "certify": stage("outputs/certificate.json", "outputs/cases.parquet"),
    "ingest@isic2018": stage("outputs/facts/isic2018.parquet", "data/isic2018"),
    "split": stage("outputs/cases.parquet", "outputs/facts"),
}


def test_what_no_stage_makes_any_more_is_removed_and_peoples_files_stay(project):
    stages = ["models/lite0/0/a", "evaluation/lite0/metrics.json", "ensemble/blend.json"]
    stale = ["models/lite0/1/a", "models/old/0/a", "evaluation/old/metrics.json", "old.txt"]
    peoples = ["decision.json", "answers.csv", "predictions/mine.csv", "evaluation/notes/a.txt"]
    for name in (*stages, *stale, *peoples, ".gitignore", "models/old/.gitignore"):
        file = project / "outputs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    outs = [
        "outputs/models/lite0/0",
        "outputs/models/lite1/0",
        "outputs/evaluation/lite0",
        "outputs/ensemble",
    ]
    flow = repro.Flow(frozenset({"train"}), frozenset(outs), frozenset({"outputs/models"}))
    remembered = ["outputs/evaluation/old", "outputs/old.txt", "outputs/gone", *outs]
    remembered += [
        "outputs/ensemble/blend.json",
        "outputs/models",
    ]  # part of one now, or its home
    found = repro.stale(flow, remembered)
    assert found == [
        "outputs/evaluation/old", "outputs/models/lite0/1", "outputs/models/old", "outputs/old.txt",
    ]  # fmt: skip
    assert list(repro.remove(found)) == found
    left = {
        file.relative_to(project / "outputs").as_posix()
        for file in (project / "outputs").rglob("*")
        if file.is_file()
    }
    assert left == {*stages, *peoples, ".gitignore"}


def test_nothing_outside_of_outputs_is_ever_taken_for_a_stages():
    lock = {"stages": {**LOCK, "old": stage("data/isic2018"), "older": stage("notes.txt")}}
    assert repro.made(lock) == {out["path"] for entry in LOCK.values() for out in entry["outs"]}


@pytest.mark.slow
def test_outside_a_project_or_with_params_that_lack_a_key_there_is_one_line(project):
    def said(*words):
        done = subprocess.run(["dermaflow", *words], cwd=project, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        return done.stderr

    assert "params.yaml: no such file. Run in the project's root" in said("repro")
    assert "params.yaml: no such file. Run in the project's root" in said("models", "list")
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, check=True, cwd=project)
    shutil.copy(ROOT / "dvc.yaml", project)
    (project / "params.yaml").write_text("releases: [isic2018]")
    assert said("repro").startswith("error: params.yaml: sizes is missing")
    (project / "params.yaml").write_text("releases: [isic2018")
    assert said("repro").startswith("error: params.yaml: not valid YAML")


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        ("folds", 3, "folds is 3, must be a list"),
        ("folds", [0, 1, "two"], "folds names 'two'"),
        ("folds", [0, 1, 5], "folds names 5, but 3 folds are dealt"),
        ("models", {}, "models is {}, must be a list"),
        ("models.lite0.drawn_image", 320, "models.lite0.drawn_image is no known key"),
        ("models.lite0.drawn_images", 4, "models.lite0: train.batch: an epoch of 4 images is smaller"),
        ("models.lite0.stored_px", 130, "models.lite0.stored_px is 130, sizes holds"),
        ("workers", 0, "workers is 0"),
        ("gate.min_macro_auc", 1.4, "gate.min_macro_auc is 1.4"),
        ("augment.cutout.p", "often", "augment.cutout.p is 'often'"),
        ("releases", ["isic2017"], "releases names isic2017, which data/ does not hold"),
        ("patience", 40, "params.yaml: patience is no section. Mend its spelling, indent it"),
        ("models", {"lite0.5": {}}, "models names lite0.5"),
        ("models", {"x;touch f": {}}, "models names x;touch f"),
        ("sizes", [96, 0], "sizes names 0. Write 32 to 2048 pixels"),
        ("split.seed", -1, "split.seed is -1"),
        ("train.seed", 2**64, "train.seed is"),
        ("models.lite0.lr", float("inf"), "models.lite0.lr is inf"),
        ("models", {"ensemble": {}}, "models names ensemble. Name it otherwise"),
        (
            "models.lite0.backbone",
            "tf_efficientnet_litte0",
            "models.lite0.backbone: timm has no model 'tf_efficientnet_litte0'. Did you",
        ),
        ("models.lite0.backbone", "tf_efficientnet_lite3", "models.lite0: params.yaml: no Python package"),
        (
            "bundle.max_multiply_adds",
            1.5e9,
            "one answer costs 1.51 G multiply-adds, 1.50 G are allowed: 4 views x (126 M (lite0-0) + 126 M",
        ),
        ("models.lite0.weights", "file:nope.pth", "models.lite0: nope.pth: no such file"),
        ("models.lite0.centre_weights", {"HAM": float("inf")}, "models.lite0.centre_weights.HAM is inf"),
    ],
)
def test_a_slip_anywhere_in_the_params_stops_before_anything_is_removed(project, keys, value, said):
    content = yaml.safe_load((ROOT / "presets/sample.yaml").read_text())
    for release in content["releases"]:
        (project / "data" / release).mkdir(parents=True)
    *path, last = keys.split(".")
    node = content
    for key in path:
        node = node[key]
    node[last] = value
    (project / "params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(DermaflowError, match=re.escape(said)):
        repro.repro()


@pytest.mark.parametrize("name", LOCK)
def test_the_first_stage_that_differs_is_named_and_not_those_that_follow_it(name):
    order = ["ingest@isic2018", "split", "certify"]
    now = {key: value for key, value in LOCK.items() if key not in order[order.index(name) :]}
    now |= {
        key: stage(LOCK[key]["outs"][0]["path"], LOCK[key]["deps"][0]["path"], md5="2")
        for key in LOCK
        if key not in now
    }
    assert repro.first_difference({"stages": LOCK}, {"stages": now}, LOCK) == name
    assert repro.first_difference({"stages": LOCK}, {"stages": LOCK}, LOCK) is None


def test_what_only_the_code_of_a_stage_changed_is_no_difference():
    now = {**LOCK, "split": {**LOCK["split"], "deps": [*LOCK["split"]["deps"], {"path": "src", "md5": "2"}]}}
    assert repro.first_difference({"stages": LOCK}, {"stages": now}, LOCK) is None


def test_of_two_changed_stages_the_first_in_the_flow_is_named_and_not_the_first_by_name():
    flow = {
        "z": stage("outputs/z"),
        "a": stage("outputs/a", "outputs/z"),
        "b": stage("outputs/b", "outputs/a"),
    }
    now = {**flow, "z": stage("outputs/z", md5="2"), "b": stage("outputs/b", "outputs/a", md5="2")}
    assert repro.first_difference({"stages": flow}, {"stages": now}, flow) == "z"


def test_a_stage_of_other_params_that_dvc_lock_remembers_is_no_difference():
    now = {**LOCK, "train@large-0": stage("outputs/models/large/0")}
    assert repro.first_difference({"stages": LOCK}, {"stages": now}, LOCK) is None
    assert repro.first_difference({"stages": LOCK}, {"stages": now}, now) == "train@large-0"


@pytest.fixture
def words(project):
    """A repository with one file, whose stages are yet to be written."""
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, check=True, cwd=project)
    shutil.copy(ROOT / "presets/sample.yaml", project / "params.yaml")
    (project / "outputs").mkdir()
    (project / "words.txt").write_text("some words")
    return project


@pytest.mark.slow
def test_what_a_full_disk_tore_of_dvcs_own_does_not_stop_the_next_run(words):
    stages = {"a": copying("a")}
    (words / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    listed = words / ".dvc/tmp/rwlock"
    for text, left in (('{"read": {"/a', False), ("", False), ('{"read": {}}', True)):
        listed.write_text(text)
        datadir.drop_torn_lock()
        assert listed.exists() == left
    listed.unlink()
    datadir.drop_torn_lock()


def copying(name):
    return {"cmd": f"cp words.txt outputs/{name}", "deps": ["words.txt"], "outs": [f"outputs/{name}"]}


@pytest.mark.slow
def test_what_is_restored_from_the_cache_is_compared_like_what_ran(words, capsys):
    def stages(*names):
        (words / "dvc.yaml").write_text(json.dumps({"stages": {name: copying(name) for name in names}}))
        repro.repro()
        return capsys.readouterr().out

    committed = ["git", "-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "-qm", "1"]
    assert "From stage one on, the results differ" in stages("one")
    for command in (["git", "add", "dvc.lock"], committed):
        subprocess.run(command, check=True, cwd=words)
    assert stages("one").startswith("Stage 'one' didn't change")
    assert "From stage two on, the results differ" in stages("one", "two")
    (words / "outputs/one").unlink()
    restored = stages("one")
    assert "is cached - skipping run" in restored
    assert "The results are those of the committed dvc.lock" in restored
    assert "Nothing to do" in stages("one")


@pytest.mark.slow
def test_pictures_that_the_cache_does_not_hold_are_made_again(words, capfd):
    both = copying("split")
    both["cmd"] += " && mkdir -p reports/splits && cp words.txt reports/splits/sheet.txt"
    (words / "dvc.yaml").write_text(json.dumps({"stages": {"split": both}}))
    repro.repro()
    for folder in ("outputs", "reports"):
        shutil.rmtree(words / folder)
    repro.repro()
    assert "reports/splits is not there: split makes it" in capfd.readouterr().out
    assert (words / "reports/splits/sheet.txt").read_text() == "some words"
    repro.repro()
    assert "is not there" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("script", "written", "message"),
    [
        ("impute.py", "impute: {age: middle}", "outputs/cases.parquet: no such file"),
        (
            "split.py",
            "{releases: [a], folds: [0, 1], split: {}, labels: {view: ten}}",
            "params.yaml: labels.view is 'ten'",
        ),
        ("crop_resize.py isic2018 160px", "sizes: [160px]", "params.yaml: sizes names '160px'"),
        ("train.py lite0 first", "folds: [first]", "params.yaml: folds names 'first'"),
    ],
)
def test_what_a_user_causes_in_a_stage_is_one_line_unless_the_traceback_is_asked_for(
    project, monkeypatch, script, written, message
):
    (project / "params.yaml").write_text(written)
    for asked in (False, True):
        if asked:
            monkeypatch.setenv("DERMAFLOW_TRACEBACK", "1")
        done = subprocess.run(
            [sys.executable, *f"{ROOT}/stages/{script}".split()],
            cwd=project,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith(f"error: {message}")
        assert ("Traceback" in done.stderr) is asked


@pytest.mark.slow
def test_data_that_are_absent_are_drawn_to_the_bytes_that_git_names(project):
    shutil.copy(ROOT / "data.dvc", project)
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, check=True, cwd=project)
    done = subprocess.run(
        ["dermaflow", "data", "ensure"], cwd=project, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "data/ is absent: drawing the demo release\n")
    (project / "data/isic2018/more.txt").write_text("by hand")
    done = subprocess.run(
        ["dermaflow", "data", "ensure"], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "the data differ from data.dvc: data/isic2018: wanted" in done.stderr
