"""Stress: edits that keep shape and diagnosis, and the counting of flips with made-up networks."""

import io
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import PIL.Image
import pytest

from dermaflow.bundle.apply import Calibration
from dermaflow.errors import DataError
from dermaflow.evaluate.perturbations import PERTURBATIONS, masked_lesion
from dermaflow.evaluate.stress import choose, decode, encode, reduced, stress
from dermaflow.images.params import ImagesParams
from dermaflow.images.prepare import prepare
from dermaflow.taxonomy import SEVEN
from helpers_icc import DISPLAY_P3, in_display_p3


def photo(seed=0, height=120, width=160):
    """Skin with a dark lesion in the middle, and its mask."""
    rng = np.random.default_rng(seed)
    skin = np.full((height, width, 3), (205, 160, 140)) + rng.normal(0, 4, (height, width, 3))
    y, x = np.ogrid[:height, :width]
    mask = (x - width / 2) ** 2 + (y - height / 2) ** 2 < (height / 5) ** 2
    skin[mask] -= 90
    return np.clip(skin, 0, 255).astype(np.uint8), mask


def png(mask):
    return cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes()


class DarkIsMelanoma:
    """A network in one line: the darker the middle, the surer of melanoma; else nevus."""

    def pixels(self, files):
        return np.stack([decode(file, "x") for file in files])

    def __call__(self, pixels, patients):
        assert len(pixels) == len(patients)
        height, width = pixels.shape[1:3]
        middle = pixels[:, height // 2 - 4 : height // 2 + 4, width // 2 - 4 : width // 2 + 4]
        darkness = (150 - middle.mean(axis=(1, 2, 3))) / 20
        logits = np.zeros((len(pixels), 1, 7))
        logits[:, 0, 0], logits[:, 0, 1] = darkness, -darkness
        return SimpleNamespace(logits=logits, ood_scores=None)


class Blind(DarkIsMelanoma):
    """Says melanoma whatever it sees."""

    def __call__(self, pixels, patients):
        logits = np.zeros((len(pixels), 1, 7))
        logits[..., 0] = 5
        return SimpleNamespace(logits=logits, ood_scores=None)


BUNDLE = SimpleNamespace(
    view=SEVEN,
    calibration=Calibration(np.ones(1), np.zeros((1, 7)), 1.0, np.full(7, 1 / 7)),
    decision={"malignant_threshold": 0.5},
)


def ask(runner, count=3, *, masks=None, **how):
    made = {f"ISIC_{i}": photo(i) for i in range(count)}
    files = {name: encode(rgb) for name, (rgb, _) in made.items()}
    lesions = {name: png(mask) for name, (_, mask) in made.items()} if masks is None else masks
    patients = {name: np.zeros(11, np.float32) for name in made}
    return stress(runner, files, lesions, patients, BUNDLE, **how)


@pytest.mark.parametrize("name", ["ink", "ruler", "dark_border"])
@pytest.mark.parametrize("shape", [(512, 512), (450, 600), (512, 768), (544, 968), (600, 450), (968, 544)])
def test_what_is_drawn_lies_where_the_networks_look(name, shape):
    """They see the centred square alone (`images.crop: center`)."""
    rgb, mask = photo(2, *shape)
    one, other = (
        prepare(encode(image), ImagesParams().recipe(64, 64)).astype(int)
        for image in (rgb, PERTURBATIONS[name](rgb, mask))
    )
    assert (abs(one - other) > 25).any(axis=2).mean() > 0.01


@pytest.mark.parametrize("name", PERTURBATIONS)
@pytest.mark.parametrize("shape", [(120, 160), (84, 84), (30, 45)])
def test_an_edit_changes_the_image_keeps_its_shape_and_repeats_itself(name, shape):
    rgb, mask = photo(1, *shape)
    before = rgb.copy()
    edited = PERTURBATIONS[name](rgb, mask)
    assert edited.shape == rgb.shape
    assert edited.dtype == np.uint8
    assert (edited != rgb).any()
    assert (rgb == before).all()  # the original is left alone
    assert (edited == PERTURBATIONS[name](rgb, mask)).all()


def test_ink_and_hair_lie_differently_on_different_images():
    (one, _), (other, _) = photo(1), photo(2)
    for name in ("ink", "hair"):
        where = [
            np.abs(PERTURBATIONS[name](rgb, None).astype(int) - rgb).max(axis=2) > 20 for rgb in (one, other)
        ]
        assert (where[0] != where[1]).any()


def test_a_masked_lesion_looks_like_the_skin_around_it():
    rgb, mask = photo()
    edited = masked_lesion(rgb, mask)
    skin = rgb[~mask].mean(axis=0)
    assert np.abs(edited[mask].mean(axis=0) - skin).max() < 3
    far = ~cv2.dilate(mask.astype(np.uint8), np.ones((25, 25))).astype(bool)
    assert (edited[far] == rgb[far]).all()
    with pytest.raises(ValueError, match="without its mask"):
        masked_lesion(rgb, None)


def test_a_lesion_that_fills_the_picture_can_be_masked():
    rgb, _ = photo()
    assert masked_lesion(rgb, np.ones(rgb.shape[:2], bool)).std(axis=(0, 1)).max() < 1


def test_a_network_that_looks_at_the_lesion_changes_its_mind_without_it():
    found = ask(DarkIsMelanoma())
    masked = found["perturbations"]["masked_lesion"]
    assert masked["decision_flipped"] == 1
    assert masked["refer_flipped"] == 1
    assert masked["still_referred"] == 0
    assert masked["malignant_probability_change"] < -0.5
    assert found["perturbations"]["jpeg"]["decision_flipped"] == 0
    assert found["images"] == 3


def test_a_network_that_reads_the_background_is_as_sure_without_the_lesion():
    masked = ask(Blind())["perturbations"]["masked_lesion"]
    assert masked["decision_flipped"] == 0
    assert masked["still_referred"] == 1
    assert masked["confidence_after"] == masked["confidence_before"] > 0.9


@pytest.mark.parametrize("masks", [{}, {"ISIC_0": b"no picture", "ISIC_1": png(np.zeros((120, 160), bool))}])
def test_without_lesions_in_masks_only_the_masked_lesion_is_not_defined(masks):
    found = ask(DarkIsMelanoma(), masks=masks)["perturbations"]
    assert found["masked_lesion"]["images"] == 0
    assert found["masked_lesion"]["decision_flipped"] is None
    assert found["hair"]["images"] == 3


def test_the_share_of_edited_images_that_would_be_declined_is_counted():
    class BrightIsStrange(DarkIsMelanoma):
        def __call__(self, pixels, patients):
            said = super().__call__(pixels, patients)
            said.ood_scores = pixels.mean(axis=(1, 2, 3)) / self.border
            return said

    known = ask(DarkIsMelanoma(), names=["brighter"])["perturbations"]["brighter"]
    assert known["declined"] is None
    for border, share in ((1.0, 1), (300.0, 0)):
        BrightIsStrange.border = border
        assert ask(BrightIsStrange(), names=["brighter"])["perturbations"]["brighter"]["declined"] == share


def test_flips_in_either_direction_count_and_who_stays_referred_is_asked_of_the_referred():
    """Two are referred at first; edited, one of them is not any more, and two others are."""

    class Told(DarkIsMelanoma):
        said = iter([([5, 5, -5, -5, -5], [2, 2, 2, 2, 0]), ([5, -5, 5, 5, -5], [0, 0, 2, 0, 0])])

        def __call__(self, pixels, patients):
            melanoma, ood_scores = next(self.said)
            logits = np.zeros((len(pixels), 1, 7))
            logits[:, 0, 0], logits[:, 0, 1] = melanoma, np.negative(melanoma)
            return SimpleNamespace(logits=logits, ood_scores=np.array(ood_scores, float))

    found = ask(Told(), 5, names=["masked_lesion"])["perturbations"]["masked_lesion"]
    assert found["refer_flipped"] == found["decision_flipped"] == 3 / 5
    assert found["still_referred"] == 1 / 2
    assert found["declined"] == 1 / 5


def test_a_decision_is_that_of_the_decision_scores():
    """Most are nevi: what is one by probability before and after becomes a melanoma for its rarity."""

    class Unsure(DarkIsMelanoma):
        said = iter([-3.0, -1.0])

        def __call__(self, pixels, patients):
            logits = np.zeros((len(pixels), 1, 7))
            logits[..., 2:] = -9
            logits[:, 0, 0] = next(self.said)
            return SimpleNamespace(logits=logits, ood_scores=None)

    prior = np.array([0.1, 0.84, *[0.012] * 5])
    bundle = SimpleNamespace(**vars(BUNDLE))
    bundle.calibration = Calibration(np.ones(1), np.zeros((1, 7)), 1.0, prior)
    name, (rgb, _) = "ISIC_0", photo(0)
    files, patients = {name: encode(rgb)}, {name: np.zeros(11, np.float32)}
    found = stress(Unsure(), files, {}, patients, bundle, names=["darker"])["perturbations"]["darker"]
    assert (found["decision_flipped"], found["refer_flipped"]) == (1, 0)


def test_more_images_than_a_batch_are_all_asked_about():
    found = ask(DarkIsMelanoma(), 18, names=["darker", "masked_lesion"])
    assert found["images"] == found["perturbations"]["darker"]["images"] == 18
    assert list(found["perturbations"]) == ["darker", "masked_lesion"]


def test_the_gate_reads_what_stress_writes():
    from dermaflow.bundle.gate import gate, joined
    from dermaflow.bundle.params import GateParams

    limits = GateParams(
        min_balanced_accuracy=0, min_melanoma_auc=0, min_macro_auc=0, max_calibration_error=1, max_flipped=0.5
    )
    good = {"balanced_accuracy": 1, "melanoma_auc": 1, "macro_auc": 1, "ece": 0}
    result = gate("abc", {"hold_out": good}, joined([ask(Blind()), ask(Blind(), 0)]), limits)
    assert result["passed"]
    assert result["checks"]["stress.hair"]["figure"] == 0
    assert "stress.masked_lesion" not in result["checks"]


def test_large_images_are_reduced_to_the_shorter_side_and_small_ones_left():
    rgb, _ = photo(0, 200, 300)
    assert reduced(rgb, 100).shape == (100, 150, 3)
    assert reduced(rgb, 200) is rgb


def test_encoding_and_decoding_keeps_every_pixel():
    rgb, _ = photo()
    assert (decode(encode(rgb), "x") == rgb).all()
    with pytest.raises(DataError, match="ISIC_9: the image is truncated or damaged"):
        decode(encode(rgb)[:60], "ISIC_9")
    with pytest.raises(DataError, match="ISIC_9: neither a JPEG nor a PNG"):
        decode(b"no image", "ISIC_9")


def test_what_is_edited_has_the_colours_that_the_file_means():
    rgb, _ = photo()
    box = io.BytesIO()
    PIL.Image.fromarray(in_display_p3(rgb)).save(box, "PNG", icc_profile=DISPLAY_P3)
    assert np.abs(decode(box.getvalue(), "x").astype(int) - rgb).mean() < 1.2


def test_one_image_of_each_group_is_chosen_before_any_second():
    cases = pd.DataFrame(
        {
            "image_id": [f"ISIC_{i}" for i in range(12)],
            "group": [0, 0, 0, 0, 1, 1, 1, 1, 2, 3, 3, 3],
            "split": ["hold_out"] * 9 + ["train"] * 3,
        }
    )
    chosen = choose(cases, 3, seed=1)
    assert sorted(cases.set_index("image_id").group[chosen]) == [0, 1, 2]
    assert chosen == choose(cases.sample(frac=1, random_state=3), 3, seed=1)
    assert len(choose(cases, 100, seed=1)) == 9
    assert any(choose(cases, 3, seed=seed) != chosen for seed in range(2, 6))
