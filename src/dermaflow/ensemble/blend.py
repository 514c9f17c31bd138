"""The models' weights, equal or fitted, and the blended logits on out-of-fold cases.

Every fold's member carries its model's weight divided by the number of folds. Fitted weights are those of
least out-of-fold log loss (with the temperature that goes with them), never below 0.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import softmax

from dermaflow.ensemble.calibrate import mean_log_loss
from dermaflow.evaluate import members
from dermaflow.evaluate.members import Member
from dermaflow.evaluate.metrics import Floats, Ints


def weigh(
    found: Sequence[Member], how: Literal["equal", "fitted"], prior: Floats, train: pd.DataFrame
) -> Floats:
    """Return the weight of each member, shape (members,), sum 1.

    Args:
        found: all members.
        how: equal, or fitted out of fold.
        prior: natural class frequencies.
        train: labelled training rows as outputs.cases.
    """
    models = list(dict.fromkeys(member.model for member in found))
    weights = np.full(len(models), 1 / len(models))
    if how == "fitted" and len(models) > 1:
        weights = _fit(*per_model(found, models, prior, train))
    folds = [sum(other.model == member.model for other in found) for member in found]
    shares = [weights[models.index(member.model)] for member in found]
    return np.asarray(np.array(shares) / np.array(folds))


def per_model(
    found: Sequence[Member], models: Sequence[str], prior: Floats, train: pd.DataFrame
) -> tuple[Ints, Floats, Floats]:
    """Out-of-fold logits and shifts of each model.

    Returns:
        Targets (n,), logits and shifts (n, models, k) of the cases that every model predicted out of fold,
        by a member that has learned their diagnosis.
    """
    targets = targets_of(found[0], train)
    frames = []
    for model in models:
        own = [member for member in found if member.model == model]
        parts = []
        for chosen, weights in members.by_fold(own, np.full(len(own), 1 / len(own))):
            fold = [own[index] for index in chosen]
            ids, stacked = members.logits(fold, "out_of_fold")
            shift = members.calibration(fold, weights, prior).shifts.mean(axis=0)
            said = stacked.mean(axis=1)
            both = np.hstack([said, np.broadcast_to(shift, said.shape)])
            answers = pd.DataFrame(both, index=pd.Index(ids))
            parts.append(answers[answers.index.isin(members.knowable(fold, targets).index)])
        frames.append(pd.concat(parts))
    ids = [image for image in frames[0].index if all(image in f.index for f in frames)]
    each = np.stack([f.loc[ids].to_numpy() for f in frames], axis=1)
    logits, shifts = np.split(each, 2, axis=2)
    return targets.loc[ids].to_numpy(np.int64), logits, shifts


def blended(
    found: Sequence[Member], weights: Floats, prior: Floats, train: pd.DataFrame
) -> tuple[Ints, Floats, Floats]:
    """Targets (n,), blended logits and shifts (n, k) out of fold: what the temperature is fitted on.

    Of the cases whose diagnosis the members that answer have learned.
    """
    targets = targets_of(found[0], train)
    all_targets, all_logits, all_shifts = [], [], []
    for chosen, part in members.by_fold(found, weights):
        fold = [found[index] for index in chosen]
        ids, stacked = members.logits(fold, "out_of_fold")
        shift = part @ members.calibration(fold, part, prior).shifts
        known = pd.Index(ids).isin(members.knowable(fold, targets).index)
        all_logits.append(np.einsum("m,nmc->nc", part, stacked)[known])
        all_shifts.append(np.broadcast_to(shift, all_logits[-1].shape))
        all_targets.append(targets.reindex(ids).to_numpy()[known])
    target = np.concatenate(all_targets).astype(np.int64)
    return target, np.concatenate(all_logits), np.concatenate(all_shifts)


def targets_of(member: Member, train: pd.DataFrame) -> "pd.Series[Any]":
    """Class index by image id, of the rows whose diagnosis is in the view."""
    targets = [member.view.target(code) for code in train.diagnosis]
    found = pd.Series(targets, index=train.image_id, dtype="float64")
    return found.dropna().astype(np.int64)


def _fit(target: Ints, each: Floats, shifts: Floats) -> Floats:
    """Weights of least log loss; the temperature is free, so only their proportions count."""
    count = each.shape[1]

    def loss(free: Floats) -> float:
        each_shifted = np.exp(free[-1]) * each + shifts
        return mean_log_loss(target, np.einsum("m,nmc->nc", softmax(free[:-1]), each_shifted))

    found = minimize(loss, np.zeros(count + 1), method="L-BFGS-B", bounds=[(-8, 8)] * count + [(-4, 4)])
    weights = softmax(found.x[:-1])
    return np.asarray(weights / weights.sum())
