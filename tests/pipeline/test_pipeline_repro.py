"""The real `dvc repro`, end to end, on a reduced demo release."""

import pytest
import yaml

from tests_paths import ROOT

pytestmark = pytest.mark.slow


def names(prefix, stages):
    return {stage for stage in stages if stage.partition("@")[0] == prefix}


def test_every_stage_runs_and_opens_only_the_params_that_it_declares(finished):
    declared = set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
    assert {stage.partition("@")[0] for stage in finished.ran} == declared


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


def test_the_imputer_recrops_nothing(another):
    another.change({"impute": {"age": "median"}})
    ran = another.repro()
    assert "impute" in ran
    assert not names("crop_resize", ran)
