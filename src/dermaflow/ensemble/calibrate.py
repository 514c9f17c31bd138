"""Temperature: one number that makes probabilities as sure as they are right (Guo et al. 2017)."""

from typing import Final

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from dermaflow.evaluate.metrics import Floats, Ints

BOUNDS: Final = (-4.0, 4.0)
"""Of log beta: 0.018 to 55."""


def fit_beta(target: Ints, blended: Floats, shift: Floats) -> float:
    """Return the inverse temperature of least mean log loss.

    Args:
        target: shape (n,).
        blended: shape (n, k), logits before the softmax.
        shift: shape (n, k), added to them after the temperature.

    Returns:
        beta of `bundle.apply.Calibration`; 1 without a case.
    """
    if not len(target):
        return 1.0

    def loss(log_beta: float) -> float:
        return mean_log_loss(target, np.exp(log_beta) * blended + shift)

    found = minimize_scalar(loss, bounds=BOUNDS, method="bounded", options={"xatol": 1e-8})
    return float(np.exp(found.x))


def mean_log_loss(target: Ints, logits: Floats) -> float:
    """Mean negative log probability of the true class, nats."""
    return float(-log_softmax(logits, axis=1)[np.arange(len(target)), target].mean())
