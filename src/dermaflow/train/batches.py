"""Which images an epoch shows, and how they come as batches, whatever the number of processes.

All chance comes from (seed, epoch): the draws from it alone, each image's augmentation also from its number
among the draws. So a resumed training, or one with other workers, sees the same batches.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, Self

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from dermaflow.errors import DermaflowError, TrainingError, first_ten
from dermaflow.model.params import ModelParams, Strata
from dermaflow.train.augment import Augment

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Batch = tuple[Tensor, Tensor, Tensor, Tensor]
"""image (n, h, h, 3) uint8, patient (n, 11) float32, target (n,) int64, centre (n,) int64."""


class Reader(Protocol):
    """What training asks of `images.store.ShardReader`; it must survive pickling."""

    def pixels(self, image_id: str, input_px: int, /) -> NDArray[np.uint8]:
        """Pixels as the network sees them: shape (input_px, input_px, 3), RGB."""
        ...


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


class TrainBatches:
    """An endless supply of epochs; iterate `epoch(n)`.

    Attributes:
        steps: batches an epoch.
        batch: images a step, over all training processes.
    """

    def __init__(
        self,
        rows: Rows,
        reader: Reader,
        augment: Augment,
        *,
        drawn_images: int,
        batch: int,
        sampling: Sampling,
        seed: int,
        workers: int,
        px_in: Callable[[int], int],
        part: tuple[int, int] = (0, 1),
    ) -> None:
        """Start the processes that load.

        Args:
            rows: the training rows.
            reader: pixels by id.
            augment: what is done to each image.
            drawn_images: an epoch; a remainder smaller than a batch is left out.
            batch: images a step, over all training processes.
            sampling: how the draws are shared among the rows.
            seed: of draws and augmentation.
            workers: processes; 0 loads in this one.
            px_in: side of the images in an epoch.
            part: rank and number of training processes; each gets every n-th image of a batch.

        Raises:
            TrainingError: fewer images than one batch, or a batch that can't be shared out.
        """
        if drawn_images < batch:
            raise TrainingError(
                f"an epoch of {drawn_images} images is smaller than a batch of {batch}",
                "params.yaml, train.batch",
                f"Set train.batch to {max(2, drawn_images)} at most, or models.<name>.drawn_images higher.",
            )
        if batch % part[1]:
            raise TrainingError(
                f"a batch of {batch} can't be shared by {part[1]} processes",
                "params.yaml, train.batch",
                "Set it to a multiple of the processes.",
            )
        self.steps = drawn_images // batch
        self.batch = batch
        self._order = _Order(sampling, steps=self.steps, batch=batch, seed=seed, part=part)
        dataset = _Augmented(rows, reader, augment, seed, px_in)
        self._loader = loader(dataset, self._order, workers)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of one epoch, numbered from 0."""
        self._order.epoch = number
        with _quiet_fork():
            batches = iter(self._loader)
        yield from map(_told, batches)


Draw = tuple[int, int, int]
"""Epoch, number within it, row."""


class _Order(Sampler[list[Draw]]):
    """Says in the main process which draws make up each batch, so that workers need no state."""

    def __init__(
        self, sampling: Sampling, *, steps: int, batch: int, seed: int, part: tuple[int, int]
    ) -> None:
        self.sampling, self.steps, self.batch, self.seed = sampling, steps, batch, seed
        self.rank, self.processes = part
        self.epoch = 0

    def __iter__(self) -> Iterator[list[Draw]]:
        rows = draws(self.sampling, self.steps * self.batch, self.seed, self.epoch)
        for start in range(0, len(rows), self.batch):
            mine = range(start + self.rank, start + self.batch, self.processes)
            yield [(self.epoch, number, int(rows[number])) for number in mine]

    def __len__(self) -> int:
        return self.steps


class _Augmented(Dataset[Batch]):
    """Whole batches by their draws."""

    def __init__(
        self, rows: Rows, reader: Reader, augment: Augment, seed: int, px_in: Callable[[int], int]
    ) -> None:
        self.rows, self.reader, self.augment, self.seed, self.px_in = rows, reader, augment, seed, px_in

    def __getitems__(self, wanted: list[Draw]) -> Batch:
        images = [
            self.augment(
                self.reader.pixels(self.rows.image_ids[row], self.px_in(epoch)), self.seed, epoch, number
            )
            for epoch, number, row in wanted
        ]
        return tensors(self.rows, np.array([row for _, _, row in wanted]), images)


class Plain(Dataset[Batch]):
    """Whole batches by row numbers, without augmentation: validation and prediction."""

    def __init__(self, rows: Rows, reader: Reader, input_px: int) -> None:
        """Keep what `__getitems__` needs."""
        self.rows, self.reader, self.input_px = rows, reader, input_px

    def __getitems__(self, wanted: list[int]) -> Batch:
        """Return one batch."""
        images = [self.reader.pixels(self.rows.image_ids[row], self.input_px) for row in wanted]
        return tensors(self.rows, np.array(wanted), images)


def tensors(rows: Rows, wanted: Ints, images: list[NDArray[np.uint8]]) -> Batch:
    """Put a batch together."""
    return (
        torch.from_numpy(np.stack(images)),
        torch.from_numpy(rows.patients[wanted]),
        torch.from_numpy(rows.targets[wanted]),
        torch.from_numpy(rows.centres[wanted]),
    )


def loader(dataset: Dataset[Batch], order: Any, workers: int) -> DataLoader[Batch]:  # noqa: ANN401
    """Load `order`'s batches (lists of keys) in processes that stay.

    A loader draws a seed whenever its processes start: from a generator of its own, or the dropout of an
    epoch would depend on their number and on where a training was resumed.
    """
    return DataLoader(
        _Telling(dataset),
        batch_sampler=order,
        num_workers=workers,
        collate_fn=_as_is,
        persistent_workers=workers > 0,
        worker_init_fn=_one_thread,
        pin_memory=torch.cuda.is_available(),
        multiprocessing_context="fork" if workers else None,
        generator=torch.Generator(),
    )


def plain_batches(rows: Rows, reader: Reader, input_px: int, batch: int, workers: int) -> Iterator[Batch]:
    """Yield all rows in their order, without augmentation."""
    order = [list(range(start, min(start + batch, len(rows)))) for start in range(0, len(rows), batch)]
    with _quiet_fork():
        batches = iter(loader(Plain(rows, reader, input_px), order, min(workers, len(order))))
    yield from map(_told, batches)


class _Telling(Dataset[Any]):
    """Hands an error of ours over as a value: torch would wrap it in a RuntimeError with a traceback."""

    def __init__(self, dataset: Any) -> None:  # noqa: ANN401
        self.dataset = dataset

    def __getitems__(self, wanted: list[Any]) -> Any:  # noqa: ANN401
        try:
            return self.dataset.__getitems__(wanted)
        except DermaflowError as error:
            return type(error), error.what, error.where, error.remedy


def _told(batch: Any) -> Batch:  # noqa: ANN401
    if isinstance(batch[0], type):
        kind, *parts = batch
        raise kind(*parts)
    whole: Batch = batch
    return whole


def _as_is(batch: Any) -> Batch:  # noqa: ANN401 - torch calls it a list
    whole: Batch = batch
    return whole


def _one_thread(_worker: int) -> None:
    cv2.setNumThreads(0)


class _quiet_fork(warnings.catch_warnings):  # noqa: N801 - used as a with statement
    """Python 3.12 warns of a fork beside torch's idle threads; the workers use numpy and OpenCV only."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)
