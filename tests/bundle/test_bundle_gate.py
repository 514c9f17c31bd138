"""The gate: each limit alone can stop a bundle."""

import copy

import pytest

from dermaflow.bundle.gate import failures, gate, joined
from dermaflow.bundle.params import GateParams

LIMITS = GateParams(
    min_balanced_accuracy=0.5,
    min_melanoma_auc=0.8,
    min_macro_auc=0.8,
    max_calibration_error=0.1,
    max_flipped=0.3,
)
GOOD = {
    "hold_out": {
        "balanced_accuracy": {"value": 0.6, "low": 0.5, "high": 0.7},
        "melanoma_auc": {"value": 0.9, "low": 0.8, "high": 0.95},
        "macro_auc": {"value": 0.9, "low": 0.8, "high": 0.95},
        "ece": {"value": 0.05, "low": None, "high": None},
    }
}
STRESS = {"hair": 0.1, "masked_lesion": 0.9}


def test_a_good_bundle_passes():
    result = gate("digest", GOOD, STRESS, LIMITS)
    assert result["passed"]
    assert result["bundle"] == "digest"


@pytest.mark.parametrize(
    ("name", "value"), [("balanced_accuracy", 0.49), ("melanoma_auc", 0.79), ("macro_auc", 0.1), ("ece", 0.2)]
)
def test_each_limit_alone_stops_a_bundle(name, value):
    metrics = copy.deepcopy(GOOD)
    metrics["hold_out"][name]["value"] = value
    result = gate("digest", metrics, STRESS, LIMITS)
    assert not result["passed"]
    assert [line.split()[0] for line in failures(result)] == [name]


def test_a_figure_exactly_at_its_limit_passes():
    limits = {"balanced_accuracy": 0.5, "melanoma_auc": 0.8, "macro_auc": 0.8, "ece": 0.1}
    metrics = {"hold_out": {name: {"value": value} for name, value in limits.items()}}
    assert failures(gate("digest", metrics, {"hair": 0.3}, LIMITS)) == []


def test_a_stress_that_flips_too_many_decisions_stops_a_bundle():
    assert failures(gate("digest", GOOD, {"hair": 0.31}, LIMITS)) == ["stress.hair 0.310, at most 0.3 asked"]


def test_a_figure_that_is_not_defined_fails():
    metrics = copy.deepcopy(GOOD)
    metrics["hold_out"]["melanoma_auc"]["value"] = None
    assert failures(gate("digest", metrics, STRESS, LIMITS)) == [
        "melanoma_auc not defined, at least 0.8 asked"
    ]


def test_the_releases_flips_are_joined_by_their_images():
    reports = [
        {"perturbations": {"hair": {"images": 30, "decision_flipped": 0.1}}},
        {"perturbations": {"hair": {"images": 10, "decision_flipped": 0.5}, "ink": {"images": 0}}},
    ]
    assert joined(reports) == {"hair": pytest.approx(0.2), "ink": None}


def test_shares_that_were_rounded_stand_for_whole_decisions():
    parts = [{"images": 15, "decision_flipped": 0.666667}, {"images": 25, "decision_flipped": 0.4}]
    assert joined([{"perturbations": {"hair": part}} for part in parts]) == {"hair": 0.5}
