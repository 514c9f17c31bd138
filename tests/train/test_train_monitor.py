"""The figures that stop a training."""

import numpy as np
import pytest

from dermaflow.train.monitor import auc, figures, log_ratio


def test_auc_counts_the_pairs_in_the_right_order():
    rng = np.random.default_rng(0)
    y, p = rng.random(60) < 0.3, rng.random(60).round(1)  # with ties
    pairs = [(a > b) + (a == b) / 2 for a in p[y] for b in p[~y]]
    assert auc(y, p) == pytest.approx(np.mean(pairs))
    assert auc(np.ones(3, bool), p[:3]) is None


def test_figures_undo_the_sampler_for_accuracy_and_the_priors_for_balance():
    natural, learned = np.array([0.1, 0.9]), np.array([0.5, 0.5])
    logits = np.array([[0.5, 0.0], [0.0, 0.2], [3.0, 0.0]])  # as a balanced sampler's network says them
    found = figures(logits, np.array([0, 1, 0]), natural, learned, melanoma=0)
    assert found["accuracy"] == pytest.approx(2 / 3)  # the first goes to the class that is 9 times as common
    assert found["balanced_accuracy"] == 1
    assert found["melanoma_auc"] == 1
    odds = np.exp(logits[:, 0] - logits[:, 1]) / 9
    p = odds / (1 + odds)
    assert found["valid_loss"] == pytest.approx(-np.log([p[0], 1 - p[1], p[2]]).mean())


def test_melanoma_auc_goes_by_the_probabilities_with_the_sampler_undone():
    rng = np.random.default_rng(1)
    natural, learned = np.array([0.1, 0.2, 0.7]), np.array([0.2, 0.6, 0.2])
    logits, targets = rng.normal(size=(40, 3)), rng.integers(0, 3, 40)
    odds = np.exp(logits) * natural / learned
    p, y = odds[:, 0] / odds.sum(axis=1), targets == 0
    pairs = np.mean([a > b for a in p[y] for b in p[~y]])
    assert figures(logits, targets, natural, learned, melanoma=0)["melanoma_auc"] == pytest.approx(pairs)


def test_a_class_that_was_never_drawn_is_left_alone():
    assert log_ratio(np.array([0.5, 0.0]), np.array([0.25, 0.0])) == pytest.approx([np.log(2), 0])
