"""Figures with their intervals, as metrics.json holds them.

A figure is `{"value", "low", "high"}`: the value and its 95 % interval over resampled groups, null where
it is not defined; fewer than `intervals.MIN_GROUPS` groups, or melanomas of fewer, have the value alone.
Balanced accuracy is taken over the classes that have a case; `absent_classes` names the others.
"""

from typing import Any

import numpy as np

from dermaflow.evaluate import intervals, metrics
from dermaflow.evaluate.answers import Answers, malignant_classes
from dermaflow.evaluate.intervals import Weighted, Weights
from dermaflow.evaluate.params import EvaluateParams

Figure = dict[str, float | None]
DIGITS = 6
"""Digits kept: enough to compare, few enough to be the same on another processor."""


def plain(value: float) -> float | None:
    """Return a number that JSON can hold: rounded, null for NaN."""
    return None if np.isnan(value) else round(float(value), DIGITS)


def figure(one: Weighted, weights: Weights) -> Figure:
    """Return a figure with its interval.

    Args:
        one: from weights to figures.
        weights: the resamples, shape (count, n).
    """
    value = float(one(np.ones((1, weights.shape[1]), weights.dtype))[0]) if weights.shape[1] else float("nan")
    if np.isnan(value):
        return {"value": None, "low": None, "high": None}
    low, high = intervals.around(one, weights)
    return {"value": plain(value), "low": plain(low), "high": plain(high)}


def difference(one: Weighted, other: Weighted, weights: Weights) -> Figure:
    """`one` minus `other`, with the interval of the paired difference."""
    return figure(one - other, weights)


def balanced_accuracy(answers: Answers) -> Weighted:
    """Balanced accuracy by decision score, over the classes present."""
    return intervals.balanced_accuracy(answers.target, answers.decided, len(answers.view.classes))


def melanoma_auc(answers: Answers) -> Weighted:
    """AUC of the melanoma probability."""
    return intervals.auc(answers.melanoma, answers.melanoma_probability)


def weights_of(answers: Answers, params: EvaluateParams) -> Weights:
    """The resamples of these cases' groups."""
    return intervals.resample(answers.groups, params.bootstrap, params.seed)


def headline(answers: Answers, params: EvaluateParams) -> dict[str, Any]:
    """The figures that stand first: balanced accuracy, AUCs, accuracy, log loss, Brier, calibration."""
    weights = weights_of(answers, params)
    confidence, correct = answers.probability.max(axis=1), answers.likeliest == answers.target
    error = metrics.expected_calibration_error(confidence, correct, params.bins)
    means = {
        "log_loss": metrics.log_losses(answers.target, answers.probability),
        "brier": metrics.briers(answers.target, answers.probability),
    }
    return {
        "balanced_accuracy": figure(balanced_accuracy(answers), weights),
        "melanoma_auc": figure(melanoma_auc(answers), weights),
        "malignant_auc": figure(intervals.auc(answers.malignant, answers.malignant_probability), weights),
        "macro_auc": figure(intervals.macro_auc(answers.target, answers.probability), weights),
        "accuracy": figure(intervals.share(correct), weights),
        **{name: figure(intervals.mean(values), weights) for name, values in means.items()},
        "ece": {"value": plain(error), "low": None, "high": None},
        "cases": len(answers),
        "groups": int(np.unique(answers.groups).size),
        "absent_classes": answers.absent,
    }


def per_class(answers: Answers) -> dict[str, dict[str, float | int | None]]:
    """One row a class: cases, sensitivity and specificity by decision score, AUC, average precision."""
    counts = metrics.confusion(answers.target, answers.decided, len(answers.view.classes))
    sensitivity, specificity = metrics.sensitivities(counts), metrics.specificities(counts)
    rows = {}
    for index, code in enumerate(answers.view.classes):
        positive, score = answers.target == index, answers.probability[:, index]
        rows[code] = {
            "cases": int(positive.sum()),
            "sensitivity": plain(sensitivity[index]),
            "specificity": plain(specificity[index]),
            "auc": plain(metrics.auc(positive, score)),
            "average_precision": plain(metrics.average_precision(positive, score)),
        }
    return rows


def operating_point(answers: Answers, threshold: float, params: EvaluateParams) -> dict[str, Any]:
    """What a fixed threshold on the malignant probability does on these cases, malignant ones aside included.

    Returns:
        sensitivity and specificity for malignant diagnoses with intervals, and the share referred.
    """
    answers = answers.for_malignancy()
    weights = weights_of(answers, params)
    referred = answers.malignant_probability >= threshold
    truth = answers.malignant
    return {
        "malignant_threshold": threshold,
        "sensitivity": figure(intervals.share(referred, truth), weights),
        "specificity": figure(intervals.share(~referred, ~truth), weights),
        "referred": figure(intervals.share(referred), weights),
        "malignant_classes": [
            code
            for code, bad in zip(answers.view.classes, malignant_classes(answers.view), strict=True)
            if bad
        ],
    }
