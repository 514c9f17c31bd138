"""`dermaflow data check` and `data link` with the three years and with collections of the archive."""

import json
import re
import subprocess
import sys

import pytest
import yaml
from published_files import write, write_2018, write_2019, write_archive
from typer.testing import CliRunner

from dermaflow import cli
from dermaflow.errors import DataError


def run(*words, code=0):
    shown = CliRunner().invoke(cli.app, ["data", *map(str, words)])
    if shown.exception is not None and not isinstance(shown.exception, SystemExit):
        raise shown.exception
    assert shown.exit_code == code
    return shown.stdout


TRUTH = "ISIC2018_Task3_Training_GroundTruth.csv"
AGES = "HAM10000_metadata.csv"
NO_DIAGNOSIS = ("ISIC_0000003,1.0,0.0", "ISIC_0000003,0.0,0.0")
BREAKS = {
    "semicolons": (
        TRUTH,
        lambda text: text.replace(",", ";"),
        r"row 0 \(header\): the columns .* semicolons",
    ),
    "an age of 850": (AGES, lambda text: text.replace("50.0", "850", 1), "row 1: 1 ages are not 0 to 120"),
    "an image twice": (
        TRUTH,
        lambda text: text + text.splitlines()[1],
        "rows 1, 4: 1 images are listed more",
    ),
    "no diagnosis": (TRUTH, lambda text: text.replace(*NO_DIAGNOSIS), "row 3: 1 images have no diagnosis"),
    "a cut end": (TRUTH, lambda text: text[:-12], r"row 3: \d cells where the header has 8"),
    "an empty file": (TRUTH, lambda text: "", "the file is empty"),
}
"""What breaks 2018: a table, what is done to its text, and what is said of it."""


@pytest.fixture
def isic_folder(project, tmp_path_factory):
    """A folder with 2018 and a collection, beside a project that asks for 2018 and 2019."""
    (project / "params.yaml").write_text("releases: [isic2018, isic2019]\n")
    folder = tmp_path_factory.mktemp("isic")
    write_2018(folder / "2018")
    write_archive(folder / "mine")
    return folder


def test_check_fails_where_a_release_has_two_folders(isic_folder):
    (isic_folder / "isic2018").mkdir()
    shown = run("check", isic_folder, code=1)
    assert "both isic2018/ and 2018/ are there" in shown
    assert "isic2018: absent" not in shown


def test_check_shows_what_params_names_and_every_collection(isic_folder):
    shown = run("check", isic_folder)
    assert "isic2018 in 2018/" in shown
    assert "isic2019: absent" in shown
    assert "mine in mine/" in shown
    assert "merged (without isic2019): 4 images" in shown


def test_check_gives_the_same_as_json(isic_folder):
    found = json.loads(run("check", isic_folder, "--json"))
    assert not found["complete"]
    assert found["releases"]["isic2018"]["rows"] == {"train": 3}
    assert found["releases"]["mine"]["classes"] == {"MEL": 1, "NV": 2}
    assert found["releases"]["mine"]["missing"]["age_years"] == 0.3333
    assert found["merged"]["rows"] == 4


def test_check_writes_nothing(isic_folder):
    before = sorted(path for path in isic_folder.rglob("*"))
    run("check", isic_folder)
    assert sorted(path for path in isic_folder.rglob("*")) == before


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_release_is_shown_and_ends_with_1_and_is_not_linked(isic_folder, project, name):
    file, change, said = BREAKS[name]
    path = isic_folder / "2018" / file
    path.write_text(change(path.read_text()))
    (project / "data.dvc").write_text("meta: {source: demo}\n")
    (project / "data" / "isic2018").mkdir(parents=True)
    before = {entry: entry.is_file() and entry.read_bytes() for entry in project.rglob("*")}
    shown = run("check", isic_folder, code=1)
    assert re.search(rf"isic2018 in 2018/ can't be used: {file}[^\n]*{said}", shown)
    assert "mine in mine/\n" in shown
    assert "merged (without isic2018, isic2019): 3 images" in shown
    with pytest.raises(DataError, match=rf"^isic2018: {file}.*{said}.*\. \w.*\.$"):
        run("link", isic_folder)
    assert {entry: entry.is_file() and entry.read_bytes() for entry in project.rglob("*")} == before


def test_a_release_without_its_needed_table_is_not_linked_and_the_others_broken_are_named(isic_folder):
    (isic_folder / "2020").mkdir()
    write(isic_folder / "mine" / "metadata.csv", ["isic_id"])
    told = json.loads(run("check", isic_folder, "--json", code=1))
    assert "no train.csv" in told["releases"]["isic2020"]["problem"]
    assert told["releases"]["isic2019"]["absent"]
    assert told["merged"]["without"] == ["isic2019", "isic2020", "mine"]
    with pytest.raises(
        DataError, match=r"^isic2020: .*/2020: no train\.csv\. Download it .* So too mine: see"
    ):
        run("link", isic_folder)


def test_data_itself_may_be_linked_again(isic_folder, project):
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, check=True, cwd=project)
    for folder in (isic_folder, project / "data"):
        assert "data/ now links to isic2018, mine" in run("link", folder)
        assert (project / "data/isic2018").resolve() == isic_folder / "2018"


def test_a_collection_whose_name_cannot_be_one_is_named_with_the_remedy(isic_folder):
    write_archive(isic_folder / "my collection")
    write_archive(isic_folder / ".trash")
    shown = run("check", isic_folder, code=1)
    assert "my collection: data: 'my collection' can't name a release" in shown
    assert "rename its folder" in shown
    assert ".trash" not in shown
    with pytest.raises(DataError, match="'my collection' can't name a release"):
        run("link", isic_folder)


@pytest.mark.parametrize("command", ["check", "link"])
def test_a_collection_itself_is_no_folder_of_releases(isic_folder, command):
    with pytest.raises(
        DataError, match=f"this is itself a collection.*Name the folder above it: {isic_folder}"
    ):
        run(command, isic_folder / "mine")


@pytest.mark.parametrize("command", ["check", "link"])
def test_no_folder_at_all_is_said(isic_folder, command):
    with pytest.raises(DataError, match="no such folder"):
        run(command, isic_folder / "nowhere")


def test_link_refuses_a_folder_without_any_release(isic_folder, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    write(empty / "notes" / "a.csv", ["x"])
    with pytest.raises(
        DataError, match=r"none of isic2018, isic2019, isic2020 is there, nor .*metadata\.csv"
    ):
        run("link", empty)


@pytest.mark.slow
def test_link_takes_years_and_collections_and_says_what_params_still_needs(project, isic_folder):
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, check=True, cwd=project)
    write_2019(isic_folder / "isic2019")
    shown = run("link", isic_folder)
    assert "data/ now links to isic2018, isic2019, mine" in shown
    assert "params.yaml does not name mine: add them to `releases`" in shown
    assert (project / "data" / "mine" / "metadata.csv").is_file()
    outs = {out["path"] for out in yaml.safe_load((project / "data.dvc").read_text())["outs"]}
    assert outs == {"data/isic2018", "data/isic2019", "data/mine", "data/masks"}


@pytest.mark.parametrize("name", ["ISIC-images.zip", "metadata.zip"])
def test_a_collection_whose_zip_is_cut_off_is_named_and_the_others_are_shown(isic_folder, name):
    (isic_folder / "cut").mkdir()
    (isic_folder / "cut" / name).write_bytes(b"PK\x03\x04 and no end")
    shown = run("check", isic_folder, code=1)
    assert f"cut in cut/ can't be used: {name}: not a whole zip file" in shown
    assert "isic2018 in 2018/" in shown
    with pytest.raises(DataError, match=f"cut: {name}: not a whole zip file"):
        run("link", isic_folder)
