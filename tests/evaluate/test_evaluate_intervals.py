"""Resampled figures: equal to the plain ones on repeated cases, and intervals that respect groups."""

import time

import numpy as np
import pandas as pd
import pytest

from dermaflow.evaluate import figures, intervals, metrics
from dermaflow.evaluate.answers import Answers
from dermaflow.evaluate.params import EvaluateParams
from dermaflow.taxonomy import NINE


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_a_resample_draws_whole_groups_as_many_as_there_are():
    groups = np.array([7, 7, 7, 3, 9, 9, *range(20, 27)])
    weights = intervals.resample(groups, 200, seed=1)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 4] == weights[:, 5]).all()
    assert (weights[:, [0, 3, 4, *range(6, 13)]].sum(axis=1) == 10).all()
    assert len({row.tobytes() for row in weights}) > 5


def test_the_same_seed_draws_the_same():
    groups = np.arange(30)
    first, again, other = (intervals.resample(groups, 10, seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_a_weighted_figure_is_the_plain_figure_of_repeated_cases(rng):
    n, k = 120, 4
    target, p = rng.integers(0, k, n), rng.dirichlet(np.ones(k), n).round(2)  # with ties
    decided = metrics.decide(p)
    weights = intervals.resample(np.arange(n) // 3, 5, seed=0)
    values = metrics.log_losses(target, p)
    weighted = {
        "ba": intervals.balanced_accuracy(target, decided, k),
        "auc": intervals.auc(target == 1, p[:, 1]),
        "macro": intervals.macro_auc(target, p),
        "mean": intervals.mean(values),
    }
    found = {name: intervals.replicate(figure, weights) for name, figure in weighted.items()}
    for row in range(5):
        again = np.repeat(np.arange(n), weights[row])
        t, q = target[again], p[again]
        confusion = metrics.confusion(t, decided[again], k)
        assert found["ba"][row] == pytest.approx(metrics.balanced_accuracy(confusion, over_present=True))
        assert found["auc"][row] == pytest.approx(metrics.auc(t == 1, q[:, 1]))
        assert found["macro"][row] == pytest.approx(metrics.macro_auc(t, q))
        assert found["mean"][row] == pytest.approx(values[again].mean())


def test_a_resample_without_a_positive_case_has_no_auc():
    figure = intervals.auc(np.array([True, False]), np.array([0.9, 0.1]))
    assert np.isnan(figure(np.array([[0, 2]], np.uint16))[0])


def test_a_figure_that_is_mostly_undefined_has_no_interval():
    assert np.isnan(intervals.interval(np.array([0.5, np.nan, np.nan]))).all()
    assert intervals.interval(np.array([0.5, 0.5, np.nan])) == (0.5, 0.5)


def test_few_groups_have_a_value_and_no_interval_however_many_images_they_have(rng):
    values = rng.random(30 * intervals.MIN_GROUPS)
    for count in (0, 1, intervals.MIN_GROUPS - 1, intervals.MIN_GROUPS):
        some = values[: 30 * count]
        weights = intervals.resample(np.arange(len(some)) // 30, 100, seed=0)
        found = figures.figure(intervals.mean(some), weights)
        assert found["value"] == (pytest.approx(some.mean(), abs=1e-6) if count else None)
        if count < intervals.MIN_GROUPS:
            assert found["low"] is found["high"] is None
        else:
            assert found["low"] < found["value"] < found["high"]


@pytest.mark.parametrize("ill", [1, intervals.MIN_GROUPS - 1, intervals.MIN_GROUPS])
def test_few_melanomas_have_no_interval_however_many_other_images_there_are(rng, ill):
    """An AUC of one melanoma among two hundred would be 0.995 (0.985 to 1.000)."""
    positive = np.arange(200) % 100 < ill  # two images a lesion
    weights = intervals.resample(np.arange(200) % 100, 200, seed=0)
    score = rng.random(200) + positive
    auc, sensitivity = intervals.auc(positive, score), intervals.share(score > 1.1, positive)
    found = [figures.figure(auc, weights), figures.figure(sensitivity, weights)]
    found.append(figures.difference(auc, intervals.auc(positive, score[::-1]), weights))
    for one in found:
        assert one["value"] is not None
        assert (one["low"] is None) == (one["high"] is None) == (ill < intervals.MIN_GROUPS)
    assert figures.figure(intervals.share(score > 1.1), weights)["low"] is not None


def test_a_share_that_is_all_or_nothing_has_the_exact_bound_of_its_groups():
    weights = intervals.resample(np.arange(120) // 3, 200, seed=0)  # 40 groups
    right = np.ones(120, bool)
    bound = pytest.approx(0.025 ** (1 / 40), abs=1e-6)
    assert figures.figure(intervals.share(right), weights) == {"value": 1, "low": bound, "high": 1}
    none = figures.figure(intervals.share(~right), weights)
    assert none == {"value": 0, "low": 0, "high": pytest.approx(1 - 0.025 ** (1 / 40), abs=1e-6)}
    within = np.arange(120) < 60
    assert figures.figure(intervals.share(right, within), weights)["low"] == pytest.approx(
        0.025 ** (1 / 20), abs=1e-6
    )
    ill = np.arange(120) < 45  # 15 groups of 40
    perfect = figures.figure(intervals.auc(ill, ill.astype(float)), weights)
    assert perfect["low"] == pytest.approx(0.025 ** (1 / 15), abs=1e-6)
    nothing = figures.difference(intervals.share(right), intervals.share(right), weights)
    assert nothing == {"value": 0, "low": 0, "high": 0}  # they agree case by case: no chance in that
    assert figures.figure(intervals.mean(np.ones(120)), weights) == {"value": 1, "low": 1, "high": 1}


def test_between_the_ends_of_an_interval_lie_95_percent_of_the_resamples(rng):
    replicates = rng.permutation(rng.normal(size=1001))
    ranked = np.sort(replicates)
    assert intervals.interval(replicates) == pytest.approx((ranked[25], ranked[975]))


def test_repeating_every_case_within_its_group_does_not_narrow_the_interval(rng):
    """Twenty copies of an image are one witness, not twenty."""
    correct = (rng.random(50) < 0.7).astype(float)
    once = intervals.replicate(intervals.mean(correct), intervals.resample(np.arange(50), 800, 3))
    groups = np.repeat(np.arange(50), 20)
    copies = intervals.replicate(intervals.mean(np.repeat(correct, 20)), intervals.resample(groups, 800, 3))
    assert copies == pytest.approx(once)


@pytest.mark.parametrize(("truth", "cases"), [(0.6, 80), (0.95, 20)])
def test_the_interval_of_a_share_covers_about_95_percent_of_the_time(rng, truth, cases):
    """Of a share near 1 a third of the samples of 20 have all right."""
    covered = 0
    for trial in range(200):
        right = rng.random(cases) < truth
        weights = intervals.resample(np.arange(cases), 200, seed=trial)
        low, high = intervals.around(intervals.share(right), weights)
        covered += low <= truth <= high
    assert covered / 200 >= 0.89


def test_more_cases_than_the_weights_can_count_are_summed_all_the_same():
    """A weight is a uint16, which ends at 65,535; all answers are right, so every figure is 1."""
    benign, malignant = 70_000, 1_000
    target = np.repeat([NINE.classes.index("NV"), NINE.classes.index("MEL")], [benign, malignant])
    right = Answers(
        NINE, target, np.eye(9)[target], np.full(9, 1 / 9), pd.DataFrame({"group": np.arange(len(target))})
    )
    point = figures.operating_point(right, 0.5, EvaluateParams(bootstrap=100))
    assert point["sensitivity"]["value"] == point["specificity"]["value"] == 1
    assert point["referred"]["value"] == pytest.approx(1 / 71, abs=1e-6)
    one = np.ones((1, len(target)), np.uint16)
    for figure in (
        intervals.auc(target == 1, right.probability[:, 1]),
        intervals.auc(right.malignant, right.malignant_probability),
        intervals.balanced_accuracy(target, right.decided, 9),
        intervals.macro_auc(target, right.probability),
    ):
        assert figure(one) == 1


def test_twenty_thousand_cases_take_seconds(rng):
    target, p = rng.integers(0, 9, 20_000), rng.dirichlet(np.ones(9), 20_000)
    start = time.process_time()
    weights = intervals.resample(np.arange(20_000) // 2, 500, seed=0)
    intervals.replicate(intervals.auc(target == 0, p[:, 0]), weights)
    intervals.replicate(intervals.balanced_accuracy(target, p.argmax(axis=1), 9), weights)
    assert time.process_time() - start < 10
