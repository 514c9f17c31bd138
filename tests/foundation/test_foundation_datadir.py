"""data/ and data.dvc: what is there must be what git says, and nothing of the user's is ever removed."""

import json
import os
import subprocess
import sys
import time

import pytest
import yaml

from dermaflow import datadir, sample
from dermaflow.cli.sample import sample as sample_command
from dermaflow.errors import DataError

pytestmark = pytest.mark.slow


@pytest.fixture
def repo(project):
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, check=True, cwd=project)
    return project


def folder(place, **files):
    place.mkdir(parents=True)
    for name, text in files.items():
        (place / name).write_text(text)
    return place


def test_linked_data_are_hashed_without_a_copy_and_verified(repo, tmp_path_factory):
    isic = folder(tmp_path_factory.mktemp("isic") / "2018", a="1", b="2")
    datadir.put({"isic2018": isic}, source="isic")
    assert (repo / "data/isic2018").is_symlink()
    outs = {out["path"]: out for out in yaml.safe_load((repo / "data.dvc").read_text())["outs"]}
    assert outs["data/isic2018"]["nfiles"] == 2
    assert outs["data/isic2018"]["cache"] is False
    assert set(outs) == {"data/isic2018", "data/masks"}
    datadir.verify()
    assert not datadir.is_demo()


def test_a_folder_is_taken_alone_only_while_no_stage_of_dvc_reads_or_writes_there(repo):
    outputs = folder(repo / "outputs", a="1")
    waits = "touch began; while [ ! -e ends ]; do sleep 0.05; done; touch outputs/b"
    stage = {"cmd": waits, "deps": ["outputs/a"], "outs": ["outputs/b"]}
    (repo / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"waits": stage}}))
    with subprocess.Popen([sys.executable, "-m", "dvc", "repro", "-q"], cwd=repo) as running:
        try:
            end = time.monotonic() + 60
            while not (repo / "began").exists() and time.monotonic() < end:
                time.sleep(0.05)
            with (
                pytest.raises(DataError, match=rf"outputs.* busy.*\(PID {running.pid}\).*Wait until it has"),
                datadir.alone(outputs),
            ):
                pass
            with datadir.alone(repo / "reports"):
                pass
        finally:
            (repo / "ends").touch()
    assert running.returncode == 0
    with datadir.alone(outputs):
        held = json.loads((repo / ".dvc/tmp/rwlock").read_text())["write"]
        assert [entry["pid"] for entry in held.values()] == [os.getpid()]
    assert str(os.getpid()) not in (repo / ".dvc/tmp/rwlock").read_text()


def test_changed_data_name_the_wanted_and_the_found_hash(repo, tmp_path_factory):
    isic = folder(tmp_path_factory.mktemp("isic") / "2018", a="1")
    datadir.put({"isic2018": isic}, source="isic")
    wanted = yaml.safe_load((repo / "data.dvc").read_text())["outs"][0]["md5"]
    (isic / "a").write_text("another")
    with pytest.raises(DataError, match=rf"wanted {wanted}, found [0-9a-f]+\.dir.*make data ISIC="):
        datadir.verify()
    assert yaml.safe_load((repo / "data.dvc").read_text())["outs"][0]["md5"] == wanted


def test_absent_data_are_an_error_with_the_command(repo, tmp_path_factory):
    isic = folder(tmp_path_factory.mktemp("isic") / "2018", a="1")
    datadir.put({"isic2018": isic}, source="isic")
    (repo / "data/isic2018").unlink()
    with pytest.raises(DataError, match=r"found nothing.*make data ISIC="):
        datadir.verify()


def test_a_link_that_leads_nowhere_is_named_and_nothing_is_changed(repo, tmp_path_factory):
    isic = folder(tmp_path_factory.mktemp("isic") / "2018", a="1")
    (isic / "b.jpg").symlink_to(isic / "gone.jpg")
    with pytest.raises(DataError, match=r"isic2018: .*/b\.jpg is a link that leads nowhere\. Remove it"):
        datadir.put({"isic2018": isic}, source="isic")
    assert not (repo / "data.dvc").exists()


def test_data_stay_as_they_are_where_dvc_has_no_project_or_no_hand_free(repo, tmp_path_factory):
    one = folder(tmp_path_factory.mktemp("isic") / "2018", a="1")
    other = folder(tmp_path_factory.mktemp("isic") / "2018", a="2")
    datadir.put({"isic2018": one}, source="isic")
    with (
        datadir.repository() as busy,
        busy.lock,
        pytest.raises(DataError, match=r"data/ can't be changed now"),
    ):
        datadir.put({"isic2018": other}, source="isic")
    assert (repo / "data/isic2018").resolve() == one.resolve()
    datadir.verify()
    (repo / ".dvc").rename(repo / "gone")
    with pytest.raises(DataError, match="not inside of a DVC repository"):
        datadir.put({"isic2018": other}, source="isic")
    assert (repo / "data/isic2018").resolve() == one.resolve()


def test_data_that_were_moved_are_absent_data(repo, tmp_path_factory):
    isic = folder(tmp_path_factory.mktemp("isic") / "2018", a="1")
    datadir.put({"isic2018": isic}, source="isic")
    isic.rename(isic.with_name("elsewhere"))
    with pytest.raises(DataError, match=r"found nothing.*make data ISIC="):
        datadir.verify()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "<<<<<<< HEAD\nmeta: {}\n=======\nmeta: {source: demo}\n>>>>>>> theirs\n",
            "not valid YAML: .*line 2",
        ),
        ("", "not a file of meta and outs"),
        ("meta:\nouts: []\n", "not a file of meta and outs"),
        ("meta: {md5: }\nouts: []\n", "not a file of meta and outs"),
        ("meta: {source: demo}\nouts:\n", "not a file of meta and outs"),
        ("outs: [{md5: 1}]\n", "an out there names no path"),
    ],
)
def test_a_data_dvc_that_holds_no_hashes_is_named_with_the_way_back(repo, text, message):
    (repo / "data.dvc").write_text(text)
    with pytest.raises(DataError, match=rf"data\.dvc: {message}.*git checkout data\.dvc"):
        datadir.verify_declared()


def test_other_data_replace_links_and_an_untouched_demo(repo, tmp_path_factory):
    folder(repo / "data/isic2018", a="drawn")
    folder(repo / "data/masks", m="drawn")
    datadir.declare(["isic2018", "masks"], source=datadir.DEMO)
    isic = folder(tmp_path_factory.mktemp("isic") / "2018", a="1")
    datadir.put({"isic2018": isic}, source="isic")
    assert (repo / "data/isic2018/a").read_text() == "1"
    datadir.verify()


def test_a_folder_beside_the_demo_is_the_users_and_stays(repo, tmp_path_factory):
    folder(repo / "data/isic2018", a="drawn")
    datadir.declare(["isic2018"], source=datadir.DEMO)
    folder(repo / "data/my_collection", photo="precious")
    (repo / "data/notes.txt").write_text("precious")
    isic = folder(tmp_path_factory.mktemp("isic") / "2018", a="1")
    with pytest.raises(DataError, match=r"2 entries are no links: .*my_collection"):
        datadir.put({"isic2018": isic}, source="isic")
    assert (repo / "data/my_collection/photo").read_text() == "precious"
    assert (repo / "data/isic2018/a").read_text() == "drawn"


def test_drawing_beside_the_users_folder_declares_the_drawn_ones_alone(repo, monkeypatch):
    (repo / "dvc.yaml").touch()
    folder(repo / "data/my_collection", photo="precious")

    def draw(target, **_):
        for name in sample.ENTRIES:
            folder(target / name, a="drawn")

    monkeypatch.setattr(sample, "draw", draw)
    sample_command(repo / "data", replace=True)
    declared = yaml.safe_load((repo / "data.dvc").read_text())
    assert [out["path"] for out in declared["outs"]] == [f"data/{name}" for name in sample.ENTRIES]
    assert datadir.is_demo()


def test_data_itself_may_be_named_where_it_holds_links_but_not_the_demo(repo, tmp_path_factory):
    isic = folder(tmp_path_factory.mktemp("isic") / "2018", a="1")
    datadir.put({"isic2018": isic}, source="isic")
    datadir.put({"isic2018": repo / "data/isic2018"}, source="isic")
    assert (repo / "data/isic2018/a").read_text() == "1"
    datadir.verify()
    (repo / "data/isic2018").unlink()
    folder(repo / "data/isic2018", a="drawn")
    datadir.declare(["isic2018"], source=datadir.DEMO)
    with pytest.raises(DataError, match=r"isic2018 would link to what lies in data/ itself"):
        datadir.put({"isic2018": repo / "data/isic2018"}, source="isic")
    assert (repo / "data/isic2018/a").read_text() == "drawn"


def test_a_linked_folder_inside_a_release_is_refused_before_anything_is_removed(repo, tmp_path_factory):
    home = tmp_path_factory.mktemp("isic")
    first = folder(home / "first", a="1")
    datadir.put({"isic2018": first}, source="isic")
    other = folder(home / "2018", a="1")
    (other / "Input").symlink_to(folder(home / "disk", image="x"))
    with pytest.raises(DataError, match=r"isic2018: .*Input is a link to a folder"):
        datadir.put({"isic2018": other}, source="isic")
    assert (repo / "data/isic2018").resolve() == first
    datadir.verify()


def test_data_dvc_stays_as_it_was_where_dvc_cannot_hash(repo, tmp_path_factory):
    isic = folder(tmp_path_factory.mktemp("isic") / "2018", a="1")
    datadir.put({"isic2018": isic}, source="isic")
    before = (repo / "data.dvc").read_text()
    with pytest.raises(DataError, match="DVC could not hash the data"):
        datadir.declare(["absent"], source="isic")
    assert (repo / "data.dvc").read_text() == before


def test_data_dvc_is_untouched_until_all_is_hashed_so_a_kill_leaves_the_hashes_that_are_meant(
    repo, tmp_path_factory, monkeypatch
):
    home = tmp_path_factory.mktemp("isic")
    datadir.put({"isic2018": folder(home / "first", a="1")}, source="isic")
    before = (repo / "data.dvc").read_text()

    def killed(stage, **_):
        assert (repo / "data.dvc").read_text() == before
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("dvc.stage.Stage.save", killed)
        with pytest.raises(KeyboardInterrupt):
            datadir.put({"isic2018": folder(home / "other", a="2")}, source="isic")
    assert (repo / "data.dvc").read_text() == before
    subprocess.run([sys.executable, "-m", "dvc", "commit", "-q", "-f", "data.dvc"], check=True, cwd=repo)
    with pytest.raises(DataError, match=r"the data differ from data\.dvc"):
        datadir.verify_declared()


def test_data_dvc_says_what_dvc_itself_would_write(repo, tmp_path_factory):
    datadir.put({"isic2018": folder(tmp_path_factory.mktemp("isic") / "2018", a="1")}, source="isic")
    before = (repo / "data.dvc").read_text()
    subprocess.run([sys.executable, "-m", "dvc", "commit", "-q", "-f", "data.dvc"], check=True, cwd=repo)
    assert (repo / "data.dvc").read_text() == before
    datadir.verify_declared()


@pytest.mark.parametrize(
    ("source", "remedy"),
    [("isic", "`make data ISIC=DIR`"), (datadir.DEMO, "`dermaflow sample data --replace`")],
)
def test_a_data_dvc_that_names_a_source_but_not_the_hashes_meant_is_refused(repo, source, remedy):
    folder(repo / "data/isic2018", a="1")
    datadir.declare(["isic2018"], source=source)
    declared = yaml.safe_load((repo / "data.dvc").read_text())
    del declared["meta"]["md5"]
    (repo / "data.dvc").write_text(yaml.safe_dump(declared))
    with pytest.raises(DataError, match=rf"meta\.md5: .* not said of data/isic2018\. {remedy}"):
        datadir.verify_declared()


@pytest.mark.parametrize("source", ["isic", datadir.DEMO])
def test_files_that_are_not_ours_are_never_removed(repo, tmp_path_factory, source):
    folder(repo / "data/isic2018", a="precious")
    datadir.declare(["isic2018"], source=source)
    (repo / "data/isic2018/a").write_text("changed by hand")
    isic = folder(tmp_path_factory.mktemp("isic") / "2018", a="1")
    with pytest.raises(DataError, match="data/"):
        datadir.put({"isic2018": isic}, source="isic")
    assert (repo / "data/isic2018/a").read_text() == "changed by hand"
