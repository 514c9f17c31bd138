"""The figures themselves: labels and scores in, a number out. NaN means "not defined".

A decision whose highest score is tied counts as wrong, as in ISIC 2018 task 3. Sources: the
challenges (2018: mean sensitivity; 2019: the same over its classes; 2020: melanoma AUC); Guo et al. 2017
for the expected calibration error.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

UNDECIDED: Final = -1
"""The decision where the highest score is tied."""


def decide(scores: Floats) -> Ints:
    """Return the class of the highest score, UNDECIDED if two are highest.

    Args:
        scores: shape (n, k), k >= 2.

    Returns:
        Shape (n,), 0 to k - 1 or UNDECIDED.
    """
    highest = scores.max(axis=1, keepdims=True)
    tied = (scores == highest).sum(axis=1) > 1
    return np.where(tied, UNDECIDED, scores.argmax(axis=1)).astype(np.int64)


def confusion(target: Ints, decided: Ints, classes: int) -> Ints:
    """Count the cases of each true and decided diagnosis.

    Returns:
        Shape (k, k + 1); rows are true, columns decided diagnoses, the last column holds the undecided.
    """
    counts = np.zeros((classes, classes + 1), np.int64)
    np.add.at(counts, (target, np.where(decided == UNDECIDED, classes, decided)), 1)
    return counts


def sensitivities(confusion: Ints) -> Floats:
    """Share of each diagnosis' cases that were decided so.

    Args:
        confusion: shape (k, k), or (k, k + 1) with a last column of undecided cases.

    Returns:
        Shape (k,); NaN where a diagnosis has no case.

    Raises:
        ValueError: another shape, or a negative count.
    """
    classes = len(confusion)
    if confusion.ndim != 2 or confusion.shape[1] not in (classes, classes + 1):  # noqa: PLR2004
        raise ValueError(f"a confusion matrix has shape (k, k) or (k, k + 1), not {confusion.shape}")
    if (confusion < 0).any():
        raise ValueError("a count in the confusion matrix is negative")
    return ratio(np.diagonal(confusion).astype(np.float64), confusion.sum(axis=1).astype(np.float64))


def balanced_accuracy(confusion: Ints, *, over_present: bool = False) -> float:
    """Average the sensitivity over the diagnoses (ISIC 2018 task 3, ISIC 2019).

    Args:
        confusion: see `sensitivities`.
        over_present: leave diagnoses without a case out of the mean, as small hold-outs and single
            centres need it; whoever shows the figure says which were absent.

    Returns:
        0 to 1, 1 / k for a constant answer; NaN if a diagnosis has no case (with `over_present`: if none
        has one).

    Raises:
        ValueError: see `sensitivities`.
    """
    found = sensitivities(confusion)
    if over_present:
        found = found[~np.isnan(found)]
    return float(found.mean()) if found.size else float("nan")


def accuracy(target: Ints, decided: Ints) -> float:
    """Share of the cases that were decided rightly; NaN without a case."""
    return float((target == decided).mean()) if target.size else float("nan")


def auc(positive: Bools, score: Floats) -> float:
    """Area under the ROC curve: the chance that a positive case scores above a negative one.

    Args:
        positive: shape (n,).
        score: shape (n,); a tied pair counts one half.

    Returns:
        0 to 1; NaN without a positive or without a negative case.
    """
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[inverse]  # mean rank of each tie, from 1
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def one_vs_rest_auc(target: Ints, probability: Floats) -> Floats:
    """AUC of each class against all others, shape (k,); NaN where it is not defined."""
    return np.array([auc(target == c, probability[:, c]) for c in range(probability.shape[1])])


def macro_auc(target: Ints, probability: Floats) -> float:
    """Mean one-vs-rest AUC over the classes that have positives and negatives; NaN if none has."""
    found = one_vs_rest_auc(target, probability)
    found = found[~np.isnan(found)]
    return float(found.mean()) if found.size else float("nan")


def average_precision(positive: Bools, score: Floats) -> float:
    """Mean precision over the positives, from the highest score down; ties are taken together.

    Returns:
        0 to 1; NaN without a positive case.
    """
    if not positive.any():
        return float("nan")
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(positive[order])
    ends = np.r_[np.flatnonzero(np.diff(score[order])), len(score) - 1]  # last case of each tie
    precision, found = hits[ends] / (ends + 1), hits[ends] / hits[-1]
    return float((np.diff(found, prepend=0) * precision).sum())


def roc(positive: Bools, score: Floats) -> tuple[Floats, Floats, Floats]:
    """ROC curve, from the strictest threshold down.

    Returns:
        1 - specificity, sensitivity and threshold, each shape (t + 1,) for t different scores; a case is
        called positive if its score is at least the threshold. All NaN where a side has no case.
    """
    order = np.argsort(-score, kind="stable")
    ends = np.r_[np.flatnonzero(np.diff(score[order])), len(score) - 1] if len(score) else np.zeros(0, int)
    hits, alarms = np.cumsum(positive[order])[ends], np.cumsum(~positive[order])[ends]
    sensitivity = ratio(np.r_[0.0, hits], np.full(len(ends) + 1, float(positive.sum())))
    false_alarms = ratio(np.r_[0.0, alarms], np.full(len(ends) + 1, float((~positive).sum())))
    return false_alarms, sensitivity, np.r_[np.inf, score[order][ends]]


def specificities(confusion: Ints) -> Floats:
    """Share of the cases without a diagnosis that were not decided so, shape (k,); NaN where all have it."""
    classes = len(confusion)
    false_alarms = confusion[:, :classes].sum(axis=0) - np.diagonal(confusion)
    others = confusion.sum() - confusion.sum(axis=1)
    return 1 - ratio(false_alarms.astype(np.float64), others.astype(np.float64))


def log_losses(target: Ints, probability: Floats) -> Floats:
    """Negative log probability of each case's diagnosis, nats; a probability of 0 counts as 1e-15."""
    return np.asarray(-np.log(np.clip(probability[np.arange(len(target)), target], 1e-15, None)))


def briers(target: Ints, probability: Floats) -> Floats:
    """Squared distance of each case's probabilities from the truth, summed over the classes: 0 to 2."""
    truth = np.eye(probability.shape[1])[target]
    return np.asarray(((probability - truth) ** 2).sum(axis=1))


def reliability(confidence: Floats, correct: Bools, bins: int) -> tuple[Ints, Floats, Floats]:
    """Compare stated with found shares in equally wide bins of confidence.

    Args:
        confidence: shape (n,), 0 to 1; bin b holds b / bins < confidence <= (b + 1) / bins, the first also 0.
        correct: shape (n,).
        bins: how many.

    Returns:
        Cases, mean confidence and share correct of each bin, shape (bins,); NaN in empty bins.
    """
    index = np.searchsorted(np.arange(1, bins) / bins, confidence)
    cases = np.bincount(index, minlength=bins)
    stated = np.bincount(index, weights=confidence, minlength=bins)
    found = np.bincount(index, weights=correct.astype(np.float64), minlength=bins)
    return cases, ratio(stated, cases.astype(np.float64)), ratio(found, cases.astype(np.float64))


def expected_calibration_error(confidence: Floats, correct: Bools, bins: int = 15) -> float:
    """Mean distance of stated confidence and share correct over the bins, weighted by their cases.

    Of the highest probability, as usual (Guo et al. 2017). Biased upwards in small samples, so no
    bootstrap interval is given for it.
    """
    cases, stated, found = reliability(confidence, correct, bins)
    if not cases.sum():
        return float("nan")
    return float(np.nansum(cases * np.abs(stated - found)) / cases.sum())


def ratio(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """Divide; NaN where the whole is 0."""
    return np.asarray(np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0))
