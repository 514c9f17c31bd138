"""Promote, roll back, refuse; and the service computes what evaluation computed."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from dermaflow.bundle import format as bundle_format
from dermaflow.bundle.run import Runner
from dermaflow.impute.apply import Patient
from dermaflow.serve import inference

pytestmark = pytest.mark.slow


def champion(repo):
    return json.loads((repo.folder / "champion.json").read_text())


def test_the_service_answers_what_evaluation_computed(finished):
    """From the file's bytes through ONNX Runtime, against torch on the stored shards: within 1e-4."""
    runner = Runner(bundle_format.read(finished.folder / "outputs/bundle"))
    cases = pd.read_parquet(finished.folder / "outputs/cases.parquet").set_index("image_id")
    computed = pd.read_parquet(finished.folder / "outputs/ensemble/predictions.parquet")
    hold_out = computed[computed.split == "hold_out"].set_index("image_id")
    facts = {
        name: pd.read_parquet(finished.folder / f"outputs/facts/{name}.parquet").set_index("image_id")
        for name in finished.params["releases"]
    }
    for image_id, row in hold_out.iterrows():
        case = cases.loc[image_id]
        file = finished.folder / "data" / case.store / facts[case.store].loc[image_id].file
        patient = Patient(
            *(None if pd.isna(case[name]) else case[name] for name in ("age_years", "sex", "site"))
        )
        answer = inference.answer(file.read_bytes(), patient, runner)
        classes = runner.bundle.view.classes
        found = [answer.probabilities[code] for code in classes]
        assert (
            np.abs(np.array(found) - row[[f"probability_{code}" for code in classes]].to_numpy(float)).max()
            < 1e-4
        )


def test_promotion_crowns_once_and_decides_once(finished):
    first = finished.run("dermaflow", "models", "promote").stdout
    assert "is champion of skin-ensemble-demo" in first
    record = champion(finished)
    assert record["tag"].startswith("skin-ensemble-demo:")
    assert record["mlflow_run_id"]
    again = finished.run("dermaflow", "models", "promote").stdout
    assert "already decided" in again
    assert champion(finished) == record
    assert "* skin-ensemble-demo version   1" in finished.run("dermaflow", "models", "list").stdout
    assert json.loads(finished.run("dermaflow", "models", "show").stdout)["champion"]["tag"] == record["tag"]


def test_the_model_card_goes_with_the_bundle(finished):
    card = (finished.folder / "outputs/bundle/model_card.md").read_text()
    metrics = json.loads((finished.folder / "outputs/ensemble/metrics.json").read_text())["hold_out"]
    for said in ("Not a medical device", "dropped: official duplicate", "Trained on: ", "centre: HAM ("):
        assert said in card, said
    assert f"{metrics['macro_auc']['value']:.3f}" in card
    version = champion(finished)["tag"].partition(":")[2]
    stored = finished.folder / "bentoml/models/skin-ensemble-demo" / version / "model_card.md"
    assert stored.read_text() == card


def test_the_results_are_printed(finished):
    table = finished.run("dermaflow", "evaluate").stdout
    _, notice, _, *rows, openings = table.splitlines()
    assert notice.startswith("Not a medical device. ")
    assert [line.split()[0] for line in rows] == ["lite0", "tiny", "ensemble"]
    assert "scored 3 times" in openings


def test_rollback_goes_back_to_the_champion_before(finished, another):
    """The second repository has by now another model; both bundles go through one store."""
    another.env["BENTOML_HOME"] = finished.env["BENTOML_HOME"]
    another.run("dermaflow", "models", "promote")
    before = champion(another)
    another.change({"bundle": {"max_multiply_adds": 1e12}, "registry": {"notice": "Another notice."}})
    another.repro()
    another.run("dermaflow", "models", "promote")
    assert champion(another)["tag"] != before["tag"]
    another.run("dermaflow", "models", "rollback")
    assert champion(another)["tag"] == before["tag"]
    assert "promoted, and rolled back since" in another.run("dermaflow", "models", "promote").stdout
    failed = another.run("dermaflow", "models", "rollback", ok=False)
    assert failed.returncode == 1
    assert "no earlier champion" in failed.stderr


def test_a_champion_that_the_store_has_lost_stands_in_nobodys_way(another, tmp_path, monkeypatch):
    before = champion(another)
    monkeypatch.setitem(another.env, "BENTOML_HOME", str(tmp_path / "emptied"))
    done = another.run("dermaflow", "models", "promote", "--again")  # it was rolled back above
    assert f"the champion {before['tag']} can't be read any more" in done.stderr
    assert "is champion of skin-ensemble-demo" in done.stdout
    assert champion(another)["tag"] != before["tag"]
    assert "already decided" in another.run("dermaflow", "models", "promote").stdout
    (tmp_path / "emptied").rename(tmp_path / "lost")
    assert "is champion of" in another.run("dermaflow", "models", "promote").stdout


def test_a_failed_gate_promotes_nothing_and_says_why(another):
    before = champion(another)
    another.change({"gate": {"min_macro_auc": 1.0}})
    assert another.repro() == ["gate"]
    said = another.run("dermaflow", "models", "promote").stdout  # the gate says another thing: decided anew
    assert "would not be promoted now: the gate failed: macro_auc" in said
    assert "It stays champion" in said
    assert champion(another)["tag"] == before["tag"]


def test_a_bundle_over_its_budget_fails_with_the_figures(another):
    another.change({"bundle": {"max_multiply_adds": 1000}})
    failed = another.run("dvc", "repro", "bundle", ok=False)
    assert failed.returncode
    assert "G multiply-adds" in failed.stdout + failed.stderr


def test_a_folder_is_scored_in_the_challenges_columns(finished, tmp_path):
    finished.run("dermaflow", "models", "promote")  # decides once: nothing where it has been promoted
    images = finished.folder / "data/isic2018/ISIC2018_Task3_Test_Input"
    out = tmp_path / "submission.csv"
    command = ("dermaflow", "predict", "--images", str(images), "--format", "isic2018", "--out", str(out))
    finished.run(*command)
    rows = pd.read_csv(out)
    assert list(rows) == ["image", "MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]
    assert len(rows) == len(list(images.iterdir()))
    assert rows.iloc[:, 1:].sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)
    finished.run(*command, "--centre", "HAM")
    told = pd.read_csv(out).set_index("image")
    stage = pd.read_csv(finished.folder / "outputs/predictions/isic2018.csv").set_index("image")
    assert told.loc[stage.index].to_numpy() == pytest.approx(stage.to_numpy(), abs=1e-6)  # 2018 is HAM's
    assert abs(told.to_numpy() - rows.iloc[:, 1:].to_numpy()).max() > 0.01


def test_the_hold_outs_files_assessed_from_outside_have_the_hold_outs_figures(finished, tmp_path):
    made = finished.folder / "outputs"
    cases = pd.read_parquet(made / "cases.parquet").query("split != 'dropped'").set_index("image_id")
    hold_out = cases[cases.split == "hold_out"].copy()
    hold_out["diagnosis"] = pd.read_parquet(made / "holdout.parquet").set_index("image_id").diagnosis
    learned = cases[cases.split == "train"].head(1)
    images, truth = tmp_path / "images", tmp_path / "truth.csv"
    images.mkdir()
    for release, own in pd.concat([hold_out, learned]).groupby("store"):
        files = pd.read_parquet(made / f"facts/{release}.parquet").set_index("image_id").file
        for image_id in own.index:
            shutil.copy(finished.folder / "data" / release / files[image_id], images)
    command = ["dermaflow", "assess", "--bundle", str(made / "bundle"), "--out", str(tmp_path / "report")]
    for table in (pd.concat([hold_out, learned]), hold_out):
        columns = table.rename(columns={"age_years": "age"}).rename_axis("image")
        columns[["diagnosis", "age", "sex", "site", "patient_id", "lesion_id"]].to_csv(truth)
        done = finished.run(*command, "--images", str(images), "--truth", str(truth), ok=table is hold_out)
        if table is not hold_out:
            assert f"1 of its images are training images of this project: {learned.index[0]}" in done.stderr
    found = json.loads((tmp_path / "report/metrics.json").read_text())
    wanted = json.loads((made / "ensemble/metrics.json").read_text())["hold_out"]
    for name in ("balanced_accuracy", "melanoma_auc", "macro_auc", "log_loss", "ece"):
        assert found[name]["value"] == pytest.approx(wanted[name]["value"], abs=1e-5)
    for name in ("sensitivity", "specificity"):
        assert found["operating_point"][name]["value"] == wanted["operating_point"][name]["value"]
    assert found["prediction_sets"] == wanted["prediction_sets"]
