"""Prediction sets: for each class the probability from which it belongs to the answer's set.

Class-wise split conformal prediction with score 1 - probability (Sadinle et al. 2019; crepes gives the same
sets): among the cases of each class, about `coverage` have a set that holds it, if new cases are drawn like
those that the thresholds were chosen on. Out-of-fold predictions are nearly, not exactly, such draws: the
coverage found on the hold-out is reported per class.
"""

from typing import Any

import numpy as np

from dermaflow.bundle.apply import prediction_sets
from dermaflow.evaluate import figures, metrics
from dermaflow.evaluate.answers import Answers
from dermaflow.evaluate.metrics import Bools, Floats, Ints


def thresholds(target: Ints, probability: Floats, coverage: float) -> Floats:
    """Return the probability from which each class is in the set.

    Args:
        target: shape (n,).
        probability: shape (n, k).
        coverage: 0 to 1, wanted share of each class' cases.

    Returns:
        Shape (k,); 0 (always in the set) for a class with too few cases to promise the coverage.
    """
    found = np.zeros(probability.shape[1])
    for c in range(len(found)):
        own = np.sort(probability[target == c, c])[::-1]  # from the surest down
        needed = at_least(coverage, len(own) + 1)
        if needed <= len(own):
            found[c] = own[needed - 1]
    return found


def coverage(answers: Answers, thresholds: Floats) -> dict[str, Any]:
    """What the sets hold: share of covered cases, overall and per class, and the sets' mean size."""
    held = prediction_sets(answers.probability, thresholds)
    covered = held[np.arange(len(answers)), answers.target]
    size = held.sum(axis=1)
    rows = {}
    for index, code in enumerate(answers.view.classes):
        own = answers.target == index
        rows[code] = {"cases": int(own.sum()), "covered": _mean(covered[own])}
    return {
        "covered": _mean(covered),
        "mean_size": _mean(size),
        "single": _mean(size == 1),
        "empty": _mean(size == 0),
        "cases": len(answers),
        "per_class": rows,
    }


def _mean(values: "np.ndarray[Any, Any]") -> float | None:
    return figures.plain(
        float(metrics.ratio(np.array(values.sum(dtype=float)), np.array(float(values.size))))
    )


def refer_threshold(malignant: Bools, probability: Floats, sensitivity: float) -> float:
    """Return the highest threshold at which at least `sensitivity` of the malignant cases are referred.

    Args:
        malignant: shape (n,).
        probability: shape (n,), of any malignant diagnosis; referred from the threshold up.
        sensitivity: 0 to 1.

    Returns:
        0 (refer everybody) without a malignant case.
    """
    own = np.sort(probability[malignant])[::-1]
    if not own.size:
        return 0.0
    return float(own[at_least(sensitivity, own.size) - 1])


def at_least(share: float, cases: int) -> int:
    """Return how many of the cases make up at least this share of them.

    The product of two floats may lie a little above the whole number that is meant: 0.56 of 25 are 14, in
    floats 14.000000000000002.
    """
    return int(np.ceil(share * cases - 1e-9))
