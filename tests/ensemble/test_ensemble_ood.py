"""Images of other things: what is wanted is kept on new cases, far ones are told, groups stay together."""

import hashlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.covariance import LedoitWolf

from dermaflow.bundle.ood import BORDER, OodDetector
from dermaflow.ensemble import ood
from dermaflow.errors import DataError
from dermaflow.evaluate.members import Member
from dermaflow.taxonomy import NINE

WIDTHS = (6, 6, 4)


def drawn(rng, count, width):
    """Correlated, skewed and of unlike units, as channels are."""
    mixed = rng.normal(size=(count, width)) @ np.random.default_rng(width).normal(size=(width, width))
    return np.exp(mixed / 3) * 10.0 ** np.arange(width)


def member(seen, fold=0):
    ids = [f"fold{fold}_{number}" for number in range(len(seen))]
    frame = pd.DataFrame({"image_id": ids, "split": "out_of_fold", "middle": list(seen.astype(np.float32))})
    return Member("a", fold, NINE, np.full(9, 1 / 9), {}, frame)


def alone(members):
    """Cases: each image a group of its own, all of one centre."""
    ids = [name for one in members for name in one.frame.image_id]
    return pd.DataFrame({"image_id": ids, "group": range(len(ids)), "centre": "HAM"})


@pytest.fixture
def members():
    rng = np.random.default_rng(3)
    return [member(drawn(rng, 1500, width), fold) for fold, width in enumerate(WIDTHS)]


@pytest.mark.parametrize("wanted", [0.01, 0.1])
def test_new_images_like_the_training_ones_are_declined_no_oftener_than_wanted(members, wanted):
    detector = ood.fit(members, alone(members), wanted)
    rng = np.random.default_rng(8)
    for index, width in enumerate(WIDTHS):  # one member's own distance, as it was chosen by
        one = OodDetector(detector.means[index : index + 1], detector.scales[index : index + 1])
        share = (one.scores([drawn(rng, 20_000, width)]) > BORDER).mean()
        assert wanted / 3 < share < wanted * 2
    together = detector.scores([drawn(rng, 20_000, width) for width in WIDTHS])
    assert (together > BORDER).mean() < wanted  # a mean of members strays less


def test_what_is_far_from_all_of_them_is_told(members):
    detector = ood.fit(members, alone(members), 0.01)
    far = [one.frame.middle.iloc[0][None] * -3 for one in members]
    assert detector.scores(far)[0] > BORDER


def test_the_distance_is_scikit_learns(members):
    detector = ood.fit(members, alone(members), 0.01)
    for index, one in enumerate(members):
        seen = np.stack(one.frame.middle.to_list()).astype(np.float64)
        mean, spread = seen.mean(axis=0), seen.std(axis=0)
        peer = LedoitWolf(assume_centered=True).fit((seen - mean) / spread)
        wanted = np.sqrt(peer.mahalanobis((seen - mean) / spread))
        found = OodDetector(detector.means[index : index + 1], detector.scales[index : index + 1]).scores(
            [seen]
        )
        np.testing.assert_allclose(found / found.mean(), wanted / wanted.mean(), rtol=1e-3)


def test_an_image_is_one_case_whatever_number_of_models_answers_it():
    seen = np.random.default_rng(2).normal(size=(60, 4))
    one = member(seen)
    both = [one, replace(one, model="b")]
    assert ood.fit([one], alone([one]), 0.01) is None  # 1 of 61 is more than 1 %
    assert ood.fit(both, alone([one]), 0.01) is None
    assert ood.fit(both, alone([one]), 0.05) is not None


def test_images_of_one_group_do_not_vouch_for_each_other():
    """In wide features and few images a copy makes an image look familiar; then the border is too near."""
    rng = np.random.default_rng(5)
    twins = [member(np.repeat(rng.normal(size=(60, 40)), 2, axis=0), fold) for fold in range(3)]
    own = alone(twins)
    together = own.assign(group=own.group // 2)
    strangers = [rng.normal(size=(4000, 40))] * 3
    right, wrong = (ood.fit(twins, groups, 0.05) for groups in (together, own))
    assert (right.scores(strangers) > BORDER).mean() < 0.05
    assert (wrong.scores(strangers) > BORDER).mean() > 0.2


def test_a_centre_of_few_images_is_not_declined_as_a_whole():
    """Its images look different; counted by image, nearly all of them would lie beyond the border."""
    rng = np.random.default_rng(6)

    def small(count):
        return rng.normal(size=(count, 6)) * 1.5 + np.array([4, 0, 0, 0, 0, 0])

    both = [member(np.concatenate([rng.normal(size=(4000, 6)), small(60)]))]
    cases = alone(both)
    named = cases.assign(centre=["BCN"] * 4000 + ["SIIM"] * 60)
    declined = []
    for table in (cases, named):
        detector = ood.fit(both, table, 0.01)
        declined.append((detector.scores([small(5000)]) > BORDER).mean())
    assert declined[0] > 0.5
    assert declined[1] < 0.08
    assert (detector.scores([rng.normal(size=(5000, 6))]) > BORDER).mean() < 0.02


@pytest.mark.parametrize("wanted", [0.005, 0.01])
@pytest.mark.parametrize("few", [1, 20, 48, 49, 60])
def test_a_few_images_of_another_centre_do_not_take_the_promise_away(few, wanted):
    seen = [member(np.random.default_rng(7).normal(size=(2000 + few, 4)))]
    cases = alone(seen).assign(centre=["HAM"] * 2000 + ["MSK"] * few)
    detector = ood.fit(seen, cases, wanted)
    share = (detector.scores([np.random.default_rng(8).normal(size=(20_000, 4))]) > BORDER).mean()
    assert share < 2 * wanted


def test_a_member_that_sees_the_same_in_all_images_tells_nothing():
    seen = [member(np.ones((300, 4)))]
    assert ood.fit(seen, alone(seen), 0.01) is None


def test_what_is_no_number_is_refused_by_name(members):
    members[1].frame["middle"] = [*members[1].frame.middle[:-1], np.full(WIDTHS[1], np.nan, np.float32)]
    with pytest.raises(DataError, match=r"1 answers of the network are not finite: fold1_1499"):
        ood.fit(members, alone(members), 0.01)


@pytest.mark.parametrize("value", [0, 5, 5.3])
def test_a_channel_that_never_moves_counts_for_little(members, value):
    still = np.stack(members[0].frame.middle.to_list()).astype(np.float64)
    still[:, 2] = value
    detector = ood.fit([member(still)], alone([member(still)]), 0.01)
    moved = still.copy()
    moved[:, 2] += 1e-5  # as much as two ways of computing it differ
    np.testing.assert_allclose(detector.scores([moved]), detector.scores([still]), rtol=1e-3)


@pytest.mark.parametrize(("images", "groups"), [(98, 98), (500, 4)])
def test_too_few_images_or_groups_promise_nothing(images, groups):
    few = [member(drawn(np.random.default_rng(0), images, 4))]
    cases = alone(few)
    assert ood.fit(few, cases.assign(group=cases.group % groups), 0.01) is None


def test_the_file_gives_the_detector_again_and_has_the_same_bytes(members, tmp_path):
    detector = ood.fit(members, alone(members), 0.01)
    digests = set()
    for name in ("one.npz", "two.npz"):
        detector.write(tmp_path / name)
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1
    again = OodDetector.read(tmp_path / "one.npz")
    seen = [np.stack(one.frame.middle.to_list()[:50]) for one in members]
    np.testing.assert_array_equal(again.scores(seen), detector.scores(seen))
