"""How good the network is on its validation fold, epoch by epoch. Numpy only.

Figures use the house's two scores: probabilities have sampler and class weights undone (accuracy, melanoma
AUC); decision scores are divided by the priors (balanced accuracy). Reports take theirs from evaluate/, with
intervals.
"""

import numpy as np
from numpy.typing import NDArray

from dermaflow.bundle.apply import softmax

Floats = NDArray[np.float64]


def figures(
    logits: NDArray[np.floating], targets: NDArray[np.int64], natural: Floats, learned: Floats, melanoma: int
) -> dict[str, float | None]:
    """Score a validation fold.

    Args:
        logits: shape (n, classes).
        targets: shape (n,).
        natural: class shares of the training rows.
        learned: class shares that the logits carry, from `sampling.learned_prior`.
        melanoma: its class index.

    Returns:
        valid_loss (cross entropy of the probabilities), accuracy, balanced_accuracy (over the classes that
        occur), melanoma_auc (None without a melanoma, or with nothing else).
    """
    probabilities = softmax(logits + log_ratio(natural, learned))
    decided = (logits - np.log(np.where(learned > 0, learned, 1))).argmax(axis=1)
    rows = np.arange(len(targets))
    return {
        "valid_loss": float(-np.log(np.maximum(probabilities[rows, targets], 1e-12)).mean()),
        "accuracy": float((probabilities.argmax(axis=1) == targets).mean()),
        "balanced_accuracy": float(
            np.mean([(decided[targets == c] == c).mean() for c in np.unique(targets)])
        ),
        "melanoma_auc": auc(targets == melanoma, probabilities[:, melanoma]),
    }


def log_ratio(natural: Floats, learned: Floats) -> Floats:
    """log(natural / learned), what undoes sampler and class weights; 0 for a class that was never drawn."""
    seen = (learned > 0) & (natural > 0)
    return np.asarray(np.log(np.where(seen, natural, 1) / np.where(seen, learned, 1)))


def auc(positive: NDArray[np.bool_], scores: Floats) -> float | None:
    """Chance that a positive scores above a negative, ties half; None where there is only one kind."""
    ones, zeros = int(positive.sum()), int((~positive).sum())
    if not ones or not zeros:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # 1 = lowest, ties share the mean
    return float((ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))
