"""Blend, temperature, sets, operating point: chosen out of fold, measured on the hold-out."""

import itertools
import json
import math
import time
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from dermaflow import outputs
from dermaflow.bundle.apply import Calibration, prediction_sets
from dermaflow.bundle.ood import OodDetector
from dermaflow.ensemble import blend, calibrate, conformal, ood
from dermaflow.ensemble.ensemble import decide, ensemble
from dermaflow.ensemble.params import EnsembleParams
from dermaflow.errors import DataError
from dermaflow.evaluate import members, metrics
from dermaflow.evaluate.answers import Answers
from dermaflow.evaluate.params import EvaluateParams
from dermaflow.taxonomy import NINE
from tests_predictions import SHARES, made_cases, made_funnel, made_member, made_members

FAST = EvaluateParams(bootstrap=100)
NOTICE = "Drawn images."


def made_ensemble(found, cases, holdout, **asked):
    funnel = made_funnel(cases, holdout)
    return ensemble(found, cases, holdout, EnsembleParams(**asked), FAST, funnel=funnel, notice=NOTICE)


@pytest.fixture
def rng():
    return np.random.default_rng(4)


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(9)
    cases, holdout = made_cases(rng)
    found = made_members(rng, cases, holdout)
    return cases, holdout, found, made_ensemble(found, cases, holdout)


def test_the_prior_shift_makes_probabilities_of_the_natural_frequencies(rng):
    """Members that learned from classes drawn alike say, after the shift, how often things really are."""
    cases, holdout = made_cases(rng, n=12_000)
    perfect = [
        made_member(rng, cases, holdout, fold=fold, drawn=np.full(9, 1 / 9), skill=1.0, noise=0.0)
        for fold in range(3)
    ]
    prior = members.natural_prior(cases, NINE)
    calibration = members.calibration(perfect, np.full(3, 1 / 3), prior)
    table = members.predict(perfect, calibration, "hold_out").merge(holdout, on="image_id")
    raw = members.Calibration(np.full(3, 1 / 3), np.zeros((3, 9)), 1.0, prior)
    unshifted = members.predict(perfect, raw, "hold_out")
    for code, share in zip(NINE.classes, SHARES, strict=True):
        said, truth = table[f"probability_{code}"], table.diagnosis == code
        assert said.mean() == pytest.approx(truth.mean(), abs=0.02)
        assert said.mean() == pytest.approx(share, abs=0.02)
        high = said > said.quantile(0.9)
        assert said[high].mean() == pytest.approx(truth[high].mean(), abs=0.07)
    assert unshifted.probability_NV.mean() < SHARES[1] - 0.1  # without the shift it would be far off
    train = members.labelled(cases, holdout, "out_of_fold")
    fitted = calibrate.fit_beta(*blend.blended(perfect, np.full(3, 1 / 3), prior, train))
    assert fitted == pytest.approx(1, abs=0.05)
    too_sure = []
    for one in perfect:
        louder = {name: one.frame[name] * 2.5 for name in one.frame if name.startswith("logit_")}
        too_sure.append(replace(one, frame=one.frame.assign(**louder)))
    fitted = calibrate.fit_beta(*blend.blended(too_sure, np.full(3, 1 / 3), prior, train))
    assert fitted == pytest.approx(1 / 2.5, abs=0.02)


def test_the_temperature_is_that_of_a_fine_grid(rng):
    target = rng.integers(0, 4, 300)
    logits = rng.normal(size=(300, 4)) * 3
    logits[np.arange(300), target] += 2
    shift = np.tile(np.log([0.1, 0.2, 0.3, 0.4]), (300, 1))
    grid = np.exp(np.linspace(-4, 4, 4001))
    losses = [metrics.log_losses(target, _softmax(beta * logits + shift)).mean() for beta in grid]
    assert calibrate.fit_beta(target, logits, shift) == pytest.approx(grid[int(np.argmin(losses))], rel=0.003)


def test_the_temperature_is_scikit_learns(rng):
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator
    from sklearn.linear_model import LogisticRegression

    x = rng.normal(size=(400, 3))
    target = np.argmax(x + rng.normal(size=x.shape), axis=1)
    model = LogisticRegression(C=1e4).fit(x[:60], target[:60])
    peer = CalibratedClassifierCV(FrozenEstimator(model), method="temperature").fit(x[60:], target[60:])
    said = model.decision_function(x[60:])
    beta = calibrate.fit_beta(target[60:], said, np.zeros_like(said))
    assert beta == pytest.approx(peer.calibrated_classifiers_[0].calibrators[0].beta_, rel=1e-4)


def test_too_sure_members_are_cooled_and_the_loss_falls(rng):
    target = rng.integers(0, 3, 500)
    logits = rng.normal(size=(500, 3))
    logits[np.arange(500), target] += 1
    none = np.zeros_like(logits)
    beta = calibrate.fit_beta(target, 5 * logits, none)
    assert beta < 0.5
    assert calibrate.mean_log_loss(target, beta * 5 * logits) < calibrate.mean_log_loss(target, 5 * logits)
    assert calibrate.fit_beta(np.zeros(0, int), none[:0], none[:0]) == 1


def test_equal_weights_are_equal_for_models_whatever_their_folds(world):
    cases, _, found, _ = world
    weights = blend.weigh(found[:4], "equal", members.natural_prior(cases, NINE), pd.DataFrame())
    assert weights == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])


def test_fitted_weights_all_but_leave_out_a_model_that_guesses(rng):
    cases, holdout = made_cases(rng, n=900)
    good = made_members(rng, cases, holdout, models=("good",))
    guess = made_members(rng, cases, holdout, models=("guess",), skill=0.0, noise=2.0)
    train = members.labelled(cases, holdout, "out_of_fold")
    weights = blend.weigh([*good, *guess], "fitted", members.natural_prior(cases, NINE), train)
    assert weights.sum() == pytest.approx(1)
    assert weights[:3].sum() > 0.95


def test_what_temperature_and_weights_are_fitted_on_is_what_the_members_say_out_of_fold(rng):
    """Models that learned from unlike frequencies: their shifts count where weights are chosen, too."""
    cases, holdout = made_cases(rng, n=600)
    drawn = np.array([0.4, 0.05, 0.05, 0.05, 0.05, 0.1, 0.1, 0.1, 0.1])
    found = [
        *made_members(rng, cases, holdout, models=("alike",), skill=1.0),
        *made_members(rng, cases, holdout, models=("unlike",), skill=1.0, drawn=drawn, noise=1.5),
    ]
    prior, train = members.natural_prior(cases, NINE), members.labelled(cases, holdout, "out_of_fold")

    def least_loss(share):
        target, logits, shift = blend.blended(found, np.repeat([share, 1 - share], 3) / 3, prior, train)
        return calibrate.mean_log_loss(target, calibrate.fit_beta(target, logits, shift) * logits + shift)

    fitted = blend.weigh(found, "fitted", prior, train)
    grid = np.linspace(0, 1, 41)
    best = grid[int(np.argmin([least_loss(share) for share in grid]))]
    assert 0.1 < best < 0.9
    assert fitted[:3].sum() == pytest.approx(best, abs=0.03)
    weights = np.full(6, 1 / 6)
    table = members.predict(found, members.calibration(found, weights, prior), "out_of_fold")
    said = table[[f"probability_{code}" for code in NINE.classes]].to_numpy()
    _, logits, shift = blend.blended(found, weights, prior, train)
    assert _softmax(logits + shift) == pytest.approx(said)


@pytest.mark.parametrize("models", [("a",), ("a", "b")])
def test_cases_that_no_answering_member_has_learned_choose_neither_temperature_nor_weights(rng, models):
    cases, holdout = made_cases(rng, n=600)
    found = made_members(rng, cases, holdout, models=models, skill=1.0)
    prior, train = members.natural_prior(cases, NINE), members.labelled(cases, holdout, "out_of_fold")
    weights = np.full(len(found), 1 / len(found))
    rare = NINE.classes.index("VASC")
    unlearned = [
        replace(one, learned=one.learned * (np.arange(9) != rare)) if one.fold == 0 else one for one in found
    ]
    answered = set(found[0].frame.image_id[found[0].frame.split == "out_of_fold"])
    gone = int((train.image_id.isin(answered) & (train.diagnosis == "VASC")).sum())
    assert gone > 0
    for fitted in (
        lambda who: blend.blended(who, weights, prior, train),
        lambda who: blend.per_model(who, models, prior, train),
    ):
        before, after = fitted(found), fitted(unlearned)
        assert len(before[0]) - len(after[0]) == gone
        assert after[2][np.arange(len(after[0])), ..., after[0]].min() > -20  # none that can't be answered


@pytest.mark.parametrize("split", ["out_of_fold", "hold_out"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_answer_that_is_no_number_stops_the_ensemble_and_is_named(rng, split, value):
    cases, holdout = made_cases(rng)
    found = made_members(rng, cases, holdout)
    frame = found[1].frame
    row = frame.index[frame.split == split][3]
    frame.loc[row, "logit_MEL"] = value
    with pytest.raises(DataError, match=rf"1 answers .* are not finite: {frame.image_id[row]}"):
        made_ensemble(found, cases, holdout)


def test_of_twenty_thousand_cases_those_with_a_diagnosis_are_blended_within_two_seconds(rng):
    cases, holdout = made_cases(rng, n=20_000)
    found = made_members(rng, cases, holdout, models=("a",))
    train = members.labelled(cases, holdout, "out_of_fold")
    known = train[train.diagnosis != "UNK"]
    start = time.process_time()
    target, logits, shift = blend.blended(found, np.full(3, 1 / 3), np.full(9, 1 / 9), known)
    assert time.process_time() - start < 2
    by_fold = known.sort_values("fold", kind="stable")
    assert target.tolist() == [NINE.classes.index(code) for code in by_fold.diagnosis]
    said = pd.concat([member.frame for member in found]).set_index("image_id").loc[by_fold.image_id]
    assert logits == pytest.approx(said[[f"logit_{code}" for code in NINE.classes]].to_numpy())
    assert len(shift) == len(known)


def test_prediction_sets_are_crepes(rng):
    from crepes import ConformalClassifier
    from crepes.extras import hinge

    target = rng.choice(3, 400, p=[0.6, 0.3, 0.1])
    p = rng.dirichlet(np.ones(3), 400)
    p[np.arange(400), target] += 0.5
    p /= p.sum(axis=1, keepdims=True)
    found = prediction_sets(p[200:], conformal.thresholds(target[:200], p[:200], 0.9))
    peer = ConformalClassifier().fit(hinge(p[:200], np.arange(3), target[:200]), bins=target[:200])
    for c in range(3):
        values = peer.predict_p(hinge(p[200:]), bins=np.full(200, c), smoothing=False)[:, c]
        assert (found[:, c] == (values > 0.1)).all()
    assert 0.8 < found[np.arange(200), target[200:]].mean() < 1


def test_a_class_with_too_few_cases_is_in_every_set(rng):
    target = np.array([0] * 50 + [1] * 8)  # 90 % can't be promised from 8 cases
    p = rng.dirichlet(np.ones(2), 58)
    found = conformal.thresholds(target, p, 0.9)
    assert found[1] == 0
    assert found[0] > 0
    assert prediction_sets(np.array([[1.0, 0.0]]), found)[0, 1]


def test_the_cases_that_make_up_a_share_are_those_of_exact_fractions():
    for hundredths, cases in itertools.product(range(1, 100), range(1, 400)):
        exact = math.ceil(Fraction(hundredths, 100) * cases)
        assert conformal.at_least(hundredths / 100, cases) == exact, (hundredths, cases)


def test_a_threshold_lies_at_the_exact_rank(rng):
    """0.56 of 24 cases and one more are 14: in floats it was the 15th."""
    own = np.sort(rng.random(24))[::-1]
    assert conformal.thresholds(np.zeros(24, int), own[:, None], 0.56) == own[13]
    assert conformal.refer_threshold(np.ones(25, bool), np.append(own, 0), 0.56) == own[13]


def test_the_refer_threshold_is_the_highest_that_keeps_the_sensitivity(rng):
    malignant, p = rng.random(200) < 0.3, rng.random(200).round(2)
    threshold = conformal.refer_threshold(malignant, p, 0.95)
    assert (p[malignant] >= threshold).mean() >= 0.95
    higher = p[malignant][p[malignant] > threshold].min()
    assert (p[malignant] >= higher).mean() < 0.95
    assert conformal.refer_threshold(np.zeros(3, bool), np.ones(3), 0.95) == 0


def test_all_is_chosen_without_the_hold_out(world):
    """Other hold-out diagnoses change the figures, and nothing that is shipped."""
    cases, holdout, found, first = world
    other = holdout.assign(diagnosis=holdout.diagnosis.to_numpy()[::-1])
    again = made_ensemble(found, cases, other)
    assert again.calibration == first.calibration
    assert again.blend == first.blend
    assert again.metrics["hold_out"]["macro_auc"] != first.metrics["hold_out"]["macro_auc"]
    assert again.metrics["out_of_fold"] == first.metrics["out_of_fold"]


def test_the_calibration_file_gives_the_tables_probabilities(world):
    """What the service will compute from calibration.json is what was measured."""
    _, _, found, result = world
    text = json.dumps(result.calibration, allow_nan=False)
    calibration = Calibration.from_json(json.loads(text))
    order = [(row["model"], row["fold"]) for row in result.calibration["members"]]
    assert order == [(m.model, m.fold) for m in found]
    ids, logits = members.logits(found, "hold_out")
    table = result.predictions.set_index("image_id").loc[ids, [f"probability_{c}" for c in NINE.classes]]
    assert calibration.probabilities(logits) == pytest.approx(table.to_numpy(), abs=1e-12)


def test_the_calibration_has_the_temperature_that_is_fitted_out_of_fold_and_each_centres_frequencies(world):
    cases, holdout, found, result = world
    calibration = Calibration.from_json(result.calibration)
    train, prior = members.labelled(cases, holdout, "out_of_fold"), members.natural_prior(cases, NINE)
    fitted = calibrate.fit_beta(*blend.blended(found, calibration.weights, prior, train))
    assert calibration.beta == fitted != 1
    assert set(calibration.centres) == {"HAM", "BCN", "MSK", "SIIM"}
    told = calibration.told("HAM")
    assert told.beta == fitted
    assert told.prior == pytest.approx(members.priors_by_centre(cases, NINE)["HAM"])


def test_the_decision_holds_what_the_bundle_ships(world):
    result = world[3]
    decision = result.calibration["decision"]
    assert set(decision) == {"malignant_threshold", "sensitivity", "set_thresholds", "set_coverage"}
    assert len(decision["set_thresholds"]) == len(NINE.classes)
    point = result.metrics["out_of_fold"]["operating_point"]
    assert point["sensitivity"]["value"] >= 0.95
    sets = result.metrics["out_of_fold"]["prediction_sets"]
    assert all(row["covered"] >= 0.89 for row in sets["per_class"].values())


def test_the_share_of_the_hold_out_that_is_declined_is_counted_by_centre(world):
    cases, holdout, found, result = world
    near = OodDetector(result.detector.means, tuple(2 * scale for scale in result.detector.scales))
    truth = members.labelled(cases, holdout, "hold_out")
    answers = Answers.of(result.predictions, NINE, members.natural_prior(cases, NINE), truth)
    figures = ood.on_hold_out(near, found, answers, FAST)
    ids = list(answers.cases.image_id)
    rows = [m.frame[m.frame.split == "hold_out"].set_index("image_id").middle.loc[ids] for m in found]
    above = near.scores([np.stack(list(row)) for row in rows]) > 1
    assert 0 < above.mean() < 1
    assert figures["false_alarms"]["value"] == pytest.approx(above.mean(), abs=1e-6)
    centre = answers.cases.centre.to_numpy()
    assert set(figures["centres"]) == set(centre)
    for name, row in figures["centres"].items():
        own = above[centre == name]
        assert (row["cases"], row["false_alarms"]) == (len(own), pytest.approx(own.mean(), abs=1e-6))
    assert set(result.metrics["hold_out"]["out_of_distribution"]) == {"false_alarms", "centres"}
    none = ood.on_hold_out(near, found, answers.where(np.zeros(len(answers), bool)), FAST)
    assert (none["false_alarms"]["value"], none["centres"]) == (None, {})


def test_another_wanted_sensitivity_moves_the_threshold(world):
    cases, holdout, _, result = world
    train = members.labelled(cases, holdout, "out_of_fold")
    answers = Answers.of(result.predictions, NINE, members.natural_prior(cases, NINE), train)
    low, high = (
        decide(answers, EnsembleParams(sensitivity=share))["malignant_threshold"] for share in (0.8, 0.99)
    )
    assert high < low


def test_the_gate_finds_its_figures_in_the_metrics(world):
    from dermaflow.bundle.gate import gate, joined
    from dermaflow.bundle.params import GateParams

    limits = GateParams(
        min_balanced_accuracy=0, min_melanoma_auc=0, min_macro_auc=0, max_calibration_error=1, max_flipped=1
    )
    assert gate("abc", world[3].metrics, joined([]), limits)["passed"]


def test_all_files_are_written_and_the_table_is_as_declared(project, world):
    result = world[3]
    with outputs.replacing(outputs.path("ensemble"), folder=True) as folder:
        result.write(folder)
    written = sorted(
        p.relative_to(outputs.path("ensemble")).as_posix() for p in outputs.path("ensemble").rglob("*.*")
    )
    assert written == [
        "blend.json",
        "calibration.json",
        "headline.json",
        "metrics.json",
        "ood.npz",
        "plots/confusion.png",
        "plots/reliability.png",
        "plots/roc.png",
        "plots/subgroups.png",
        "predictions.parquet",
        "report.html",
    ]
    headline = outputs.read_json(outputs.path("ensemble/headline.json"))
    assert {split: len(figures) for split, figures in headline.items()} == {"out_of_fold": 4, "hold_out": 4}
    assert headline["out_of_fold"]["melanoma_auc"] == result.metrics["out_of_fold"]["melanoma_auc"]["value"]
    table = outputs.ensemble_predictions.read()
    assert list(outputs.ensemble_predictions.check(table)) == list(table)
    assert table[[f"probability_{c}" for c in NINE.classes]].sum(axis=1).to_numpy() == pytest.approx(1)
    assert table.image_id.is_unique


def test_the_report_says_what_was_fitted_and_how_often_the_hold_out_was_scored(world):
    text = world[3].report_html
    assert "Members: 3 of a, 3 of b; weights equal" in text
    assert "scored 3 times: by model a, by model b, by the ensemble" in text
    assert "When to refer" in text
    assert "Prediction sets" in text
    assert "Images of other things" in text


def test_the_report_gives_what_was_asked_for_as_it_was_asked(world):
    cases, holdout, found, plain = world
    asked = {"sensitivity": 0.995, "coverage": 0.975, "false_alarms": 0.025}
    for text, sensitivity, coverage, alarms in (
        (plain.report_html, 95, 90, 1),
        (made_ensemble(found, cases, holdout, **asked).report_html, 99.5, 97.5, 2.5),
    ):
        assert f"for a sensitivity of {sensitivity} %;" in text
        assert f"hold the diagnosis of {coverage} % of each" in text
        assert f"so that {alarms} % of images like them" in text


def test_where_not_all_folds_are_trained_only_their_cases_are_answered_out_of_fold(world):
    cases, holdout, found, _ = world
    trained = [member for member in found if member.fold < 2]
    result = made_ensemble(trained, cases, holdout)
    inside = cases[(cases.split == "train") & cases.fold.isin([0, 1])]
    assert 0 < len(inside) < (cases.split == "train").sum()
    assert result.metrics["out_of_fold"]["cases"] == len(inside)
    assert result.metrics["hold_out"]["cases"] == len(holdout)
    told = result.predictions[result.predictions.split == "out_of_fold"]
    assert set(told.image_id) == set(inside.image_id)


def _softmax(values):
    e = np.exp(values - values.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)
