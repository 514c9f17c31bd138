"""`make train JOBS=2`, and torchrun, on a finished repository whose trainings are out of date."""

import json
import os
import shutil

import pytest

from scratch_repo import Repo
from tests_paths import ROOT

pytestmark = pytest.mark.slow

MODELS = ("lite0", "tiny", "twin")
MEMBERS = {f"train@{model}-{fold}" for model in MODELS for fold in (0, 1)}


@pytest.fixture(scope="module")
def retrained(tmp_path_factory, finished):
    """A copy of a finished repository, after another seed, a model like another, and `make train JOBS=2`."""
    folder = tmp_path_factory.mktemp("beside") / "repo"
    shutil.copytree(
        finished.folder, folder, symlinks=True, ignore=shutil.ignore_patterns("mlflow.db", "mlartifacts")
    )
    for name in ("Makefile", "requirements.lock"):
        shutil.copy(ROOT / name, folder / name)
    installed = folder / ".venv" / ".installed"  # the interpreter of the tests is the environment
    installed.parent.mkdir()
    installed.touch()
    repo = Repo(folder)
    repo.before = repo.lock
    models = repo.params["models"]
    repo.change({"train": {"seed": 8}, "models": {**models, "twin": models["tiny"]}})
    done = repo.run("make", "train", "JOBS=2")
    repo.said = done.stdout + done.stderr
    return repo


def runs(repo):
    """All MLflow runs, as name and name of the parent."""
    script = (
        "import json, mlflow\n"
        "client = mlflow.MlflowClient('sqlite:///mlflow.db')\n"
        "found = client.search_runs([e.experiment_id for e in client.search_experiments()])\n"
        "names = {run.info.run_id: run.info.run_name for run in found}\n"
        "tags = [(run.info.run_name, run.data.tags.get('mlflow.parentRunId')) for run in found]\n"
        "print(json.dumps([(name, names.get(parent)) for name, parent in tags]))"
    )
    return sorted(
        (name, parent or "") for name, parent in json.loads(repo.run("python", "-c", script).stdout)
    )


def test_every_fold_is_trained_and_nothing_else_runs(retrained):
    ran = {line.split("'")[1] for line in retrained.said.splitlines() if line.startswith("Running stage ")}
    assert ran == MEMBERS
    assert "ERROR" not in retrained.said
    changed = {name for name, entry in retrained.lock.items() if entry != retrained.before.get(name)}
    assert changed == MEMBERS | {"inputs@twin"}
    stale = json.loads(retrained.run("dvc", "status", "--json").stdout)
    assert not MEMBERS & set(stale)


def unfinished(project):
    """States of trainings that a repeated one would go on with and train."""
    states = (project.folder / ".checkpoints").rglob("last.pt")
    return [file for file in states if not (file.parent / "finished").exists()]


def test_each_model_has_one_parent_run_and_each_fold_one_run_under_it(retrained):
    folds = [(f"{model} fold {fold}", model) for model in MODELS for fold in (0, 1)]
    assert runs(retrained) == sorted([*folds, *((model, "") for model in MODELS)])


def test_the_run_of_a_fold_shows_rate_speed_machine_and_files(retrained):
    script = (
        "import json, mlflow\n"
        "client = mlflow.MlflowClient('sqlite:///mlflow.db')\n"
        "found = client.search_runs([e.experiment_id for e in client.search_experiments()])\n"
        "run = next(run for run in found if run.info.run_name == 'lite0 fold 0')\n"
        "files = [file.path for file in client.list_artifacts(run.info.run_id, 'member')]\n"
        "print(json.dumps([sorted(run.data.metrics), files]))"
    )
    metrics, files = json.loads(retrained.run("python", "-c", script).stdout)
    assert {"lr", "images_per_second", "train_loss", "accuracy"} <= set(metrics)
    assert [name for name in metrics if name.startswith("system/")]
    wanted = {"weights.safetensors", "config.json", "history.csv", "predictions.parquet", "metrics.json"}
    assert {f"member/{name}" for name in (*wanted, "curves.png", "augmented.png")} <= set(files)


def test_a_stage_started_by_torchrun_is_written_and_told_once(retrained):
    told = len(runs(retrained))
    torchrun = ("torchrun", "--standalone", "--nproc-per-node", "2", "stages/train.py", "tiny", "0")
    said = retrained.run("env", "DERMAFLOW_ROOT=" + os.fspath(retrained.folder), *torchrun).stdout
    assert said.count("tiny fold 0: device cpu ") == 1
    assert "processes 2" in said
    member = retrained.folder / "outputs/models/tiny/0"
    assert len((member / "history.csv").read_text().splitlines()) == 3
    assert not unfinished(retrained)
    assert len(runs(retrained)) == told + 2  # another key, so a parent and a fold of its own


def test_a_training_that_is_stopped_while_it_is_told_is_not_lost(retrained):
    """A tracking server that hangs keeps the stage waiting for a minute after the last epoch."""
    script = (
        "import runpy, sys\n"
        "from dermaflow import tracking\n"
        "def stopped(run):\n"
        "    sys.exit('stopped')\n"
        "tracking.FoldRun.finish = stopped\n"
        "sys.argv = ['stages/train.py', 'tiny', '1']\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    shutil.rmtree(retrained.folder / ".checkpoints/tiny/1")  # else it would go on at its end
    assert retrained.run("python", "-c", script, ok=False).stderr.endswith("stopped\n")
    assert len(unfinished(retrained)) == 1
    epochs = (retrained.folder / "outputs/models/tiny/1/history.csv").read_text().splitlines()
    retrained.run("python", "stages/train.py", "tiny", "1")
    assert not unfinished(retrained)
    again = (retrained.folder / "outputs/models/tiny/1/history.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in again] == [line.split(",")[0] for line in epochs]


def test_wrong_params_are_told_before_anything_is_trained(retrained):
    file = retrained.folder / "params.yaml"
    right = file.read_text()
    file.write_text(right.replace("test_efficientnet.r160_in1k", "tost_efficientnet"))
    failed = retrained.run("make", "train", ok=False)
    file.write_text(right)
    assert failed.returncode
    assert "error: params.yaml: models.tiny.backbone: timm has no model 'tost_efficientnet'" in failed.stderr
