"""Learn from the out-of-fold images how images look that the members know, and where the border lies.

Mahalanobis' distance with a shrunk covariance (Ledoit and Wolf 2004); the border is chosen as in conformal
prediction, on images that the distance was not fitted on, and the share found on the hold-out is reported.
Each centre counts alike, or a clinic with few images would be told that most of them are something else.
"""

from collections.abc import Sequence
from math import ceil
from typing import Any, Final

import numpy as np
import pandas as pd
from sklearn.covariance import LedoitWolf
from sklearn.model_selection import GroupKFold

from dermaflow.bundle.ood import BORDER, OodDetector
from dermaflow.evaluate import figures, intervals
from dermaflow.evaluate.answers import Answers
from dermaflow.evaluate.members import Member, Split, require_finite
from dermaflow.evaluate.metrics import Floats
from dermaflow.evaluate.params import EvaluateParams
from dermaflow.evaluate.subgroups import masks

PARTS: Final = 5
"""Parts by group: each is measured by what the others look like."""
FEW: Final = 50
"""A centre with fewer images counts less than the others, so that no single image weighs much; with few false
alarms wanted more are asked for, since an unseen image counts as much as the weightiest and must not use up
their share."""


def fit(members: Sequence[Member], cases: pd.DataFrame, false_alarms: float) -> OodDetector | None:
    """Fit what the service tells images of other things by.

    Args:
        members: in the order of a calibration's rows.
        cases: outputs.cases, of the out-of-fold images at least.
        false_alarms: wanted share of images like the training ones that are taken for others, mean over the
            centres.

    Returns:
        None where there are too few images to promise that share, or a member sees the same in all of them.

    Raises:
        DataError: something that a member saw is not finite.
    """
    few = max(FEW, ceil(1 / false_alarms))
    fitted, distances = [], []
    rows = cases.set_index("image_id")[["group", "centre"]]
    for member in members:
        ids = list(member.frame.image_id[member.frame.split == "out_of_fold"])
        own = rows.loc[ids]
        if own.group.nunique() < PARTS:
            return None
        seen, weights = _middle(member, "out_of_fold", ids), _weights(own.centre, few)
        if not np.ptp(seen, axis=0).any():
            return None
        apart = np.empty(len(seen))
        for others, part in GroupKFold(PARTS).split(seen, groups=own.group):
            mean, scale = _gaussian(seen[others], weights[others])
            apart[part] = np.linalg.norm((seen[part] - mean) @ scale, axis=1)
        typical = np.median(apart)
        mean, scale = _gaussian(seen, weights)
        fitted.append((mean, scale / typical))
        distances.append(pd.Series(apart / typical, index=ids))  # unlike networks' can then be averaged
    each = pd.concat(distances).groupby(level=0).mean()  # an image is one case, whatever number of models
    border = _quantile(
        np.asarray(each, np.float64), _weights(rows.centre.loc[each.index], few), 1 - false_alarms
    )
    if border is None:
        return None
    border /= BORDER
    return OodDetector(
        tuple(mean.astype(np.float32) for mean, _ in fitted),
        tuple((scale / border).astype(np.float32) for _, scale in fitted),
    )


def on_hold_out(
    detector: OodDetector, members: Sequence[Member], answers: Answers, params: EvaluateParams
) -> dict[str, Any]:
    """Return the share of the hold-out that is taken for other things; by centre without an interval."""
    ids = list(answers.cases.image_id)
    seen = (_middle(member, "hold_out", ids) for member in members)
    scores = detector.scores(list(seen)) if ids else np.empty(0)
    above = scores > BORDER
    return {
        "false_alarms": figures.figure(intervals.share(above), figures.weights_of(answers, params)),
        "centres": {
            name: {"cases": int(mask.sum()), "false_alarms": figures.plain(float(above[mask].mean()))}
            for name, mask in masks(answers.cases.centre).items()
        },
    }


def _middle(member: Member, split: Split, ids: Sequence[str]) -> Floats:
    """What a member saw half-way of these images, shape (n, channels)."""
    rows = member.frame[member.frame.split == split].set_index("image_id").middle.loc[list(ids)]
    seen = np.stack(rows.to_list()).astype(np.float64)
    require_finite(member, seen, ids)
    return seen


def _weights(centres: "pd.Series[Any]", few: int) -> Floats:
    """One weight an image: those of a centre sum to the same, or to less where it has fewer than `few`."""
    counts = centres.map(centres.value_counts(dropna=False)).to_numpy(np.float64)
    return np.asarray(1 / np.maximum(counts, few))


def _quantile(values: Floats, weights: Floats, share: float) -> float | None:
    """The least value that so large a share does not exceed, one unseen case counted beyond all of them.

    As in weighted conformal prediction (Tibshirani et al. 2019, arXiv:1904.06019); None: too few cases.
    """
    order = np.argsort(values)
    below = np.cumsum(weights[order]) / (weights.sum() + weights.max())
    enough = np.flatnonzero(below >= share - 1e-12)
    return float(values[order[enough[0]]]) if enough.size else None


def _gaussian(seen: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return the mean, and the matrix that makes of a difference from it one of Mahalanobis' length."""
    weights = (weights / weights.mean())[:, None]
    mean = (weights * seen).mean(axis=0)
    spread = np.sqrt((weights * (seen - mean) ** 2).mean(axis=0))
    spread = np.where(spread > 1e-6 * np.abs(mean), spread, 1)  # else a channel that stands still
    precision = LedoitWolf(assume_centered=True).fit(np.sqrt(weights) * (seen - mean) / spread).precision_
    return mean, np.asarray(np.linalg.cholesky(precision) / spread[:, None])
