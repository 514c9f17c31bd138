"""Which images an epoch shows, and what of their classes' frequencies the logits come to carry by that.

All chance comes from (seed, epoch), so a resumed training draws the same images.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from dermaflow.errors import TrainingError, first_ten
from dermaflow.model.params import ModelParams, Strata

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """Cases in the form that training needs.

    Attributes:
        image_ids: n ids.
        patients: shape (n, 11), float32, from `impute.apply.vectors`.
        targets: shape (n,), class indices; -1 where the diagnosis is not known.
        centres: shape (n,), a number for each centre; only sampler and loss look at it.
        centre_names: by these numbers.
    """

    image_ids: tuple[str, ...]
    patients: NDArray[np.float32]
    targets: Ints
    centres: Ints
    centre_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.image_ids)

    def take(self, where: NDArray[Any] | slice) -> Self:
        """Return some of the rows."""
        ids = tuple(np.array(self.image_ids, object)[where])
        return replace(
            self,
            image_ids=ids,
            patients=self.patients[where],
            targets=self.targets[where],
            centres=self.centres[where],
        )

    def strata(self, by: Strata) -> Ints:
        """Number what the sampler counts, from 0: the classes, or the classes within each centre."""
        if by == "class":
            return self.targets
        return np.unique(np.stack([self.centres, self.targets]), axis=1, return_inverse=True)[1].ravel()


def natural_prior(targets: Ints, classes: int) -> Floats:
    """Class shares of the rows: shape (classes,), sum 1."""
    counts = np.bincount(targets, minlength=classes).astype(np.float64)
    return np.asarray(counts / counts.sum())


def drawn_prior(targets: Ints, power: float, classes: int) -> Floats:
    """Class shares as the sampler draws them: counts to the power of (1 - `power`), sum 1.

    Args:
        targets: shape (n,).
        power: 0 natural, 0.5 square roots, 1 every class alike.
        classes: number of classes; one without a case stays 0.
    """
    counts = np.bincount(targets, minlength=classes).astype(np.float64)
    wanted = np.where(counts > 0, counts ** (1 - power), 0)
    return np.asarray(wanted / wanted.sum())


@dataclass(frozen=True)
class Sampling:
    """How an epoch's draws are shared among the training rows.

    Attributes:
        strata: shape (n,), each row's stratum, numbered from 0.
        shares: shape (strata,), each one's part of the draws; sum 1.
    """

    strata: Ints
    shares: Floats

    @classmethod
    def of(cls, rows: Rows, model: ModelParams) -> Self:
        """Share the draws as `sampler_power`, `sampler_counts` and `centre_weights` say.

        Args:
            rows: the training rows, all of them known.
            model: one entry of `models`.

        Raises:
            TrainingError: a weight for a centre that no training row is of.
        """
        strata = rows.strata(model.sampler_counts)
        shares = drawn_prior(strata, model.sampler_power, int(strata.max()) + 1)
        if model.centre_weights:
            weights = np.ones_like(shares)
            weights[strata] = _weights(rows, model.centre_weights)
            shares = shares * weights / (shares * weights).sum()
        return cls(strata, shares)

    def table(self, rows: Rows, classes: int) -> Floats:
        """Return the shares by centre and class: shape (centres, classes), sum 1."""
        each = self.shares / np.maximum(np.bincount(self.strata), 1)
        table = np.zeros((int(rows.centres.max()) + 1, classes))
        np.add.at(table, (rows.centres, rows.targets), each[self.strata])
        return table


def _weights(rows: Rows, of_centres: Mapping[str, float]) -> Floats:
    """Return each row's weight by its centre; 1 where none is given."""
    present = [rows.centre_names[number] for number in np.unique(rows.centres)]
    absent = [name for name in of_centres if name not in present]
    if absent:
        raise TrainingError(
            f"no training image is of {first_ten(absent)}; there are {first_ten(present)}",
            "params.yaml, models.<name>.centre_weights",
            "Name centres as the column `centre` of outputs/cases.parquet does.",
        )
    return np.array([of_centres.get(name, 1.0) for name in rows.centre_names])[rows.centres]


def log_priors(shares: Floats, rows: int, by: Strata) -> Floats:
    """What a logit-adjusted loss adds to the logits: log P(class), or log P(class | centre), as drawn.

    Every class counts as one image more in every centre, so that none is impossible there. The network then
    learns what is left: the classes as if all were equally frequent (Menon et al. 2021, arXiv 2007.07314).

    Args:
        shares: shape (centres, classes), from `Sampling.table`.
        rows: number of training rows.
        by: the classes alone, or within each centre.

    Returns:
        Shape (centres, classes).
    """
    counted = shares if by == "class_and_centre" else np.tile(shares.sum(axis=0), (len(shares), 1))
    counted = counted + 1 / rows
    return np.asarray(np.log(counted / counted.sum(axis=1, keepdims=True)))


def class_weights(drawn: Floats, kind: Literal["none", "balanced"]) -> Floats:
    """What an image's loss counts, by its class; a drawn image's weight is 1 on average.

    Args:
        drawn: shape (classes,), sum 1, as the sampler draws them.
        kind: none (1 each), or balanced (in inverse proportion to `drawn`, so that each class has the same
            part in the loss).

    Returns:
        Shape (classes,); 1 for a class that is never drawn.
    """
    if kind == "none":
        return np.ones_like(drawn)
    seen = drawn > 0
    return np.where(seen, 1 / (seen.sum() * np.where(seen, drawn, 1)), 1)


def learned_prior(drawn: Floats, weights: Floats) -> Floats:
    """Class shares that the logits come to carry: an image of weight 2 is learned as if it were drawn twice.

    This, not `drawn` alone, is what probabilities and decision scores have to take out again.

    Args:
        drawn: shape (classes,), sum 1.
        weights: shape (classes,), from `class_weights`.
    """
    shares = drawn * weights
    return np.asarray(shares / shares.sum())


def learned_by_centre(
    shares: Floats, weights: Floats, added: Floats, names: Sequence[str]
) -> dict[str, Floats]:
    """Class shares that the logits come to carry on images of one centre, by the centre's name.

    Args:
        shares: shape (centres, classes), from `Sampling.table`.
        weights: shape (classes,), from `class_weights`.
        added: shape (centres, classes), what the loss adds to the logits: that much they need not learn.
        names: of the centres, by number.

    Returns:
        Shape (classes,) each, sum 1; a centre without a training row is left out.
    """
    carried = zip(names, shares * weights * np.exp(-added), strict=False)  # names may go on: no row of those
    return {name: row / row.sum() for name, row in carried if row.any()}


def draws(sampling: Sampling, count: int, seed: int, epoch: int) -> Ints:
    """Draw an epoch's rows.

    Each stratum gets its share, rounded by chance without bias; within it no row comes again before all have
    come. With natural shares and the count of the rows, each comes once.

    Args:
        sampling: of the training rows.
        count: images to draw.
        seed: train.seed.
        epoch: from 0.

    Returns:
        Shape (count,), row numbers in the order of training.
    """
    chance = np.random.default_rng([seed, epoch, 0])
    strata, shares = sampling.strata, sampling.shares
    ends = np.rint(1e6 * np.cumsum(shares) * count) / 1e6  # whole where the shares are whole
    ends[-1] = count
    quotas = np.diff(np.floor(ends + chance.random()), prepend=0).astype(int)
    quotas[np.flatnonzero(shares)[-1]] += count - quotas.sum()
    drawn = []
    for stratum, quota in enumerate(quotas):
        rows = np.flatnonzero(strata == stratum)
        rounds = math.ceil(quota / len(rows)) if quota else 0
        passes = [chance.permutation(rows) for _ in range(rounds)]
        drawn.append(np.concatenate([*passes, rows[:0]])[:quota])
    return np.asarray(chance.permutation(np.concatenate(drawn)), np.int64)
