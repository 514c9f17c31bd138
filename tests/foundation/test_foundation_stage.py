"""A stage runs by the code and params that DVC notes for it, or fails."""

import os
import shutil
import subprocess
import sys

import pytest
import yaml

from dermaflow import stage
from tests_paths import ROOT

SCRIPT = """
import sys
from pathlib import Path
from dermaflow import params, stage, taxonomy

def main(file, text):
    params.names("releases")
    params.value("train.seed", int)
    params.workers()
    Path("result").write_text("made")
    if text == "gone":
        Path(file).unlink()
    elif text:
        Path(file).write_text(Path(file).read_text() + text)
    kept = Path("state")
    kept.mkdir()
    return kept

if __name__ == "__main__":
    stage.run(main, *sys.argv[1:])
"""
PARAMS = {"releases": ["isic2018"], "train": {"seed": 7, "batch": 32}, "workers": 2, "folds": [0, 1]}


@pytest.fixture
def run(tmp_path):
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "probe.py").write_text(SCRIPT)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    code = tmp_path / "src"

    def started(*edit, code=code):
        command = [sys.executable, "stages/probe.py", *(edit or ("params.yaml", ""))]
        env = {**os.environ, "PYTHONPATH": str(code), "DVC_STAGE": "probe@0"}
        env.pop("DERMAFLOW_ROOT", None)
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    return started


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("params.yaml", ""),
        ("params.yaml", "models: {}\n"),  # not opened: another stage's
        ("params.yaml", "# a remark\n"),
        ("src/dermaflow/evaluate/plots.py", "\nBROKEN"),  # not loaded
    ],
)
def test_a_stage_passes_where_all_that_it_used_is_as_it_was(run, tmp_path, file, text):
    done = run(file, text)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "result").exists()
    assert (tmp_path / "state/finished").exists()


@pytest.mark.parametrize(
    ("file", "text", "named"),
    [
        ("src/dermaflow/taxonomy.py", "\n", "src/dermaflow/taxonomy.py"),
        ("src/dermaflow/taxonomy.py", "gone", "src/dermaflow/taxonomy.py"),
        ("stages/probe.py", "\n", "stages/probe.py"),
    ],
)
def test_code_that_changed_while_it_ran_fails_the_stage(run, tmp_path, file, text, named):
    done = run(file, text)
    assert done.returncode == 1
    said = f"error: probe@0: while it ran there changed {named}. Run it again, and leave code and params be"
    assert done.stderr.startswith(said)
    assert not list((tmp_path / "state").iterdir())


def test_finished_states_alone_are_dropped(project):
    old, new, begun, others = (stage.state("lite", *names) for names in ("0a", "0b", "0c", "1d"))
    for folder in (old, new, begun, others, stage.state("lite-2", "0", "e")):
        folder.mkdir(parents=True)
        if folder != begun:
            (folder / stage.FINISHED).touch()
    stage.drop_finished("lite", "0", but=new)
    assert [folder.exists() for folder in (old, new, begun, others)] == [False, True, True, True]
    stage.drop_finished("lite")
    assert [folder.exists() for folder in (new, begun, others)] == [False, True, False]
    assert stage.state("lite-2", "0", "e").exists()
    stage.drop_finished("never trained")


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("seed: 7", "seed: 8", "params.yaml: train.seed. Run it again"),
        ("- isic2018", "- isic2018\n- isic2019", "params.yaml: releases. Run it again"),
        ("  seed: 7\n", "", "params.yaml: train.seed. Run it again"),
        ("batch: 32", "batch: 16", None),  # it opened another key of this section
        ("workers: 2", "workers: 4", None),
        ("seed: 7", "seed: [", "not valid YAML"),
    ],
)
def test_params_that_changed_while_it_ran_fail_the_stage_that_opened_them(
    run, tmp_path, before, after, named
):
    script = tmp_path / "stages" / "probe.py"
    edit = f"changed = Path('params.yaml').read_text().replace({before!r}, {after!r})"
    script.write_text(
        SCRIPT.replace("    kept =", f"    {edit}\n    Path('params.yaml').write_text(changed)\n    kept =")
    )
    done = run()
    assert after in (tmp_path / "params.yaml").read_text()
    if named:
        assert done.returncode == 1
        assert named in done.stderr
    else:
        assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "state/finished").exists() != bool(named)


def test_a_stage_of_dvc_runs_the_code_that_dvc_notes(run, tmp_path):
    """In a worktree, or where DVC tries an experiment, an installation leads to the project's code."""
    done = run(code=ROOT / "src")
    assert done.returncode == 1
    assert (
        f"error: probe@0: DVC notes the code in {tmp_path}/src/dermaflow, and that of {ROOT}" in done.stderr
    )
    assert "Put PYTHONPATH=src before the command." in done.stderr
    assert not (tmp_path / "result").exists()
    shutil.rmtree(tmp_path / "src")
    (tmp_path / "src").symlink_to(ROOT / "src")  # the same in the end
    assert run(code=ROOT / "src").returncode == 0
