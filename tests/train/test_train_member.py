"""A member from tables to folder and back."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from dermaflow import outputs
from dermaflow.errors import DataError, TrainingError
from dermaflow.taxonomy import SEVEN
from dermaflow.train.member import as_rows, labelled, load_member, train_member, write_member
from dermaflow.train.params import AugmentParams
from dermaflow.train.predict import predict

CODES = ("MEL", "NV", "BCC", "AK", "SCC", "BKL", "DF", "VASC")


@pytest.fixture
def tables():
    n = 80
    ids = [f"i{number}" for number in range(n)]
    cases = pd.DataFrame({"image_id": ids, "diagnosis": [CODES[k % 8] for k in range(n)], "split": "train"})
    cases["centre"] = np.where(np.arange(n) % 3 == 0, "MSK", "Vienna")
    cases["fold"] = np.arange(n) // 8 % 2
    cases.loc[cases.index[-12:-4], ["diagnosis", "split", "fold"]] = [None, "hold_out", -1]
    cases.loc[cases.index[-4:-2], "diagnosis"] = "UNK"
    cases.loc[cases.index[-2:], ["diagnosis", "split", "fold"]] = [None, "dropped", -1]
    patients = pd.DataFrame(
        {"image_id": ids[::-1], "age_years": np.float32(75), "sex": "male", "site": "torso"}
    )
    patients[["age_missing", "sex_missing", "site_missing"]] = [False, True, False]
    return cases, patients


@pytest.fixture
def train(tables, reader, tiny_model, tiny_train):
    def fit():
        return train_member(
            cases=tables[0],
            patients=tables[1],
            reader=reader,
            view=SEVEN,
            model=tiny_model(epochs=2),
            train=tiny_train(),
            augment=AugmentParams(),
            fold=1,
            workers=0,
        )

    return fit


@pytest.fixture
def trained(train):
    return train()


def test_only_labels_of_the_view_are_learned_and_patients_follow_their_image(tables):
    cases, patients = tables
    known = labelled(cases, SEVEN)
    assert set(known.diagnosis) == set(CODES)
    assert len(known) == 68
    patients.loc[patients.image_id == "i2", "age_years"] = 25
    rows = as_rows(known, patients, SEVEN)
    assert list(rows.targets[:8]) == [0, 1, 2, 3, 3, 4, 5, 6]  # AK and SCC are one class
    assert list(rows.patients[1:3, 0]) == [1, -1]
    assert list(rows.patients[0, -3:]) == [0, 1, 0]
    assert [rows.centre_names[number] for number in rows.centres] == list(known.centre)
    with pytest.raises(DataError, match="1 cases have no patient row: i2"):
        as_rows(known, patients[patients.image_id != "i2"], SEVEN)


def test_a_member_predicts_its_fold_and_the_hold_out(trained, tables):
    cases = tables[0]
    frame = outputs.predictions.check(trained.predictions)
    by_split = {split: set(part.image_id) for split, part in frame.groupby("split")}
    known = labelled(cases, SEVEN)
    assert by_split == {
        "out_of_fold": set(known[known.fold == 1].image_id),
        "hold_out": set(cases[cases.split == "hold_out"].image_id),
    }
    for prefix in ("logit", "plain"):
        assert [name for name in frame if name.startswith(prefix)] == [f"{prefix}_{c}" for c in SEVEN.classes]
    assert frame.logit_MEL.dtype == np.float32


def test_a_further_process_trains_along_and_leaves_the_predictions_to_the_first(train, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    trained = train()
    assert len(trained.fitted.history) == 2
    assert not len(outputs.predictions.check(trained.predictions))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_network_trained_on_a_gpu_predicts_there_and_is_written_for_any_machine(trained, tmp_path):
    assert trained.fitted.network.head.weight.is_cuda
    write_member(trained, tmp_path)
    assert not load_member(tmp_path)[0].head.weight.is_cuda


def test_a_written_member_loads_to_the_same_predictions(trained, reader, tmp_path):
    write_member(trained, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {
        "weights.safetensors",
        "config.json",
        "history.csv",
        "curves.png",
        "metrics.json",
        "predictions.parquet",
    }
    network, config = load_member(tmp_path)
    frame = pd.read_parquet(tmp_path / "predictions.parquet")
    patients = np.zeros((len(frame), 11), np.float32)
    patients[:, [0, 1, 6, 9]] = 1  # 75 years, male, torso, sex missing
    found = predict(
        network, reader, list(frame.image_id), patients, input_px=32, views=config["views"], batch=8
    )
    np.testing.assert_allclose(np.stack(frame.features), found["features"], atol=1e-5)
    np.testing.assert_allclose(frame[[f"logit_{c}" for c in SEVEN.classes]], found["logits"], atol=1e-5)
    assert sum(config["natural_prior"]) == pytest.approx(1) == pytest.approx(sum(config["learned_prior"]))


def test_a_member_says_what_it_learned_of_each_centre(trained, tables):
    """Drawn by square roots of the classes, whose images of one centre are drawn alike."""
    rows = labelled(tables[0], SEVEN).query("fold != 1")
    target = rows.diagnosis.map(SEVEN.target)
    found = trained.config["learned_by_centre"]
    assert set(found) == {"MSK", "Vienna"}
    assert found["MSK"] != found["Vienna"]
    for name, shares in found.items():
        here = [((rows.centre == name) & (target == k)).sum() / (target == k).sum() ** 0.5 for k in range(7)]
        assert shares == pytest.approx(np.array(here) / np.sum(here))


def test_two_trainings_write_the_same_bytes_without_time_or_path(train, tmp_path):
    for name, member in (("a", train()), ("b", train())):
        (tmp_path / name).mkdir()
        write_member(member, tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name
        assert sys.prefix.encode() not in file.read_bytes()
    assert "images_per_second" not in (tmp_path / "a" / "history.csv").read_text()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", '{"model": {'),
        ("config.json", "{}"),
        ("config.json", '{"model": {"layers": 3}, "view": "isic2018"}'),
        ("weights.safetensors", None),
    ],
)
def test_a_damaged_member_is_named(trained, tmp_path, name, content):
    write_member(trained, tmp_path)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[:-100] if content is None else content.encode())
    with pytest.raises(TrainingError, match=rf"{name} .*Run `dvc repro`"):
        load_member(tmp_path)


def test_a_member_that_lacks_a_file_or_does_not_fit_is_named(trained, tmp_path):
    with pytest.raises(TrainingError, match=r"no config\.json there"):
        load_member(tmp_path)
    write_member(trained, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["model"]["patient"] = False
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(TrainingError, match="does not fit"):
        load_member(tmp_path)
