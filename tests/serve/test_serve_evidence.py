"""Where in the image the evidence for a diagnosis lies."""

import base64
from dataclasses import replace

import cv2
import numpy as np
import pytest

from dermaflow.bundle.apply import Calibration
from dermaflow.bundle.run import Outputs
from dermaflow.images.prepare import prepare
from dermaflow.impute.apply import Patient, vectors
from dermaflow.serve.evidence import TILES, explain, log_odds, occlusion, without_tiles
from helpers_bundle import other_thing

SIDE = 40
TILE = SIDE // TILES


class Looking:
    """A bundle of two members of unlike sizes; both say class 2 by how bright one tile's middle is."""

    def __init__(self, bundle, row, column):
        weights = Calibration(np.array([0.4, 0.6]), np.zeros((2, 9)), 2.0, np.ones(9) / 9)
        self.bundle = replace(bundle, calibration=weights)
        self.row, self.column = row, column

    def __call__(self, pixels, patients, *, views):
        assert views == 1
        assert {len(one) for one in pixels.values()} == {len(patients)}
        logits = np.zeros((len(patients), 2, 9))
        for member, images in enumerate(pixels.values()):
            tile = images.shape[1] // TILES
            at = [place * tile + tile // 2 for place in (self.row, self.column)]
            logits[:, member, 2] = images[:, at[0], at[1], 0] / 255
        return Outputs(logits, logits, None)


def two_recipes(bundle, image):
    recipe = bundle.members[0].recipe
    larger = cv2.resize(image, (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_NEAREST)
    return {replace(recipe, input_px=SIDE): image[None], replace(recipe, input_px=2 * SIDE): larger[None]}


@pytest.mark.parametrize("where", [(0, 0), (0, 4), (3, 1), (4, 2)])
def test_the_field_that_the_answer_hangs_on_is_found_by_its_row_and_column(runners, where):
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    image[where[0] * TILE : (where[0] + 1) * TILE, where[1] * TILE : (where[1] + 1) * TILE] = 255
    looking = Looking(runners["nine"].bundle, *where)
    maps, _ = occlusion(two_recipes(looking.bundle, image), np.zeros((1, 11), np.float32), looking)
    assert maps.shape == (9, TILES, TILES)
    assert np.unravel_index(maps[2].argmax(), maps[2].shape) == where
    # One logit of nine, blended with weights that sum to 1 and doubled by beta, falls from 2 to 0.
    assert maps[2].max() == pytest.approx(2, abs=1e-6)
    assert (maps[0] <= 0).all()
    assert maps[0][where] < -0.1
    assert np.count_nonzero(np.abs(maps[2]) > 1e-9) == 1


def test_a_map_is_how_far_the_ensembles_log_odds_fall_without_a_field(runners, jpeg):
    """Asked again by hand for one tile, patient data and calibration included."""
    runner = runners["nine"]
    patient = Patient(80, "female", "torso")
    pixels, vector = runner.pixels([jpeg]), vectors([runner.bundle.imputer.fill(patient)])
    found = explain(jpeg, patient, runner)
    painted = {recipe: without_tiles(one[0])[8:9] for recipe, one in pixels.items()}  # row 1, column 3
    whole, without = (
        log_odds(runner.bundle.calibration.probabilities(runner(case, vector, views=1).logits))[0]
        for case in (pixels, painted)
    )
    assert list(found.maps) == list(runner.bundle.view.classes)
    assert [one[1, 3] for one in found.maps.values()] == pytest.approx(whole - without, abs=1e-4)
    assert np.abs(whole - without).max() > 1e-3


def test_each_field_is_painted_with_the_mean_of_the_rest_and_nothing_else_changes():
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    copies = without_tiles(image)
    assert copies.shape == (TILES**2, SIDE, SIDE, 3)
    changed = (copies != image).any(axis=-1)
    for index, (copy, where) in enumerate(zip(copies, changed, strict=True)):
        row, column = divmod(index, TILES)
        assert where[row * TILE + TILE // 2, column * TILE + TILE // 2]
        rows, columns = (np.flatnonzero(where.any(axis=axis)) for axis in (1, 0))
        window = np.zeros((SIDE, SIDE), bool)
        window[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
        inside = 1 if 0 < row < TILES - 1 else 0
        assert len(np.unique(copy[window], axis=0)) == 1
        assert copy[window][0] == pytest.approx(image[~window].mean(axis=0), abs=0.5)
        assert rows[-1] - rows[0] + 1 == (12 if inside else 10)  # 1.5 tiles of 8 pixels, cut at the edge


@pytest.mark.parametrize("side", [32, 33, 160, 224])
def test_the_windows_leave_no_pixel_out_whatever_the_side(side):
    image = np.full((side, side, 3), 9, np.uint8)
    image[::2] = 200
    changed = (without_tiles(image) != image).any(axis=(0, -1))
    assert changed.all()


def test_the_picture_is_what_the_networks_see(runners, jpeg):
    said = explain(jpeg, Patient(), runners["nine"]).to_json()
    png = np.frombuffer(base64.b64decode(said["seen_png"]), np.uint8)
    seen = cv2.imdecode(png, cv2.IMREAD_COLOR)[..., ::-1]
    assert (seen == prepare(jpeg, runners["nine"].bundle.members[0].recipe)).all()


def test_a_certain_answer_has_finite_log_odds():
    certain = log_odds(np.eye(3))
    assert np.isfinite(certain).all()
    assert (np.diag(certain) > 500).all()
    assert log_odds(np.array([[1.0, 1e-20, 0]]))[0, 0] == pytest.approx(20 * np.log(10))


def test_an_image_of_something_else_is_not_explained_unless_it_is_asked_for(runners, jpeg):
    assert explain(jpeg, Patient(), runners["nine"]).abstained is None
    declined = explain(other_thing(), Patient(), runners["nine"])
    assert declined.abstained
    assert declined.to_json()["maps"] == {}
    assert explain(other_thing(), Patient(), runners["nine"], force=True).to_json()["maps"]
