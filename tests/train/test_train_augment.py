"""Sixteen augmentations, each for itself, each draw its own."""

import warnings

import albumentations
import cv2
import numpy as np
import pandas as pd
import pytest

from dermaflow.errors import TrainingError
from dermaflow.images import contact
from dermaflow.taxonomy import VIEWS
from dermaflow.train import augment as module
from dermaflow.train import sheet
from dermaflow.train.augment import Augment
from dermaflow.train.params import AugmentParams

SIXTEEN = tuple(AugmentParams.model_fields)
PX = 48
MOVING = {
    "rotate": {"limit_deg": 180},
    "optical_distortion": {"limit": 1},
    "grid_distortion": {"limit": 1},
    "elastic": {"alpha": 300, "sigma": 4},
    "shift_scale_rotate": {"shift": 0.4, "scale": 0.4, "rotate_deg": 180},
}
"""Those that move pixels, each as far as it goes."""


@pytest.fixture(scope="module")
def pixels():
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (12, 12, 3), np.uint8)
    return np.kron(coarse, np.ones((4, 4, 1), np.uint8)) // 2 + rng.integers(0, 99, (PX, PX, 3), np.uint8)


def only(*names, p=1.0):
    return AugmentParams.model_validate({name: {"p": p if name in names else 0} for name in SIXTEEN})


def test_there_are_sixteen():
    assert len(SIXTEEN) == 16


@pytest.mark.parametrize("name", SIXTEEN)
def test_each_augmentation_changes_the_image_alone(name, pixels):
    augment = Augment(only(name))
    found = [augment(pixels, 1, 0, draw) for draw in range(4)]
    assert all(image.shape == pixels.shape and image.dtype == np.uint8 for image in found)
    assert any((image != pixels).any() for image in found)


def test_all_switched_off_leaves_every_pixel(pixels):
    assert np.array_equal(Augment(only())(pixels, 1, 0, 0), pixels)


def test_all_sixteen_work_together(pixels):
    grouped = ("motion_blur", "median_blur", "gaussian_blur", "gauss_noise")
    grouped += ("optical_distortion", "grid_distortion", "elastic")
    chances = {name: {"p": 0.25 if name in grouped else 0.7} for name in SIXTEEN}
    augment = Augment(AugmentParams.model_validate(chances))
    seen = {augment(pixels, 1, 0, draw).tobytes() for draw in range(50)}
    assert len(seen) == 50


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("rotate", "limit_deg", 20), ("brightness", "limit", 0.9), ("contrast", "limit", 0.9),
        ("motion_blur", "kernel_px", 15), ("median_blur", "kernel_px", 15),
        ("gaussian_blur", "kernel_px", 15), ("gauss_noise", "variance", (900, 1000)),
        ("optical_distortion", "limit", 0.1),
        ("grid_distortion", "limit", 0.1), ("grid_distortion", "steps", 2), ("elastic", "alpha", 30),
        ("elastic", "sigma", 5), ("clahe", "clip", 1), ("hue_saturation_value", "hue", 90),
        ("hue_saturation_value", "saturation", 200), ("hue_saturation_value", "value", 200),
        ("shift_scale_rotate", "shift", 0.4), ("shift_scale_rotate", "scale", 0.4),
        ("shift_scale_rotate", "keep_ratio", True), ("shift_scale_rotate", "rotate_deg", 170),
        ("cutout", "side", 0.8),
    ],
)  # fmt: skip
def test_each_parameter_of_an_augmentation_is_heard(name, field, value, pixels):
    large = cv2.resize(pixels, (160, 160), interpolation=cv2.INTER_NEAREST)
    changed = AugmentParams.model_validate(only(name).model_dump() | {name: {"p": 1, field: value}})
    same = [np.array_equal(Augment(params)(large, 1, 0, 3), Augment(only(name))(large, 1, 0, 3)) for params in
            (only(name), changed)]  # fmt: skip
    assert same == [True, False]


@pytest.mark.parametrize("name", [*MOVING])
def test_what_moves_pixels_brings_in_no_black_border(name):
    plain = np.full((PX, PX, 3), 200, np.uint8)
    augment = Augment(
        AugmentParams.model_validate({**only(name).model_dump(), name: {"p": 1, **MOVING[name]}})
    )
    assert all((augment(plain, seed=1, epoch=0, draw=draw) == 200).all() for draw in range(50))


@pytest.mark.parametrize("keep_ratio", [True, False])
def test_a_round_lesion_stays_round_if_the_ratio_is_kept(keep_ratio):
    disc = cv2.circle(np.full((200, 200, 3), 220, np.uint8), (100, 100), 50, (90, 60, 50), -1, cv2.LINE_AA)
    moved = {"p": 1, "shift": 0, "scale": 0.4, "rotate_deg": 0, "keep_ratio": keep_ratio}
    augment = Augment(AugmentParams.model_validate({**only().model_dump(), "shift_scale_rotate": moved}))
    sides = [np.ptp(np.argwhere(augment(disc, 1, 0, draw)[..., 0] < 150), axis=0) for draw in range(40)]
    longer = np.array([max(side) / min(side) for side in sides])
    assert np.ptp(np.array(sides)[:, 0]) > 40  # it is drawn larger and smaller
    assert longer.max() < 1.05 if keep_ratio else np.median(longer) > 1.1


def test_no_two_draws_and_no_two_epochs_repeat(pixels):
    augment = Augment(AugmentParams())
    seen = {augment(pixels, 1, epoch, draw).tobytes() for epoch in range(4) for draw in range(25)}
    assert len(seen) == 100


def test_augmentations_are_drawn_independently(pixels):
    augment = Augment(only("brightness", "cutout", p=0.5))
    found = [augment(pixels, 1, 0, draw) for draw in range(400)]
    hole = np.array([(image == 0).all(axis=2).sum() > 200 for image in found])
    bright = np.array(
        [np.abs(image.astype(int) - pixels)[image.any(axis=2)].mean() > 0.01 for image in found]
    )
    for part in (hole & bright, hole & ~bright, bright & ~hole, ~hole & ~bright):
        assert part.mean() == pytest.approx(0.25, abs=0.08)


def test_a_draw_gives_the_same_bytes_whatever_came_before(pixels):
    one, other = Augment(AugmentParams()), Augment(AugmentParams())
    forwards = [one(pixels, 3, 2, draw) for draw in range(8)]
    backwards = [other(pixels, 3, 2, draw) for draw in reversed(range(8))]
    assert all(np.array_equal(a, b) for a, b in zip(forwards, reversed(backwards), strict=True))
    assert not np.array_equal(one(pixels, 4, 2, 0), forwards[0])


def test_of_one_group_at_most_one_is_applied_and_each_by_its_own_chance(pixels):
    params = AugmentParams.model_validate(
        {name: {"p": 0} for name in SIXTEEN} | {"median_blur": {"p": 0.5}, "gauss_noise": {"p": 0.1}}
    )
    augment = Augment(params)
    unchanged = np.mean([np.array_equal(augment(pixels, 1, 0, draw), pixels) for draw in range(400)])
    assert unchanged == pytest.approx(0.4, abs=0.08)


def test_noise_stays_within_its_variance(pixels):
    grey = np.full((PX, PX, 3), 128, np.uint8)
    augment = Augment(only("gauss_noise"))
    deviation = [augment(grey, 1, 0, draw).std() for draw in range(20)]
    assert 1.8 < min(deviation) < max(deviation) < 6  # the square roots of 5 and 30; old names gave 51 to 112


@pytest.mark.parametrize(
    ("name", "value"), [("alpha", 1e30), ("alpha", float("inf")), ("sigma", float("inf"))]
)
def test_what_would_never_end_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        AugmentParams.model_validate({"elastic": {"p": 1, name: value}})


def test_an_argument_of_an_older_version_is_an_error(monkeypatch):
    monkeypatch.setattr(module, "_transforms", lambda _: [albumentations.GaussNoise(var_limit=(5, 30), p=1)])
    warnings.simplefilter("ignore")  # the error is our own doing, not pytest's
    with pytest.raises(UserWarning, match="are not valid"):
        Augment(AugmentParams())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"motion_blur": {"p": 0.6}, "gauss_noise": {"p": 0.6}}, "blurs and noise add up to 1.2"),
        ({"grid_distortion": {"p": 0.9}, "elastic": {"p": 0.9}}, "distortions add up to 1.8"),
        ({"motion_blur": {"p": 0.5, "kernel_px": 4}}, "must be odd"),
        ({"gauss_noise": {"p": 0.5, "variance": [30, 5]}}, "must ascend"),
        ({"cutout": {"p": 0.5, "sides": 1}}, "Extra inputs"),
        ({"elastic": {"p": 0.5, "sigma": 0.5}}, "greater than or equal to 1"),
    ],
)
def test_wrong_values_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        AugmentParams.model_validate(wrong)


def test_the_sheet_shows_each_image_as_stored_and_in_its_draws(tmp_path, reader):
    out = tmp_path / "augmented.png"
    cases = pd.DataFrame(
        {
            "image_id": [f"i{number}" for number in range(40)],
            "diagnosis": "NV",
            "split": "train",
            "fold": [1] * 5 + [0] * 35,
        }
    )
    sheet.augmented(reader, cases, VIEWS["nine"], 1, Augment(only("cutout")), input_px=PX, seed=1, out=out)
    alone = cases.assign(fold=1)
    with pytest.raises(TrainingError, match=r"^cases\.parquet: no training image is left\."):
        sheet.augmented(reader, alone, VIEWS["nine"], 1, Augment(only()), input_px=PX, seed=1, out=out)
    drawn = cv2.imread(str(out))
    cell, text = contact.CELL_PX, contact.CELL_PX + 20
    assert drawn.shape[0] == sheet.IMAGES * text
    assert drawn.shape[1] == (1 + sheet.DRAWS) * (cell + 4)
    first, second = drawn[20:text, :cell], drawn[20:text, cell + 4 : 2 * cell + 4]
    assert (first != second).any()
    wanted = cv2.resize(reader.pixels("i5", PX)[..., ::-1], (cell, cell), interpolation=cv2.INTER_CUBIC)
    assert np.abs(first.astype(int) - wanted).mean() < 1
