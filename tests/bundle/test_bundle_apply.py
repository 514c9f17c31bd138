"""From logits to an answer: the arithmetic shared by reports and service."""

import json
from dataclasses import replace

import numpy as np
import pytest

from dermaflow.bundle.apply import Calibration, Frequencies, decision_scores, dihedral_views, softmax
from dermaflow.errors import BundleError


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_the_prior_shift_undoes_a_made_up_sampler(rng):
    """A perfect model trained on re-drawn classes is, after the shift, perfect for the natural ones."""
    natural, drawn = np.array([0.7, 0.25, 0.05]), np.array([0.3, 0.3, 0.4])
    likelihood = rng.random((50, 3))
    learned = np.log(likelihood * drawn)  # what a perfect model says when it saw `drawn`
    calibration = Calibration(np.ones(1), np.log(natural / drawn)[None], 1.0, natural)
    posterior = likelihood * natural / (likelihood * natural).sum(axis=1, keepdims=True)
    assert calibration.probabilities(learned[:, None]) == pytest.approx(posterior)


def test_the_prior_shift_undoes_it_also_where_the_model_is_too_sure(rng):
    """The temperature cools what the model says and leaves the frequencies alone."""
    natural, drawn = np.array([0.7, 0.25, 0.05]), np.array([0.3, 0.3, 0.4])
    likelihood = rng.random((50, 3))
    too_sure = 2.5 * np.log(likelihood * drawn)
    calibration = Calibration(np.ones(1), np.log(natural / drawn)[None], 1 / 2.5, natural)
    posterior = likelihood * natural / (likelihood * natural).sum(axis=1, keepdims=True)
    assert calibration.probabilities(too_sure[:, None]) == pytest.approx(posterior)


def test_members_are_averaged_by_weight_before_the_softmax(rng):
    logits = rng.normal(size=(4, 2, 3))
    calibration = Calibration(np.array([0.25, 0.75]), np.zeros((2, 3)), 2.0, np.ones(3) / 3)
    slow = [softmax(2.0 * (0.25 * row[0] + 0.75 * row[1])) for row in logits]
    assert calibration.probabilities(logits) == pytest.approx(np.array(slow))


def test_a_calibration_survives_its_json(rng):
    there = Frequencies(rng.normal(size=(2, 3)), np.array([0.6, 0.4, 0]))
    calibration = Calibration(
        np.array([0.5, 0.5]), rng.normal(size=(2, 3)), 1.3, np.array([0.2, 0.3, 0.5]), {"there": there}
    )
    again = Calibration.from_json(json.loads(json.dumps(calibration.to_json())))
    logits = rng.normal(size=(5, 2, 3))
    assert (again.probabilities(logits) == calibration.probabilities(logits)).all()
    knowing = again.told("there")
    assert (knowing.probabilities(logits) == calibration.told("there").probabilities(logits)).all()
    assert knowing.prior.tolist() == [0.6, 0.4, 0]


def test_a_centre_that_nobody_learned_from_can_not_be_told(rng):
    calibration = Calibration(np.ones(1), np.zeros((1, 2)), 1.0, np.ones(2) / 2)
    with pytest.raises(BundleError, match=r"no centre 'there'.*Name one of: none; or name none"):
        calibration.told("there")
    here = Frequencies(np.zeros((1, 2)), np.ones(2) / 2)
    with pytest.raises(BundleError, match="Name one of: here"):
        replace(calibration, centres={"here": here}).told("there")


def test_decision_scores_divide_by_the_prior_and_renormalise():
    scores = decision_scores(np.array([[0.8, 0.2]]), np.array([0.9, 0.1]))
    assert scores == pytest.approx(np.array([[0.8 / 0.9, 2.0]]) / (0.8 / 0.9 + 2.0))


def test_a_class_without_prior_keeps_score_zero():
    assert decision_scores(np.array([[0.5, 0.5]]), np.array([1.0, 0.0]))[0, 1] == 0


def test_softmax_of_huge_values_is_finite():
    assert softmax(np.array([1e4, 0.0])) == pytest.approx([1, 0])


@pytest.mark.parametrize("count", [1, 4, 8])
def test_the_views_are_different_symmetries_of_the_square(rng, count):
    pixels = rng.integers(0, 256, (2, 5, 5, 3), dtype=np.uint8)
    views = dihedral_views(pixels, count)
    assert views.shape == (count, 2, 5, 5, 3)
    assert (views[0] == pixels).all()
    assert len({view.tobytes() for view in views}) == count
    assert all((np.sort(view, axis=None) == np.sort(pixels, axis=None)).all() for view in views)


def test_another_number_of_views_is_refused():
    with pytest.raises(ValueError, match="1, 4 or 8"):
        dihedral_views(np.zeros((1, 2, 2, 3), np.uint8), 3)
