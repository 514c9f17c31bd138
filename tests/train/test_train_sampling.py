"""What an epoch draws follows the shares, and what the logits carry by that is known."""

import numpy as np
import pytest

from dermaflow.errors import TrainingError
from dermaflow.model.params import ModelParams
from dermaflow.train.sampling import (
    Rows,
    Sampling,
    class_weights,
    drawn_prior,
    draws,
    learned_by_centre,
    learned_prior,
    log_priors,
    natural_prior,
)

TARGETS = np.repeat([0, 1, 3], [64, 16, 4])


def by_class(targets, power):
    return Sampling(targets, drawn_prior(targets, power, int(targets.max()) + 1))


def test_power_goes_from_natural_over_square_roots_to_balanced():
    assert drawn_prior(TARGETS, 0, 4) == pytest.approx(natural_prior(TARGETS, 4))
    assert drawn_prior(TARGETS, 0.5, 4) == pytest.approx([8 / 14, 4 / 14, 0, 2 / 14])
    assert drawn_prior(TARGETS, 1, 4) == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3])


@pytest.mark.parametrize("power", [0, 0.5, 1])
def test_balanced_class_weights_make_every_class_count_alike_whatever_the_sampler(power):
    drawn = drawn_prior(TARGETS, power, 4)
    weights = class_weights(drawn, "balanced")
    assert (drawn * weights)[[0, 1, 3]] == pytest.approx(1 / 3)
    assert (drawn * weights).sum() == pytest.approx(1)  # a drawn image's weight on average
    assert learned_prior(drawn, weights) == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3])
    assert np.isfinite(weights).all()


def test_without_class_weights_the_logits_carry_what_was_drawn():
    drawn = drawn_prior(TARGETS, 0.5, 4)
    assert learned_prior(drawn, class_weights(drawn, "none")) == pytest.approx(drawn)


@pytest.mark.parametrize("power", [0, 0.5, 1])
def test_the_draws_follow_the_prior(power):
    drawn = np.concatenate([draws(by_class(TARGETS, power), 50, 1, epoch) for epoch in range(100)])
    found, wanted = natural_prior(TARGETS[drawn], 4), drawn_prior(TARGETS, power, 4)
    assert found == pytest.approx(wanted, abs=0.004)


def test_a_natural_epoch_shows_each_row_once_in_another_order():
    one, other = (draws(by_class(TARGETS, 0), len(TARGETS), 1, epoch) for epoch in (0, 1))
    assert sorted(one) == list(range(len(TARGETS)))
    assert sorted(other) == list(range(len(TARGETS)))
    assert not np.array_equal(one, other)


def test_no_row_comes_again_before_all_of_its_class_have_come():
    counts = np.bincount(draws(by_class(TARGETS, 1), 300, 1, 0), minlength=len(TARGETS))
    for target in (0, 1, 3):
        assert np.ptp(counts[target == TARGETS]) <= 1


def test_a_class_too_rare_for_a_place_in_each_epoch_still_comes():
    rare = np.repeat([0, 1], [999, 1])
    drawn = np.concatenate([draws(by_class(rare, 0), 20, 1, epoch) for epoch in range(500)])
    assert 2 <= (drawn == 999).sum() <= 25  # 10 expected


def two_centres():
    """North has 90 of class 0 and 10 of class 1, South 4 of class 1 and 16 of class 2."""
    targets, centres = np.repeat([0, 1, 1, 2], [90, 10, 4, 16]), np.repeat([0, 0, 1, 1], [90, 10, 4, 16])
    ids, patients = tuple(f"i{n}" for n in range(120)), np.zeros((120, 11), np.float32)
    return Rows(ids, patients, targets, centres, centre_names=("North", "South"))


def sampling(power, counts, **weights):
    model = ModelParams(sampler_power=power, sampler_counts=counts, centre_weights=weights)
    return Sampling.of(two_centres(), model)


@pytest.mark.parametrize(
    ("power", "counts", "weights", "shares"),
    [
        (0, "class", {}, [[90 / 120, 10 / 120, 0], [0, 4 / 120, 16 / 120]]),
        (0, "class_and_centre", {}, [[90 / 120, 10 / 120, 0], [0, 4 / 120, 16 / 120]]),
        (1, "class", {}, [[1 / 3, 10 / 42, 0], [0, 4 / 42, 1 / 3]]),
        (1, "class_and_centre", {}, [[1 / 4, 1 / 4, 0], [0, 1 / 4, 1 / 4]]),
        (1, "class_and_centre", {"South": 3}, [[1 / 8, 1 / 8, 0], [0, 3 / 8, 3 / 8]]),
        (0, "class_and_centre", {"North": 0.2}, [[18 / 40, 2 / 40, 0], [0, 4 / 40, 16 / 40]]),
    ],
)
def test_the_sampler_counts_classes_or_classes_within_each_centre(power, counts, weights, shares):
    assert sampling(power, counts, **weights).table(two_centres(), 3) == pytest.approx(np.array(shares))


@pytest.mark.parametrize(
    ("counts", "north", "south"),
    [
        ("class", [90 / 90**0.5, 10 / 14**0.5, 0], [0, 4 / 14**0.5, 16 / 16**0.5]),
        ("class_and_centre", [90**0.5, 10**0.5, 0], [0, 4**0.5, 16**0.5]),
    ],
)
def test_within_a_centre_the_logits_carry_what_was_drawn_there(counts, north, south):
    """Square roots of the classes' 90, 14 and 16, or of one centre's 90 and 10 and the other's 4 and 16."""
    shares = sampling(0.5, counts).table(two_centres(), 3)
    found = learned_by_centre(shares, np.ones(3), np.zeros_like(shares), ("North", "South", "East"))
    assert list(found) == ["North", "South"]  # no row is of East
    assert found["North"] == pytest.approx(np.array(north) / np.sum(north))
    assert found["South"] == pytest.approx(np.array(south) / np.sum(south))


def test_within_a_centre_the_logits_carry_weights_too_but_not_what_the_loss_adds():
    model = ModelParams(sampler_power=0.5, sampler_counts="class_and_centre", loss="logit_adjusted")
    shares = Sampling.of(two_centres(), model).table(two_centres(), 3)
    weighted = learned_by_centre(shares, np.array([1.0, 3, 1]), np.zeros_like(shares), ("North", "South"))
    assert weighted["North"] == pytest.approx([0.5, 0.5, 0])
    adjusted = learned_by_centre(
        shares, np.ones(3), log_priors(shares, 120, "class_and_centre"), ("North", "South")
    )
    assert adjusted["North"] == pytest.approx([0.5, 0.5, 0], abs=0.02)  # as if they were equally frequent
    assert adjusted["South"] == pytest.approx([0, 0.5, 0.5], abs=0.02)


def test_the_draws_follow_what_the_sampler_counts():
    rows = two_centres()
    drawn = draws(sampling(1, "class_and_centre", South=3), 400, 1, 0)
    cells = list(zip(rows.centres[drawn], rows.targets[drawn], strict=True))
    assert [cells.count(cell) for cell in ((0, 0), (0, 1), (1, 1), (1, 2))] == [50, 50, 150, 150]


def test_a_weight_for_a_centre_without_images_is_refused():
    with pytest.raises(TrainingError, match=r"no training image is of East.* North, South"):
        sampling(1, "class_and_centre", East=2)
    north = two_centres().take(slice(0, 100))
    model = ModelParams(sampler_counts="class_and_centre", centre_weights={"South": 2})
    with pytest.raises(TrainingError, match="no training image is of South"):
        Sampling.of(north, model)


def test_weights_of_centres_need_a_sampler_that_counts_them():
    with pytest.raises(ValueError, match="centre_weights needs sampler_counts class_and_centre"):
        ModelParams(centre_weights={"HAM": 2})


def test_a_logit_adjusted_loss_takes_the_frequencies_of_the_centre():
    shares = sampling(0, "class_and_centre").table(two_centres(), 3)
    counts = np.array([[91, 11, 1], [1, 5, 17]])  # one more of each, so that none is impossible
    assert log_priors(shares, 120, "class_and_centre") == pytest.approx(
        np.log(counts / counts.sum(axis=1, keepdims=True))
    )
    everywhere = log_priors(shares, 120, "class")
    assert everywhere == pytest.approx(np.tile(np.log(np.array([91, 15, 17]) / 123), (2, 1)))
