"""From members' logits to answers: who answers for whom, and that the sampler is undone."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from dermaflow.bundle.apply import softmax
from dermaflow.errors import DataError
from dermaflow.evaluate import figures, members
from dermaflow.evaluate.answers import Answers
from dermaflow.evaluate.params import EvaluateParams
from dermaflow.taxonomy import EIGHT, NINE, SEVEN
from tests_predictions import SHARES, made_cases, made_member, made_members


@pytest.fixture
def rng():
    return np.random.default_rng(2)


@pytest.fixture
def world(rng):
    cases, holdout = made_cases(rng)
    return cases, holdout, made_members(rng, cases, holdout)


def test_the_natural_prior_is_counted_on_training_rows_alone(world):
    cases, _, _ = world
    slow = [(cases[cases.split == "train"].diagnosis == code).mean() for code in NINE.classes]
    assert members.natural_prior(cases, NINE) == pytest.approx(slow)
    joined = members.natural_prior(cases, SEVEN)
    assert joined[3] == pytest.approx((slow[3] + slow[7]) / (1 - slow[8]))


def test_a_table_without_training_diagnoses_is_refused(world):
    cases = world[0].assign(diagnosis=None)
    with pytest.raises(DataError, match="no training row has a diagnosis of view nine"):
        members.natural_prior(cases, NINE)


def test_out_of_fold_only_the_members_of_the_cases_own_fold_answer(world):
    cases, _, found = world
    weights = np.array([1, 1, 1, 3, 3, 3]) / 12  # model a, then b: b counts three times
    prior = members.natural_prior(cases, NINE)
    calibration = dataclasses.replace(members.calibration(found, weights, prior), beta=0.7)
    table = members.predict(found, calibration, "out_of_fold").set_index("image_id")
    image = cases[(cases.split == "train") & (cases.fold == 1)].image_id.iloc[0]
    one, other = (
        m.frame.set_index("image_id").loc[image, [f"logit_{c}" for c in NINE.classes]].to_numpy(float)
        for m in (found[1], found[4])
    )
    slow = softmax(0.7 * (0.25 * one + 0.75 * other) + np.log(prior * 9))
    assert table.loc[image, [f"probability_{c}" for c in NINE.classes]].to_numpy(float) == pytest.approx(slow)
    assert sorted(table.index) == sorted(cases[cases.split == "train"].image_id)


def test_where_all_of_a_folds_members_weigh_nothing_they_answer_alike(world):
    found = world[2]
    table = members.by_fold(found, np.array([0.5, 0, 0.125, 0.5, 0, 0.375]))
    assert [chosen for chosen, _ in table] == [[0, 3], [1, 4], [2, 5]]
    assert [weights.tolist() for _, weights in table] == [[0.5, 0.5], [0.5, 0.5], [0.25, 0.75]]


def test_on_the_hold_out_all_members_answer(world):
    cases, holdout, found = world
    prior = members.natural_prior(cases, NINE)
    calibration = members.calibration(found, np.full(6, 1 / 6), prior)
    table = members.predict(found, calibration, "hold_out").set_index("image_id")
    image = holdout.image_id.iloc[3]
    columns = [f"logit_{c}" for c in NINE.classes]
    mean = np.mean([m.frame.set_index("image_id").loc[image, columns].to_numpy(float) for m in found], axis=0)
    slow = softmax(mean + np.log(prior * 9))
    assert table.loc[image, [f"probability_{c}" for c in NINE.classes]].to_numpy(float) == pytest.approx(slow)


def test_the_order_of_a_members_rows_does_not_matter(world):
    cases, _, found = world
    calibration = members.calibration(found, np.full(6, 1 / 6), members.natural_prior(cases, NINE))
    shuffled = [
        dataclasses.replace(m, frame=m.frame.sample(frac=1, random_state=i)) for i, m in enumerate(found)
    ]
    first, second = (
        members.predict(list(each), calibration, "hold_out").set_index("image_id").sort_index()
        for each in (found, shuffled)
    )
    assert (first.drop(columns="split") == second.drop(columns="split")).all(axis=None)


def test_members_that_saw_different_images_are_refused(world):
    cases, holdout, found = world
    found[2] = dataclasses.replace(
        found[2], frame=found[2].frame[found[2].frame.image_id != holdout.image_id[0]]
    )
    calibration = members.calibration(found, np.full(6, 1 / 6), members.natural_prior(cases, NINE))
    with pytest.raises(
        DataError, match=rf"1 images are not in all members' hold_out rows: {holdout.image_id[0]}"
    ):
        members.predict(found, calibration, "hold_out")


def test_members_of_different_views_are_refused(rng, world):
    cases, _, found = world
    other = dataclasses.replace(found[1], view=SEVEN)
    with pytest.raises(DataError, match="2 views: isic2018, nine"):
        members.calibration([found[0], other], np.ones(2) / 2, members.natural_prior(cases, NINE))


def test_hold_out_cases_without_a_diagnosis_are_refused(world):
    cases, holdout, _ = world
    with pytest.raises(DataError, match=f"1 hold-out cases have no diagnosis: {holdout.image_id[0]}"):
        members.labelled(cases, holdout[1:], "hold_out")


def test_a_case_without_a_prediction_is_refused(world):
    cases, holdout, _ = world
    truth = members.labelled(cases, holdout, "hold_out")
    frame = pd.DataFrame({"image_id": truth.image_id[1:]} | {f"probability_{c}": 0.1 for c in NINE.classes})
    with pytest.raises(DataError, match="1 cases have no prediction"):
        Answers.of(frame, NINE, SHARES, truth)


def test_a_coarser_view_sums_probabilities_and_priors_before_dividing():
    cases = pd.DataFrame({"diagnosis": ["SCC", "UNK", "NV"], "group": [0, 1, 2]})
    probability = np.array([[0.1, 0.3, 0, 0.2, 0, 0, 0, 0.2, 0.2]] * 3)
    answers = Answers(NINE, np.array([7, 8, 1]), probability, SHARES, cases).in_view(SEVEN)
    assert answers.cases.diagnosis.to_list() == ["SCC", "NV"]  # UNK is no class of 2018
    assert answers.target.tolist() == [3, 1]
    assert answers.probability[0] == pytest.approx(np.array([0.1, 0.3, 0, 0.4, 0, 0, 0]) / 0.8)
    ratio = np.array([0.1 / 0.15, 0.3 / 0.4, 0, 0.4 / 0.09, 0, 0, 0])
    assert answers.decision[0] == pytest.approx(ratio / ratio.sum())


def test_a_case_whose_diagnosis_only_a_coarser_view_holds_comes_in_there():
    """AKIEC of 2018, of which nobody said whether it is AK or SCC: the same figures as if one had."""
    frame = pd.DataFrame(np.array([[0.1, 0.3, 0, 0.2, 0, 0, 0, 0.2, 0.2], SHARES, SHARES, SHARES]))
    frame.columns = [f"probability_{code}" for code in NINE.classes]
    frame["image_id"] = ["a", "b", "c", "d"]
    diagnoses = ["MEL", "UNK", "NV", "SCC"]
    told = pd.DataFrame({"image_id": list("dcba"), "diagnosis": diagnoses, "group": range(4)})
    untold = told.replace({"diagnosis": {"SCC": "AKIEC"}})
    whole, less = (Answers.of(frame, NINE, SHARES, cases) for cases in (told, untold))
    assert less.cases.image_id.to_list() == ["d", "c", "b"]
    seven, same = whole.in_view(SEVEN), less.in_view(SEVEN)
    assert same.target.tolist() == seven.target.tolist() == [0, 1, 3]
    assert np.array_equal(same.probability, seven.probability)
    assert same.cases.image_id.to_list() == ["d", "b", "a"]
    assert less.in_view(EIGHT).cases.image_id.to_list() == ["d", "b"]
    referred = [
        {**figures.operating_point(answers, 0.4, EvaluateParams(bootstrap=100)), "malignant_classes": None}
        for answers in (whole, less)
    ]
    assert referred[0] == referred[1]
    assert referred[0]["sensitivity"]["value"] == 0.5
    eight = Answers.of(frame, EIGHT, SHARES[:8], untold)
    assert eight.for_malignancy().cases.image_id.to_list() == ["d", "b", "a"]  # UNK is benign
    assert len(less.where(np.array([True, True, False])).for_malignancy()) == 2


def test_a_finer_view_can_not_be_made():
    answers = Answers(
        SEVEN, np.array([0]), np.full((1, 7), 1 / 7), np.ones(7) / 7, pd.DataFrame({"diagnosis": ["MEL"]})
    )
    with pytest.raises(ValueError, match="can't be made"):
        answers.in_view(EIGHT)


def test_a_class_that_was_never_drawn_gets_no_probability(rng, world):
    cases, holdout, _ = world
    drawn = np.array([0, 1, 1, 1, 1, 1, 1, 1, 1]) / 8
    with np.errstate(divide="ignore"):
        member = made_member(rng, cases, holdout, drawn=np.full(9, 1 / 9))
    member = dataclasses.replace(member, learned=drawn)
    calibration = members.calibration([member], np.ones(1), members.natural_prior(cases, NINE))
    assert np.isfinite(calibration.shifts).all()
    assert calibration.probabilities(np.zeros((1, 1, 9)))[0, 0] < 1e-12


def perfect(rng, cases, drawn):
    """A perfect network that was shown `drawn` (by centre, shape (k,)) of each centre's classes, as a member.

    Returns it, the training rows, and the probabilities that are natural for each in its own centre.
    """
    rows = cases[cases.split == "train"].reset_index(drop=True)
    likelihood = rng.random((len(rows), 9))
    said = np.log(likelihood * np.stack([drawn[name] for name in rows.centre]))
    frame = pd.DataFrame({"image_id": rows.image_id, "split": "out_of_fold"})
    frame[[f"logit_{code}" for code in NINE.classes]] = said
    natural = members.priors_by_centre(cases, NINE)
    truth = likelihood * np.stack([natural[name] for name in rows.centre])
    learned = np.mean(list(drawn.values()), axis=0)
    return members.Member("a", 0, NINE, learned, drawn, frame), rows, truth / truth.sum(1, keepdims=True)


def test_one_who_is_told_the_centre_undoes_what_the_sampler_did_there(rng, world):
    cases, _, _ = world
    drawn = {name: rng.dirichlet(np.full(9, 5)) for name in ("HAM", "BCN", "MSK", "SIIM")}
    member, rows, truth = perfect(rng, cases, drawn)
    prior, centres = members.natural_prior(cases, NINE), members.priors_by_centre(cases, NINE)
    calibration = members.calibration([member], np.ones(1), prior, centres=centres)
    columns = [f"probability_{code}" for code in NINE.classes]
    for name in drawn:
        here = (rows.centre == name).to_numpy()
        found = members.predict([member], calibration.told(name), "out_of_fold")
        assert found.loc[here, columns].to_numpy() == pytest.approx(truth[here], abs=1e-9)
        share = found.loc[here, [f"decision_{code}" for code in NINE.classes]].to_numpy()
        own = np.where(centres[name] > 0, truth[here] / np.where(centres[name] > 0, centres[name], 1), 0)
        assert share == pytest.approx(own / own.sum(axis=1, keepdims=True), abs=1e-9)
    untold = members.predict([member], calibration, "out_of_fold")[columns].to_numpy()
    assert abs(untold - truth).max() > 0.1


def test_a_centres_frequencies_are_counted_on_its_training_rows_and_unknown_is_no_centre(world):
    cases = world[0].copy()
    cases.loc[cases.centre == "MSK", "centre"] = "unknown"
    found = members.priors_by_centre(cases, SEVEN)
    assert list(found) == ["BCN", "HAM"]  # all of SIIM is UNK, no class of 2018
    rows = cases[(cases.split == "train") & (cases.centre == "HAM")]
    assert found["HAM"] == pytest.approx(members.natural_prior(rows, SEVEN))
    assert members.priors_by_centre(cases[cases.centre == "unknown"], SEVEN) == {}


def test_ak_and_scc_that_nobody_tells_apart_are_counted_at_their_centre():
    """2018 alone has AKIEC, which is no diagnosis of the nine."""
    rows = pd.DataFrame({"diagnosis": ["MEL", "NV", "NV", "AKIEC", None], "split": "train", "centre": "HAM"})
    found = members.priors_by_centre(rows, SEVEN)
    assert found["HAM"] == pytest.approx(members.natural_prior(rows, SEVEN))
    assert found["HAM"][SEVEN.classes.index("AKIEC")] == 0.25
    assert members.priors_by_centre(rows[rows.diagnosis == "AKIEC"], NINE) == {}


def test_a_member_that_saw_none_of_a_class_at_a_centre_has_its_say_of_that_class_all_the_same(world):
    """Few images of a centre: all nevi of MSK may lie in the fold that a member did not learn from."""
    cases, _, found = world
    only_melanoma = found[1].by_centre | {"MSK": np.eye(9)[0]}
    few = [found[0], dataclasses.replace(found[1], by_centre=only_melanoma)]
    prior, centres = members.natural_prior(cases, NINE), members.priors_by_centre(cases, NINE)
    calibration = members.calibration(few, np.ones(2) / 2, prior, centres=centres)
    one, other = calibration.told("MSK").shifts
    assert one[1] == pytest.approx(np.log(centres["MSK"][1] * 9))
    assert other[0] == pytest.approx(np.log(centres["MSK"][0]))
    assert other[1:8] == pytest.approx(calibration.shifts[1, 1:8])
    assert one[8] == other[8] == members.NEVER  # a class that MSK never has


def test_a_centre_that_a_member_never_saw_is_told_to_none(world):
    cases, _, found = world
    blind = dataclasses.replace(found[1], by_centre={"HAM": found[1].learned})
    prior, centres = members.natural_prior(cases, NINE), members.priors_by_centre(cases, NINE)
    calibration = members.calibration([found[0], blind], np.ones(2) / 2, prior, centres=centres)
    assert list(calibration.centres) == ["HAM"]


def test_members_are_read_models_first(project, world):
    from dermaflow import outputs

    _, _, found = world
    for member in found:
        outputs.predictions.of(member.model, member.fold).write(member.frame)
        config = {
            "fold": member.fold,
            "view": "nine",
            "learned_prior": member.learned.tolist(),
            "learned_by_centre": {name: own.tolist() for name, own in member.by_centre.items()},
        }
        outputs.write_json(outputs.member_dir(member.model, member.fold) / "config.json", config)
    again = members.read(["b", "a"], ["0", "1", "2"])
    assert again[0].by_centre["BCN"] == pytest.approx(found[0].by_centre["BCN"])
    assert [(m.model, m.fold) for m in again] == [("b", 0), ("b", 1), ("b", 2), ("a", 0), ("a", 1), ("a", 2)]
    with pytest.raises(DataError, match="no such file"):
        members.read(["c"], [0])
