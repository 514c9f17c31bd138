"""From one file to one answer."""

import cv2
import numpy as np
import pytest

from dermaflow.bundle import format as bundle_format
from dermaflow.bundle.apply import softmax
from dermaflow.bundle.run import Runner
from dermaflow.errors import BundleError, DataError
from dermaflow.images.prepare import prepare
from dermaflow.impute.apply import Patient, vectors
from dermaflow.serve import inference
from dermaflow.taxonomy import VIEWS
from helpers_bundle import NOTICE, other_thing, picture, tiny_bundle

KNOWN = Patient(40, "female", "torso")


@pytest.mark.parametrize("view", list(VIEWS))
def test_each_view_gives_its_own_classes_and_their_probabilities_sum_to_one(runners, jpeg, view):
    answer = inference.answer(jpeg, KNOWN, runners[view]).to_json()
    assert list(answer["probabilities"]) == list(VIEWS[view].classes)
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("view", "malignant"),
    [
        ("nine", ["MEL", "BCC", "SCC", "AK"]),
        ("isic2019", ["MEL", "BCC", "SCC", "AK"]),
        ("isic2018", ["MEL", "BCC", "AKIEC"]),
    ],
)
def test_the_malignant_probability_sums_the_cancers_and_the_precursor(runners, jpeg, view, malignant):
    answer = inference.answer(jpeg, KNOWN, runners[view])
    assert answer.malignant_probability == pytest.approx(
        sum(answer.probabilities[code] for code in malignant)
    )


def test_the_answer_is_what_the_networks_said_step_by_step(runners, jpeg):
    """The slow way: each view of each member alone, blended and calibrated by hand."""
    runner = runners["nine"]
    bundle = runner.bundle
    patient = vectors([bundle.imputer.fill(KNOWN)])
    blended = 0
    for session, member, weight in zip(
        runner._sessions, bundle.members, bundle.calibration.weights, strict=True
    ):
        pixels = prepare(jpeg, member.recipe)
        views = [pixels, pixels[:, ::-1], pixels[::-1], pixels[::-1, ::-1]]
        said = [
            session.run(["logits"], {"image": np.ascontiguousarray(one)[None], "patient": patient})[0][0]
            for one in views
        ]
        blended += weight * np.mean(said, axis=0)
    slow = softmax(bundle.calibration.beta * blended)
    fast = list(inference.answer(jpeg, KNOWN, runner).probabilities.values())
    assert fast == pytest.approx(slow, abs=1e-6)


def test_top3_are_the_largest_in_falling_order(runners, jpeg):
    answer = inference.answer(jpeg, KNOWN, runners["nine"]).to_json()
    found = [entry["probability"] for entry in answer["top3"]]
    assert found == sorted(answer["probabilities"].values(), reverse=True)[:3]


def test_another_image_and_another_patient_get_another_answer(runners, jpeg):
    def probabilities(file, patient):
        return inference.answer(file, patient, runners["nine"]).probabilities

    assert probabilities(jpeg, KNOWN) == probabilities(jpeg, KNOWN)
    assert probabilities(jpeg, KNOWN) != probabilities(picture(2), KNOWN)
    assert probabilities(jpeg, KNOWN) != probabilities(jpeg, Patient(80, "male", "head/neck"))


def test_a_missing_field_is_filled_and_named_with_its_value(runners, jpeg):
    imputer = runners["nine"].bundle.imputer
    answer = inference.answer(jpeg, Patient(None, "male", None), runners["nine"])
    assert answer.imputed == {"age": imputer.age_years, "site": imputer.site}
    assert answer.to_json()["imputed"] == ["age", "site"]
    assert answer.to_json()["filled_in"] == answer.imputed
    assert inference.answer(jpeg, KNOWN, runners["nine"]).imputed == {}


def test_a_filled_field_is_told_from_the_same_value_given(runners, jpeg):
    """The networks see that a value is imputed, as in training."""
    imputer = runners["nine"].bundle.imputer
    given = Patient(imputer.age_years, imputer.sex, imputer.site)
    one = inference.answer(jpeg, Patient(), runners["nine"]).probabilities
    assert one != inference.answer(jpeg, given, runners["nine"]).probabilities


def test_the_decision_stands_at_the_bundles_threshold():
    def refer(probability, decision):
        return inference.Answer({"MEL": probability, "NV": 1 - probability}, {}, decision).refer

    assert refer(0.3, {"malignant_threshold": 0.3}) is True
    assert refer(0.299, {"malignant_threshold": 0.3}) is False
    assert refer(0.9, {}) is None


def test_the_notice_says_once_that_this_is_no_medical_device(runners, jpeg):
    answer = inference.answer(jpeg, KNOWN, runners["nine"]).to_json()
    assert answer["notice"] == f"{NOTICE} Not a medical device."
    already = inference.Answer({"MEL": 1.0}, (), notice="Not a medical device. Drawn.")
    assert already.to_json()["notice"] == "Not a medical device. Drawn."


@pytest.mark.parametrize("file", [b"", b"%PDF-1.4", b"\xff\xd8\xff\xe0 no more"])
def test_what_is_no_image_is_an_error(runners, file):
    with pytest.raises(DataError, match="image"):
        inference.answer(file, KNOWN, runners["nine"])


def test_the_way_up_in_exif_is_obeyed(runners):
    """The same scene, turned in the pixels and turned back by EXIF, gives the same answer."""
    upright = cv2.imdecode(np.frombuffer(picture(4, (64, 48), ".png"), np.uint8), cv2.IMREAD_COLOR)
    turned = bytes(cv2.imencode(".png", cv2.rotate(upright, cv2.ROTATE_90_COUNTERCLOCKWISE))[1])
    exif = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
    with_exif = _png_chunk(turned, b"eXIf", exif)
    one = inference.answer(bytes(cv2.imencode(".png", upright)[1]), KNOWN, runners["nine"])
    other = inference.answer(with_exif, KNOWN, runners["nine"])
    assert other.probabilities == one.probabilities
    assert inference.answer(turned, KNOWN, runners["nine"]).probabilities != one.probabilities


def _png_chunk(png, kind, content):
    """Put a chunk behind IHDR (signature 8 bytes, IHDR 25 bytes)."""
    import zlib

    chunk = len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)
    return png[:33] + chunk + png[33:]


def test_the_ood_score_is_the_mean_distance_of_what_the_members_saw_half_way(runners, jpeg):
    """Of the untouched view; the tiny detector's distance is the length of the mean colour from grey."""
    runner = runners["nine"]
    wanted = []
    for member in runner.bundle.members:
        pixels = prepare(jpeg, member.recipe).astype(np.float64)
        wanted.append(np.linalg.norm(((pixels - 127.5) / 127.5).mean(axis=(0, 1))))
    assert inference.answer(jpeg, KNOWN, runner).ood_score == pytest.approx(np.mean(wanted), abs=1e-5)


def test_of_all_views_the_untouched_one_of_each_image_is_held_against_the_training(runners):
    class Numbered:
        """Says of each picture that it is shown which one it is."""

        def run(self, _, feeds):
            count = len(feeds["image"])
            return [np.zeros((count, 9)), np.zeros((count, 9)), np.arange(count)[:, None]]

    images = np.zeros((2, 8, 8, 3), np.uint8)
    *_, middle = runners["nine"]._member(Numbered(), images, np.zeros((2, 11), np.float32), 4)
    assert middle.tolist() == [[0], [1]]


def test_a_bundle_that_cannot_tell_answers_whatever_it_is_shown(tmp_path):
    runner = Runner(tiny_bundle(tmp_path, detector=False))
    answer = inference.answer(other_thing(), KNOWN, runner)
    assert (answer.ood_score, answer.abstained) == (None, None)
    assert len(answer.to_json()["top3"]) == 3


def test_the_prediction_set_holds_what_reaches_its_own_threshold(runners, jpeg):
    answer = inference.answer(jpeg, KNOWN, runners["nine"])
    thresholds = dict(zip(answer.probabilities, answer.decision["set_thresholds"], strict=True))
    wanted = [code for code, value in answer.probabilities.items() if value >= thresholds[code]]
    assert 0 < len(wanted) < 9
    found = answer.to_json()["decision"]
    assert sorted(found["prediction_set"]) == sorted(wanted)
    probabilities = [answer.probabilities[code] for code in found["prediction_set"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert found["set_coverage"] == 0.9


def test_a_detector_that_was_changed_is_refused(tmp_path):
    tiny_bundle(tmp_path)
    (tmp_path / "ood.npz").write_bytes(b"another")
    with pytest.raises(BundleError, match=r"wanted .*, found"):
        bundle_format.read(tmp_path)
