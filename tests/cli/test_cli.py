"""`dermaflow`: help worth reading, one-line errors, and a pages' worth of commands that exist."""

import json
import re
import shlex
import shutil

import pandas as pd
import pytest
from typer.testing import CliRunner

from dermaflow import cli
from dermaflow.cli import data, results
from dermaflow.errors import BundleError
from tests_paths import ROOT

COMMANDS = [
    "data check", "data link", "data ensure", "data download", "data export", "data story",
    "data legacy-split", "images show", "models list", "models show",
    "models promote", "models serve", "models rollback", "sample", "predict", "assess", "evaluate", "repro",
]  # fmt: skip
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md"]


def run(*words):
    return CliRunner().invoke(cli.app, list(words), env={"COLUMNS": "110", "TERM": "dumb"})


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    shown = run(*command.split(), "--help")
    assert shown.exit_code == 0
    assert len(shown.output) > 150
    assert not {"Args:", "Returns:", "Raises:"} & set(shown.output.split())  # Python's words, not a user's


def test_what_a_user_causes_is_one_line_without_a_traceback(project, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["dermaflow", "models", "show"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    said = capsys.readouterr().err
    assert stopped.value.code == 1
    assert said.startswith("error: ")
    assert len(said.strip().splitlines()) == 1


def test_an_error_that_quotes_lines_is_one_line_all_the_same(monkeypatch, capsys):
    def told():
        raise BundleError("a tool said: first\n  second\r\nthird", "a tool", "Mend it.")

    monkeypatch.setattr(cli, "app", told)
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr().err == "error: a tool: a tool said: first second third. Mend it.\n"


def test_wrong_usage_exits_with_2():
    assert run("models", "no-such-command").exit_code == 2


FULL = OSError(28, "No space left on device", "outputs/cases.parquet")


ELSEWHERE = OSError(18, "Invalid cross-device link", ".tmp/vm-1/imputer.json")


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (FULL, "nothing half-written"),
        (shutil.Error([("a", "b", str(FULL))]), "nothing half-written"),
        (ELSEWHERE, "outputs/, reports/ and .tmp/ must lie on one disk"),
    ],
)
def test_a_full_disk_and_one_more_disk_are_said_plainly(monkeypatch, capsys, error, remedy):
    """Of the files that copying a folder left out shutil says it in words alone."""

    def full():
        raise error

    monkeypatch.setattr(cli, "app", full)
    with pytest.raises(SystemExit):
        cli.main()
    assert remedy in capsys.readouterr().err


def test_results_show_the_latency_of_their_own_bundle_alone(project):
    figure = {"value": 0.7, "low": 0.6, "high": 0.8}
    keys = ("balanced_accuracy", "melanoma_auc", "macro_auc")
    scored = {"hold_out": {"cases": 37, **dict.fromkeys(keys, figure)}}
    members = [{"model": "lite0", "file": "lite0.onnx"}]
    bundle = {"digest": "a", "notice": "", "members": members, "inputs": {"holdout": "0"}}
    bundle["metrics"] = scored["hold_out"]
    files = {"evaluation/lite0/metrics": scored, "ensemble/metrics": scored, "bundle/bundle": bundle}
    for name, value in files.items():
        file = project / f"outputs/{name}.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(value))
    (project / "outputs/bundle/lite0.onnx").touch()
    (project / "params.yaml").write_text("models: {lite0: {}}")
    ends = []
    for decided_on in ("a", "b"):
        decision = {"digest": decided_on, "latencies_ms": {"lite0": 333.4, "ensemble": 999.4}}
        (project / "outputs/decision.json").write_text(json.dumps(decision))
        ends.append([line.split()[-1] for line in run("evaluate").output.splitlines()[-3:-1]])
    assert ends == [["333", "999"], ["0.0", "0.0"]]  # of the other bundle the size comes last
    assert "made in another folder" in run("evaluate").output.splitlines()[-1]
    (project / "params.yaml").write_text("models: {lite0: {}, lite1: {}}")
    shutil.copytree(project / "outputs/evaluation/lite0", project / "outputs/evaluation/lite1")
    with pytest.raises(BundleError, match=r"are of lite0, params\.yaml names lite0, lite1\. Run"):
        results.evaluate()
    shutil.rmtree(project / "outputs/evaluation/lite1")
    (project / "params.yaml").write_text("models: {lite0: {}}")
    scored["hold_out"]["cases"] = 38
    (project / "outputs/ensemble/metrics.json").write_text(json.dumps(scored))
    with pytest.raises(BundleError, match=r"others than those in ensemble/metrics\.json"):
        results.evaluate()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_a_page_shows_exists(page):
    text = page.read_text()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"(?:^|`|&& )(?:[A-Z]+=\S+ )*make ([a-z]+)", text, re.MULTILINE):
        assert target in targets, f"make {target}"
    for words in re.findall(r"(?:^|`)dermaflow ((?:[a-z][a-z-]* ?)+)", text, re.MULTILINE):
        command = shlex.split(words)
        assert any(command[: len(known.split())] == known.split() for known in COMMANDS), words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_and_picture_of_a_page_is_there(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_a_table_that_is_written_leaves_what_lies_beside_it(tmp_path):
    beside = tmp_path / "cases.csv.part"
    beside.write_text("mine")
    data._write_csv(pd.DataFrame({"a": [1]}), tmp_path / "cases.csv")
    assert beside.read_text() == "mine"
    assert (tmp_path / "cases.csv").read_text() == "a\n1\n"
    assert len(list(tmp_path.iterdir())) == 2
