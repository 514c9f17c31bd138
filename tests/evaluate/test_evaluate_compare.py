"""Champion and challenger on the same hold-out."""

import numpy as np
import pandas as pd
import pytest

from dermaflow.errors import DataError
from dermaflow.evaluate import members
from dermaflow.evaluate.compare import against_champion, challenge
from dermaflow.evaluate.intervals import MIN_GROUPS
from dermaflow.taxonomy import NINE, SEVEN, change_view
from tests_predictions import made_cases, made_members


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(8)
    cases, holdout = made_cases(rng, n=1500)
    prior = members.natural_prior(cases, NINE)
    tables = {}
    for name, noise in (("good", 0.5), ("twin", 0.55), ("bad", 6.0)):
        found = made_members(rng, cases, holdout, models=("a",), noise=noise)
        calibration = members.calibration(found, np.full(3, 1 / 3), prior)
        tables[name] = members.predict(found, calibration, "hold_out")
    return cases, holdout, tables


def test_a_challenger_that_is_clearly_worse_is_said_to_be_so(world):
    cases, holdout, tables = world
    found = challenge(tables["good"], tables["bad"], holdout, cases, bootstrap=200)
    assert found.worse
    gap = found.figures["balanced_accuracy"]["difference"]
    assert gap["high"] < 0
    assert found.figures["cases"] == len(holdout)


def test_a_better_or_equal_challenger_is_not_worse(world):
    cases, holdout, tables = world
    assert not challenge(tables["bad"], tables["good"], holdout, cases, bootstrap=200).worse
    assert not challenge(tables["good"], tables["twin"], holdout, cases, bootstrap=200).worse
    same = challenge(tables["good"], tables["good"], holdout, cases, bootstrap=200)
    assert same.figures["melanoma_auc"]["difference"] == {"value": 0, "low": 0, "high": 0}


def test_the_difference_is_paired(world):
    """The interval of the difference of near twins is far narrower than each one's own."""
    cases, holdout, tables = world
    gap = challenge(tables["good"], tables["twin"], holdout, cases).figures["balanced_accuracy"]["difference"]
    assert gap["high"] - gap["low"] < 0.1
    slow = [
        np.mean(
            [
                (
                    table.set_index("image_id")
                    .loc[holdout.image_id[holdout.diagnosis == code], columns]
                    .to_numpy()
                    .argmax(axis=1)
                    == i
                ).mean()
                for i, code in enumerate(NINE.classes)
            ]
        )
        for table in (tables["twin"], tables["good"])
        for columns in [[f"decision_{c}" for c in NINE.classes]]
    ]
    assert gap["value"] == pytest.approx(slow[0] - slow[1], abs=1e-6)


def test_many_images_of_one_group_are_one_witness(world):
    """Ten copies of each image in its group tell no more than one: the same differences and intervals."""
    cases, holdout, tables = world

    def copied(table):
        return pd.concat([table.assign(image_id=table.image_id + f"_{copy}") for copy in range(10)])

    found = {}
    for name, of in (("once", lambda table: table), ("copied", copied)):
        two = of(tables["good"]), of(tables["twin"])
        found[name] = challenge(*two, of(holdout), of(cases), bootstrap=200).figures
    for figure in ("balanced_accuracy", "melanoma_auc"):
        once, copies = (found[name][figure]["difference"] for name in ("once", "copied"))
        assert once["low"] < once["high"]
        assert copies == pytest.approx(once, abs=2e-6)


@pytest.mark.parametrize("lost", ["melanoma_auc", "balanced_accuracy"])
def test_a_loss_in_one_figure_alone_is_enough(world, lost):
    """Melanoma AUC goes by the probabilities, balanced accuracy by the decision scores."""
    cases, holdout, tables = world
    columns = {
        "melanoma_auc": ["probability_MEL"],
        "balanced_accuracy": [f"decision_{c}" for c in NINE.classes],
    }
    bad = tables["good"].copy()
    bad[columns[lost]] = -bad[columns[lost]]
    found = challenge(tables["good"], bad, holdout, cases, bootstrap=200)
    assert found.worse
    for figure in columns:
        high = found.figures[figure]["difference"]["high"]
        assert high < 0 if figure == lost else high == 0


def test_of_few_groups_neither_of_two_models_is_worse(world):
    cases, holdout, tables = world
    for groups, told in ((1, False), (MIN_GROUPS - 1, False), (MIN_GROUPS, True)):
        joined = cases.assign(group=np.arange(len(cases)) // 10 % groups)
        found = challenge(tables["good"], tables["bad"], holdout, joined, bootstrap=200)
        assert found.worse is told
        for figure in ("balanced_accuracy", "melanoma_auc"):
            gap = found.figures[figure]["difference"]
            assert gap["value"] < -0.1
            assert [gap[end] is not None for end in ("low", "high")] == [told, told]
        assert not challenge(tables["bad"], tables["good"], holdout, joined, bootstrap=200).worse


def test_files_are_compared_as_tables_are(world, tmp_path):
    cases, holdout, tables = world
    for name in ("good", "bad"):
        tables[name].to_parquet(tmp_path / f"{name}.parquet")
    found = against_champion(
        tmp_path / "good.parquet", tmp_path / "bad.parquet", holdout, cases, bootstrap=200
    )
    assert found == challenge(tables["good"], tables["bad"], holdout, cases, bootstrap=200)


def test_models_of_different_views_are_compared_by_melanoma_auc_alone(world):
    cases, holdout, tables = world
    nine = tables["good"]
    p = change_view(nine[[f"probability_{c}" for c in NINE.classes]].to_numpy(), NINE, SEVEN)
    seven = nine[["image_id", "split"]].copy()
    for prefix in ("probability", "decision"):
        seven[[f"{prefix}_{c}" for c in SEVEN.classes]] = p
    found = challenge(nine, seven, holdout, cases, bootstrap=200).figures
    assert found["balanced_accuracy"] is None
    assert found["melanoma_auc"]["challenger"] > 0.8
    assert found["cases"] == (holdout.diagnosis != "UNK").sum()


def test_a_table_that_lacks_hold_out_images_or_classes_is_refused(world):
    cases, holdout, tables = world
    with pytest.raises(DataError, match="1 cases have no prediction"):
        challenge(tables["good"], tables["bad"].iloc[1:], holdout, cases)
    with pytest.raises(DataError, match="those of no view: MEL"):
        challenge(tables["good"], tables["bad"][["image_id", "split", "probability_MEL"]], holdout, cases)
