"""Where in the image the evidence for a diagnosis lies."""

import base64
from dataclasses import replace

import cv2
import numpy as np
import pytest

from dermaflow.bundle.apply import Calibration, softmax
from dermaflow.images.prepare import prepare
from dermaflow.impute.apply import Patient
from dermaflow.serve import inference
from dermaflow.serve.evidence import blended


def pixels(bundle):
    return {member.recipe: np.zeros((1, 32, 32, 3), np.uint8) for member in bundle.members}


def test_a_map_is_the_derivative_of_its_class_log_odds(runners):
    """Held against a finite difference: one field of one class's maps raised a little in all members."""
    bundle = runners["nine"].bundle
    rng = np.random.default_rng(3)
    cams = [rng.normal(size=(1, 9, 4, 4)) for _ in bundle.members]

    def log_odds(maps):
        weights, beta = bundle.calibration.weights, bundle.calibration.beta
        said = softmax(beta * sum(w * cam[0].mean((1, 2)) for w, cam in zip(weights, maps, strict=True)))
        return np.log(said / (1 - said)), said

    before, said = log_odds(cams)
    found = blended(pixels(bundle), cams, bundle, said).maps
    step = 1e-4
    moved = [cam * (1 + step) for cam in cams]
    slope = (log_odds(moved)[0] - before) / step
    assert [one.mean() for one in found.values()] == pytest.approx(slope, rel=1e-3)


def test_evidence_lies_where_the_members_put_it_whatever_their_grids(runners):
    bundle = replace(
        runners["nine"].bundle,
        calibration=Calibration(np.array([0.4, 0.6]), np.zeros((2, 9)), 1.0, np.ones(9) / 9),
    )
    coarse, fine = np.zeros((1, 9, 2, 2)), np.zeros((1, 9, 4, 4))
    coarse[0, 2, 0, 1] = fine[0, 2, 0, 3] = 1
    found = blended(pixels(bundle), [coarse, fine], bundle, np.full(9, 1 / 9)).maps
    codes = list(found)
    assert found[codes[2]].shape == (4, 4)
    assert np.unravel_index(found[codes[2]].argmax(), (4, 4)) == (0, 3)
    assert found[codes[0]][0, 3] < 0
    assert found[codes[2]][3, 0] == pytest.approx(0)


def test_the_picture_is_what_the_networks_see(runners, jpeg):
    answer = inference.answer(jpeg, Patient(), runners["nine"], explain=True).to_json()
    png = np.frombuffer(base64.b64decode(answer["evidence"]["seen_png"]), np.uint8)
    seen = cv2.imdecode(png, cv2.IMREAD_COLOR)[..., ::-1]
    wanted = prepare(jpeg, runners["nine"].bundle.members[0].recipe)
    assert (seen == wanted).all()


def test_a_certain_answer_has_finite_maps(runners):
    bundle = runners["nine"].bundle
    cams = [np.ones((1, 9, 4, 4)) for _ in bundle.members]
    found = blended(pixels(bundle), cams, bundle, np.eye(9)[0]).maps
    assert all(np.isfinite(one).all() for one in found.values())
