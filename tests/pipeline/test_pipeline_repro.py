"""The real `dvc repro`, end to end, on a reduced demo release."""

import json
import os
import shutil
import signal
import subprocess
import time

import mlflow
import pytest
import torch
import yaml

from tests_paths import ROOT

pytestmark = pytest.mark.slow


def names(prefix, stages):
    return {stage for stage in stages if stage.partition("@")[0] == prefix}


def test_every_stage_runs_and_opens_only_the_params_that_it_declares(finished):
    declared = set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
    assert {stage.partition("@")[0] for stage in finished.ran} == declared


def test_the_runs_name_what_their_models_and_images_were_made_with(finished):
    finished.run("python", "-c", "from dermaflow import tracking; tracking.flush()")
    client = mlflow.MlflowClient(f"sqlite:///{finished.folder / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("dermaflow").experiment_id])
    told = {run.info.run_name: run.data.params for run in runs}
    asked = finished.params
    for model in asked["models"]:
        for run in (model, f"{model} fold {asked['folds'][0]}"):
            assert told[run]["images.crop"] == asked["images"]["crop"]
        for run in ("ensemble", f"evaluate {model}"):
            assert told[run][f"models.{model}.epochs"] == str(asked["models"][model]["epochs"])


def test_a_second_repro_runs_nothing(finished):
    assert finished.repro() == []


def test_the_prepared_cases_are_whole(finished):
    import pandas as pd

    cases = pd.read_parquet(finished.folder / "outputs/cases.parquet")
    holdout = pd.read_parquet(finished.folder / "outputs/holdout.parquet")
    assert set(cases.split) == {"train", "hold_out", "dropped"}
    assert cases[cases.split == "hold_out"].diagnosis.isna().all()
    assert set(holdout.image_id) == set(cases[cases.split == "hold_out"].image_id)
    assert cases[cases.split == "dropped"].why_dropped.notna().all()
    assert not set(cases[cases.split == "train"].group) & set(cases[cases.split == "hold_out"].group)


def test_two_folders_give_the_same_lock(finished, another):
    assert another.first_lock == finished.lock


def test_no_hashed_file_names_a_folder_of_this_machine(finished):
    for file in (finished.folder / "outputs").rglob("*"):
        if file.is_file():
            assert str(finished.folder).encode() not in file.read_bytes(), file


def test_an_unused_size_retrains_nothing(another):
    another.change({"sizes": [64, 32]})
    ran = another.repro()
    assert {stage.partition("@")[0] for stage in ran} == {"crop_resize"}
    assert all(stage.endswith("-32") for stage in ran)


def test_one_models_parameter_reruns_its_folds_and_what_follows(another):
    models = another.params["models"]
    models["tiny"]["lr"] = 0.002
    another.change({"models": models})
    ran = another.repro()
    assert names("train", ran) == {"train@tiny-0", "train@tiny-1"}
    assert names("evaluate", ran) == {"evaluate@tiny"}
    assert {stage.partition("@")[0] for stage in ran} <= {
        "train", "evaluate", "ensemble", "bundle", "stress", "gate", "predict",
    }  # fmt: skip


def test_the_imputer_recrops_nothing_and_make_repro_says_where_results_differ(another):
    """`dermaflow repro` is what `make repro` calls."""
    another.repro()
    another.run("git", "add", "dvc.lock")
    another.run("git", "commit", "-q", "-m", "lock")
    assert "Nothing to do" in another.run("dermaflow", "repro").stdout
    stale = another.folder / "outputs/models/gone/0"
    stale.mkdir(parents=True)
    tiny = another.params["models"]["tiny"]  # from here on the only model: what follows needs no second
    another.change({"impute": {"age": "median"}, "models": {"tiny": tiny}})
    held = another.folder / ".dvc/tmp/rwlock"  # as where a pipeline of the params before runs
    trains = {str(another.folder / "outputs/models/lite0/0"): {"pid": os.getpid(), "cmd": "dvc repro"}}
    held.write_text(json.dumps({"write": trains}))
    refused = another.run("dermaflow", "repro", ok=False)
    assert f"is being blocked by: (PID {os.getpid()}): dvc repro" in refused.stderr
    assert stale.exists()
    held.unlink()
    said = another.run("dermaflow", "repro").stdout
    for name in ("gone", "lite0"):
        assert f"removed outputs/models/{name}: no stage of dvc.yaml makes it" in said
    assert not stale.exists()
    ran = [line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage ")]
    assert ran[0] == "impute"
    assert not names("crop_resize", ran)
    assert "From stage impute on, the results differ from the committed dvc.lock" in said


def test_changed_data_stop_plain_dvc_repro_until_they_are_as_before(another):
    another.repro()
    notice = another.folder / "data/isic2018/NOTICE.txt"
    before = notice.read_text()
    notice.write_text("changed by hand")
    for _ in range(2):  # DVC has written the new hash to data.dvc by the second time
        failed = another.run("dvc", "repro", ok=False)
        assert failed.returncode
        assert "error: data/: the data differ from data.dvc: data/isic2018: wanted " in failed.stderr
        assert "Traceback" not in failed.stderr
    notice.write_text(before)
    assert another.repro() in ([], ["ingest@isic2018"])  # its outputs may come from the cache


def leave_a_trace(file):
    """Change a state so that the epochs that are not trained again can be told; return their number."""
    state = torch.load(file, weights_only=True)
    state["history"][0]["train_loss"] = 123.0
    torch.save(state, file)
    return state["epoch"]


def has_the_trace(project):
    return "123.0" in (project.folder / "outputs/models/tiny/0/history.csv").read_text()


def test_a_killed_training_goes_on_in_the_next_repro_and_ends_with_the_same_bytes(another):
    another.repro()
    shutil.rmtree(another.folder / ".checkpoints", ignore_errors=True)  # evaluate may come from the cache
    models = another.params["models"]
    models["tiny"]["epochs"] = 6
    another.change({"models": models})
    command = ["dvc", "repro", "-s", "train@tiny-0"]
    killed = subprocess.Popen(command, cwd=another.folder, env=another.env, start_new_session=True)
    end, kept = time.monotonic() + 300, []
    while not kept and killed.poll() is None and time.monotonic() < end:
        kept = list((another.folder / ".checkpoints").rglob("last.pt"))
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    member = another.folder / "outputs/models/tiny/0"
    assert not member.exists()
    (file,) = kept
    assert 1 <= leave_a_trace(file) < 6

    another.change({"train": {"views": 4}, "workers": 1})  # what changes no weight starts nothing over
    another.run(*command)
    losses = [line.split(",")[2] for line in (member / "history.csv").read_text().splitlines()]
    assert (losses[:2], len(losses)) == (["train_loss", "123.0"], 7)
    assert file.exists()  # DVC may be killed before it notes what the stage made
    another.run("dvc", "repro", "-s", "evaluate@tiny")
    assert not file.exists()
    resumed = (member / "weights.safetensors").read_bytes()
    another.run(*command[:2], "-f", *command[2:])
    assert "123.0" not in (member / "history.csv").read_text()
    assert (member / "weights.safetensors").read_bytes() == resumed
    another.change({"train": {"views": 1}, "workers": 2})


def test_params_changed_while_a_training_runs_are_not_noted_for_it_and_back_again_it_goes_on(another):
    another.repro()
    shutil.rmtree(another.folder / ".checkpoints", ignore_errors=True)  # evaluate may come from the cache
    lock, models = another.lock["train@tiny-0"], another.params["models"]
    models["tiny"] |= {"epochs": 8, "lr": 0.0021}
    another.change({"models": models})
    command = ["dvc", "repro", "-s", "train@tiny-0"]
    with subprocess.Popen(
        command, cwd=another.folder, env=another.env, stderr=subprocess.PIPE, text=True
    ) as training:
        end = time.monotonic() + 300
        while not list((another.folder / ".checkpoints").rglob("last.pt")) and time.monotonic() < end:
            time.sleep(0.01)
        models["tiny"]["lr"] = 0.0022
        another.change({"models": models})
        said = training.stderr.read()
    assert training.returncode
    assert "train@tiny-0: while it ran there changed params.yaml: models.tiny. Run it again" in said
    assert another.lock["train@tiny-0"] == lock
    (file,) = (another.folder / ".checkpoints").rglob("last.pt")
    assert leave_a_trace(file) == 8
    models["tiny"]["lr"] = 0.0021
    another.change({"models": models})
    another.run(*command)
    assert has_the_trace(another)  # nothing is trained twice
    assert another.lock["train@tiny-0"] != lock


def test_a_member_that_dvc_did_not_note_is_not_trained_again(another):
    """As where DVC was killed, or its cache full, when the training had ended."""
    another.repro()
    shutil.rmtree(another.folder / ".checkpoints", ignore_errors=True)  # evaluate may come from the cache
    lock = (another.folder / "dvc.lock").read_bytes()
    models = another.params["models"]
    models["tiny"] |= {"epochs": 2, "lr": 0.0023}
    another.change({"models": models})
    command = ["dvc", "repro", "-s", "train@tiny-0"]
    another.run(*command)
    (file,) = (another.folder / ".checkpoints/tiny/0").glob("*/last.pt")
    assert leave_a_trace(file) == 2
    (another.folder / "dvc.lock").write_bytes(lock)
    shutil.rmtree(another.folder / ".dvc/cache/runs", ignore_errors=True)
    assert "Running stage" in another.run(*command).stdout
    assert has_the_trace(another)
    cutout = another.params["augment"]["cutout"]
    for other in ({"augment": {"cutout": {**cutout, "p": 0.25}}}, {"train": {"seed": 8}}):
        another.change(other)
        another.run(*command)
        assert not has_the_trace(another)
        (file,) = (another.folder / ".checkpoints/tiny/0").glob("*/last.pt")  # the one before is dropped
        leave_a_trace(file)
