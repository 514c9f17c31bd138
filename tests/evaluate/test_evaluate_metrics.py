"""Each figure against a slow second way and against the challenges' own scorer or scikit-learn."""

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics

from dermaflow.evaluate import metrics


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def answers(rng):
    """Targets and probabilities of 300 cases in 7 classes."""
    target = rng.choice(7, 300, p=[0.1, 0.4, 0.2, 0.1, 0.1, 0.05, 0.05])
    probability = rng.dirichlet(np.ones(7) * 0.7, 300)
    probability[np.arange(300), target] += 0.4
    return target, probability / probability.sum(axis=1, keepdims=True)


def test_balanced_accuracy_is_the_mean_of_the_sensitivities(answers):
    target, probability = answers
    decided = metrics.decide(probability)
    slow = np.mean(
        [np.mean([d == c for d, t in zip(decided, target, strict=True) if t == c]) for c in range(7)]
    )
    found = metrics.balanced_accuracy(metrics.confusion(target, decided, 7))
    assert found == pytest.approx(slow)
    assert found == pytest.approx(sklearn.metrics.balanced_accuracy_score(target, decided))


def test_a_constant_answer_scores_one_over_k():
    counts = metrics.confusion(np.array([0, 0, 0, 1, 2]), np.zeros(5, int), 3)
    assert metrics.balanced_accuracy(counts) == pytest.approx(1 / 3)


def test_balanced_accuracy_is_not_defined_without_a_case_of_a_class_unless_asked_over_the_present():
    counts = metrics.confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 3)
    assert np.isnan(metrics.balanced_accuracy(counts))
    assert metrics.balanced_accuracy(counts, over_present=True) == pytest.approx(0.75)
    assert np.isnan(metrics.balanced_accuracy(np.zeros((3, 3), int), over_present=True))


@pytest.mark.parametrize("bad", [np.zeros((2, 4), int), np.zeros(3, int), np.array([[1, -1], [0, 1]])])
def test_a_malformed_confusion_matrix_is_refused(bad):
    with pytest.raises(ValueError, match="confusion matrix"):
        metrics.balanced_accuracy(bad)


def test_a_tie_for_the_highest_counts_as_wrong():
    scores = np.array([[0.4, 0.4, 0.2], [0.5, 0.3, 0.2]])
    assert metrics.decide(scores).tolist() == [metrics.UNDECIDED, 0]
    counts = metrics.confusion(np.array([0, 0]), metrics.decide(scores), 3)
    assert counts[0].tolist() == [1, 0, 0, 1]
    assert metrics.sensitivities(counts)[0] == 0.5
    assert metrics.accuracy(np.array([0, 0]), metrics.decide(scores)) == 0.5


def official(target, probability):
    from isic_challenge_scoring import ClassificationMetric, ClassificationScore

    codes = ["MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"]
    index = [f"ISIC_{i:07d}" for i in range(len(target))]
    truth = pd.DataFrame(np.eye(7)[target], index=index, columns=codes)
    said = pd.DataFrame(probability, index=index, columns=codes)
    weights = pd.DataFrame(1.0, index=index, columns=["score_weight", "validation_weight"])
    return ClassificationScore(truth, said, weights, ClassificationMetric.BALANCED_ACCURACY)


def test_the_challenges_own_scorer_gives_the_same_figures_ties_included(answers):
    target, probability = answers
    probability = probability.round(1)  # with ties for the highest, and tied scores
    score = official(target, probability)
    decided = metrics.decide(probability)
    assert (decided == metrics.UNDECIDED).any()
    assert score.overall == pytest.approx(metrics.balanced_accuracy(metrics.confusion(target, decided, 7)))
    assert score.per_category["auc"].to_numpy() == pytest.approx(metrics.one_vs_rest_auc(target, probability))
    assert score.per_category["auc"].mean() == pytest.approx(metrics.macro_auc(target, probability))
    ours = [metrics.average_precision(target == c, probability[:, c]) for c in range(7)]
    assert score.per_category["ap"].to_numpy() == pytest.approx(ours)


def test_auc_counts_the_pairs_in_the_right_order(rng):
    y, p = rng.random(40) < 0.3, rng.random(40).round(1)  # with ties
    pairs = [(a > b) + (a == b) / 2 for a in p[y] for b in p[~y]]  # slow, by definition
    assert metrics.auc(y, p) == pytest.approx(np.mean(pairs))
    assert metrics.auc(y, p) == pytest.approx(sklearn.metrics.roc_auc_score(y, p))


@pytest.mark.parametrize("y", [[True, True], [False, False], []])
def test_auc_is_not_defined_without_both_sides(y):
    assert np.isnan(metrics.auc(np.array(y, bool), np.zeros(len(y))))


def test_macro_auc_leaves_out_classes_without_a_case():
    target, p = np.array([0, 0, 1]), np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.3, 0.7, 0]])
    assert metrics.macro_auc(target, p) == pytest.approx(0.5)  # class 0 and 1: one of two pairs each


def test_average_precision_is_the_mean_precision_at_the_positives(rng):
    y, p = rng.random(60) < 0.3, rng.permutation(60) / 60  # no ties
    slow = np.mean([(y & (p >= t)).sum() / (p >= t).sum() for t in p[y]])
    assert metrics.average_precision(y, p) == pytest.approx(slow)
    assert np.isnan(metrics.average_precision(np.zeros(3, bool), np.arange(3.0)))


def test_the_roc_curve_is_scikit_learns(rng):
    y, p = rng.random(80) < 0.4, rng.random(80).round(1)
    false_alarms, sensitivity, threshold = metrics.roc(y, p)
    peer = sklearn.metrics.roc_curve(y, p, drop_intermediate=False)
    for ours, theirs in zip((false_alarms, sensitivity, threshold), peer, strict=True):
        assert ours == pytest.approx(theirs)


def test_specificity_is_the_share_of_the_others_that_are_not_called_so(answers):
    target, probability = answers
    decided = metrics.decide(probability)
    slow = [np.mean(decided[target != c] != c) for c in range(7)]
    assert metrics.specificities(metrics.confusion(target, decided, 7)) == pytest.approx(slow)


def test_log_loss_and_brier_are_scikit_learns(answers):
    target, p = answers
    assert metrics.log_losses(target, p).mean() == pytest.approx(sklearn.metrics.log_loss(target, p))
    brier = sklearn.metrics.brier_score_loss(target, p, labels=range(7), scale_by_half=False)
    assert metrics.briers(target, p).mean() == pytest.approx(brier)


def test_an_impossible_answer_has_a_finite_loss():
    assert metrics.log_losses(np.array([0]), np.array([[0.0, 1.0]]))[0] == pytest.approx(-np.log(1e-15))


def test_the_calibration_error_is_the_mean_gap_over_the_bins(rng):
    confidence = rng.random(200)
    correct = rng.random(200) < confidence**2
    slow = 0.0
    for b in range(10):
        own = [i for i in range(200) if b / 10 < confidence[i] <= (b + 1) / 10]
        slow += len(own) / 200 * abs(np.mean(confidence[own]) - np.mean(correct[own])) if own else 0
    assert metrics.expected_calibration_error(confidence, correct, 10) == pytest.approx(slow)


def test_each_bin_begins_above_its_lower_edge_and_holds_its_upper_one():
    for bins in range(2, 101):
        edges = np.arange(bins + 1) / bins
        for confidence in (np.nextafter(edges[:-1], 1), edges[1:]):  # the least and the most of each bin
            cases, stated, _ = metrics.reliability(confidence, np.ones(bins, bool), bins)
            assert (cases == 1).all()
            assert (stated == confidence).all()
    assert metrics.reliability(np.zeros(1), np.ones(1, bool), 15)[0].tolist() == [1] + [0] * 14


def test_who_is_always_sure_and_right_half_the_time_is_off_by_one_half():
    assert metrics.expected_calibration_error(np.ones(4), np.array([True, False] * 2)) == pytest.approx(0.5)
    assert np.isnan(metrics.expected_calibration_error(np.zeros(0), np.zeros(0, bool)))
