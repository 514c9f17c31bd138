"""What an epoch shows depends on seed and epoch alone."""

import numpy as np
import pytest
import torch

from dermaflow.errors import TrainingError
from dermaflow.train.augment import Augment
from dermaflow.train.batches import (
    Rows,
    TrainBatches,
    class_weights,
    drawn_prior,
    drawn_shares,
    draws,
    learned_prior,
    log_priors,
    natural_prior,
    plain_batches,
)
from dermaflow.train.params import AugmentParams

TARGETS = np.repeat([0, 1, 3], [64, 16, 4])


def make(rows, reader, *, workers=0, part=(0, 1), batch=8, drawn_images=30, px_in=lambda _epoch: 32):
    augment = Augment(AugmentParams())
    return TrainBatches(
        rows(30),
        reader,
        augment,
        drawn_images=drawn_images,
        batch=batch,
        power=0.5,
        by="class",
        seed=1,
        workers=workers,
        px_in=px_in,
        part=part,
    )


def same(one, other):
    return len(one) == len(other) and all(
        torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)
    )


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
    drawn = np.concatenate([draws(TARGETS, 50, power, 1, epoch) for epoch in range(100)])
    found, wanted = natural_prior(TARGETS[drawn], 4), drawn_prior(TARGETS, power, 4)
    assert found == pytest.approx(wanted, abs=0.004)


def test_a_natural_epoch_shows_each_row_once_in_another_order():
    one, other = (draws(TARGETS, len(TARGETS), 0, 1, epoch) for epoch in (0, 1))
    assert sorted(one) == list(range(len(TARGETS)))
    assert sorted(other) == list(range(len(TARGETS)))
    assert not np.array_equal(one, other)


def test_no_row_comes_again_before_all_of_its_class_have_come():
    counts = np.bincount(draws(TARGETS, 300, 1, 1, 0), minlength=len(TARGETS))
    for target in (0, 1, 3):
        assert np.ptp(counts[target == TARGETS]) <= 1


def test_a_class_too_rare_for_a_place_in_each_epoch_still_comes():
    rare = np.repeat([0, 1], [999, 1])
    drawn = np.concatenate([draws(rare, 20, 0, 1, epoch) for epoch in range(500)])
    assert 2 <= (drawn == 999).sum() <= 25  # 10 expected


def test_any_number_of_workers_gives_the_same_batches(rows, reader):
    wanted = [batch for epoch in (0, 1) for batch in make(rows, reader).epoch(epoch)]
    for workers in (1, 2):
        batches = make(rows, reader, workers=workers)
        assert same(wanted, [batch for epoch in (0, 1) for batch in batches.epoch(epoch)])


def test_an_epoch_is_the_same_whichever_came_before(rows, reader):
    assert same(list(make(rows, reader).epoch(1)), list(make(rows, reader).epoch(1)))
    assert not same(list(make(rows, reader).epoch(0)), list(make(rows, reader).epoch(1)))


def test_two_training_processes_share_the_batch_of_one(rows, reader):
    whole = list(make(rows, reader).epoch(0))
    parts = [list(make(rows, reader, part=(rank, 2)).epoch(0)) for rank in (0, 1)]
    for both, one, other in zip(whole, *parts, strict=True):
        assert torch.equal(both[0][0::2], one[0])
        assert torch.equal(both[0][1::2], other[0])


def test_batches_that_can_not_be_made_are_errors(rows, reader):
    with pytest.raises(TrainingError, match="an epoch of 30 images is smaller than a batch of 64"):
        make(rows, reader, batch=64)
    with pytest.raises(TrainingError, match="a batch of 9 can't be shared by 2 processes"):
        make(rows, reader, batch=9, part=(0, 2))


@pytest.mark.parametrize("workers", [0, 2])
def test_plain_batches_are_the_readers_own_pixels_in_order(workers, rows, reader):
    images = torch.cat([image for image, *_ in plain_batches(rows(11), reader, 32, 4, workers)]).numpy()
    assert all(np.array_equal(image, reader.pixels(f"i{n}", 32)) for n, image in enumerate(images))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_may_show_smaller_images(rows, reader, workers):
    batches = make(rows, reader, workers=workers, px_in=lambda epoch: 16 if epoch < 1 else 32)
    for epoch, side in ((0, 16), (1, 32), (0, 16)):
        assert {image.shape[1:] for image, *_ in batches.epoch(epoch)} == {(side, side, 3)}


def two_centres():
    """Centre 0 has 90 of class 0 and 10 of class 1, centre 1 has 4 of class 1 and 16 of class 2."""
    targets, centres = np.repeat([0, 1, 1, 2], [90, 10, 4, 16]), np.repeat([0, 0, 1, 1], [90, 10, 4, 16])
    count = len(targets)
    return Rows(tuple(f"i{n}" for n in range(count)), np.zeros((count, 11), np.float32), targets, centres)


def test_the_sampler_counts_classes_or_classes_within_each_centre():
    assert drawn_shares(two_centres(), 0, "class", 3) * 120 == pytest.approx(
        np.array([[90, 10, 0], [0, 4, 16]])
    )
    assert drawn_shares(two_centres(), 0, "class_and_centre", 3) * 120 == pytest.approx(
        np.array([[90, 10, 0], [0, 4, 16]])
    )
    assert drawn_shares(two_centres(), 1, "class", 3) == pytest.approx(
        np.array([[1 / 3, 10 / 42, 0], [0, 4 / 42, 1 / 3]])
    )
    assert drawn_shares(two_centres(), 1, "class_and_centre", 3) == pytest.approx(
        np.array([[1 / 4, 1 / 4, 0], [0, 1 / 4, 1 / 4]])
    )


def test_the_draws_follow_what_the_sampler_counts():
    rows = two_centres()
    drawn = draws(rows.strata("class_and_centre"), 400, 1, 1, 0)
    cells = list(zip(rows.centres[drawn], rows.targets[drawn], strict=True))
    assert [cells.count(cell) for cell in ((0, 0), (0, 1), (1, 1), (1, 2))] == [100] * 4


def test_a_logit_adjusted_loss_takes_the_frequencies_of_the_centre():
    shares = drawn_shares(two_centres(), 0, "class_and_centre", 3)
    counts = np.array([[91, 11, 1], [1, 5, 17]])  # one more of each, so that none is impossible
    assert log_priors(shares, 120, "class_and_centre") == pytest.approx(
        np.log(counts / counts.sum(axis=1, keepdims=True))
    )
    everywhere = log_priors(shares, 120, "class")
    assert everywhere == pytest.approx(np.tile(np.log(np.array([91, 15, 17]) / 123), (2, 1)))
