"""From logits to an answer: blend the members, calibrate, undo the sampler. Numpy only.

The same code runs in ensemble, stress, predict and the service, so that a figure in a report and an
answer on the page can't differ.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dermaflow.errors import BundleError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Frequencies:
    """What one centre has in place of `Calibration.shifts` and `Calibration.prior`.

    Attributes:
        shifts: shape (members, classes).
        prior: shape (classes,), sum 1; 0 for a class of which training held no image from there.
    """

    shifts: Floats
    prior: Floats


@dataclass(frozen=True)
class Calibration:
    """How the members' logits become probabilities.

    Attributes:
        weights: shape (members,), the blend's weights, sum 1.
        shifts: shape (members, classes), log(natural prior / learned prior) of each member's training:
            adding it undoes what sampler and class weights did to the frequencies (Saerens et al. 2002).
        beta: inverse temperature, fitted out of fold (Guo et al. 2017). It makes the networks as sure as they
            are right; the shifts, which are no network's opinion, stay as they are (docs/decisions/0012).
        prior: shape (classes,), natural class frequencies of the training rows, sum 1.
        centres: the frequencies of each named centre, for `told`.
    """

    weights: Floats
    shifts: Floats
    beta: float
    prior: Floats
    centres: Mapping[str, Frequencies] = field(default_factory=dict)

    def told(self, centre: str) -> "Calibration":
        """Return the calibration for images that are known to be of one centre (docs/decisions/0014).

        Raises:
            BundleError: training held no such centre.
        """
        if centre not in self.centres:
            raise BundleError(
                f"it learned from no centre {centre!r}",
                "calibration.centres",
                f"Name one of: {', '.join(sorted(self.centres)) or 'none'}; or name none.",
            )
        found = self.centres[centre]
        return replace(self, shifts=found.shifts, prior=found.prior)

    def probabilities(self, logits: NDArray[np.floating[Any]]) -> Floats:
        """Calibrated probabilities.

        Args:
            logits: shape (..., members, classes), each the mean over the test-time views.

        Returns:
            Shape (..., classes); each row sums to 1.
        """
        blended = np.einsum("m,...mc->...c", self.weights, np.asarray(logits, np.float64))
        return softmax(self.beta * blended + self.weights @ self.shifts)

    def to_json(self) -> dict[str, Any]:
        """Return plain lists for bundle.json."""
        return {
            "weights": self.weights.tolist(),
            "shifts": self.shifts.tolist(),
            "beta": self.beta,
            "prior": self.prior.tolist(),
            "centres": {
                name: {"shifts": found.shifts.tolist(), "prior": found.prior.tolist()}
                for name, found in self.centres.items()
            },
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        return cls(
            np.array(value["weights"], np.float64),
            np.array(value["shifts"], np.float64),
            float(value["beta"]),
            np.array(value["prior"], np.float64),
            {
                name: Frequencies(np.array(of["shifts"], np.float64), np.array(of["prior"], np.float64))
                for name, of in value["centres"].items()
            },
        )


def softmax(values: NDArray[np.floating[Any]]) -> Floats:
    """Softmax over the last axis in float64."""
    shifted = np.asarray(values, np.float64)
    shifted = shifted - shifted.max(axis=-1, keepdims=True)
    exp = np.exp(shifted)
    return np.asarray(exp / exp.sum(axis=-1, keepdims=True))


def decision_scores(probabilities: Floats, prior: Floats) -> Floats:
    """Calibrated probability / natural prior, renormalised: its argmax serves balanced accuracy.

    Args:
        probabilities: shape (..., classes).
        prior: shape (classes,); a class that training never saw (prior 0) keeps score 0.
    """
    ratio = probabilities / np.where(prior > 0, prior, np.inf)
    total = ratio.sum(axis=-1, keepdims=True)
    return np.asarray(np.where(total > 0, ratio / np.where(total > 0, total, 1), 1 / prior.size))


def prediction_sets(probabilities: Floats, thresholds: Floats) -> NDArray[np.bool_]:
    """Which classes are in each case's prediction set.

    Args:
        probabilities: shape (..., classes).
        thresholds: shape (classes,), from `ensemble.conformal.thresholds`.
    """
    return np.asarray(probabilities >= thresholds)


def dihedral_views(pixels: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """The first 1, 4 or 8 views of square images: none, four flips, the four transposed.

    Args:
        pixels: shape (n, h, h, 3).
        count: 1, 4 or 8.

    Returns:
        Shape (count, n, h, h, 3).
    """
    if count not in (1, 4, 8):
        raise ValueError(f"{count} views; must be 1, 4 or 8")
    views = [pixels]
    if count >= 4:  # noqa: PLR2004
        views += [pixels[:, :, ::-1], pixels[:, ::-1], pixels[:, ::-1, ::-1]]
    if count == 8:  # noqa: PLR2004
        views += [view.transpose(0, 2, 1, 3) for view in views]
    return np.ascontiguousarray(np.stack(views))
