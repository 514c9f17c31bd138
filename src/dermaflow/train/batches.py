"""How an epoch's images come as batches, the same whatever the number of processes.

An image's augmentation follows from (seed, epoch, its number among the draws). So a resumed training, or one
with other workers, sees the same batches.
"""

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from dermaflow.errors import DermaflowError, TrainingError
from dermaflow.train.augment import Augment
from dermaflow.train.sampling import Ints, Rows, Sampling, draws

Batch = tuple[Tensor, Tensor, Tensor, Tensor]
"""image (n, h, h, 3) uint8, patient (n, 11) float32, target (n,) int64, centre (n,) int64."""


_TOLD_WITHIN_SECONDS: Final = 5


class Reader(Protocol):
    """What training asks of `images.store.ShardReader`; it must survive pickling."""

    def pixels(self, image_id: str, input_px: int, /) -> NDArray[np.uint8]:
        """Pixels as the network sees them: shape (input_px, input_px, 3), RGB."""
        ...


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
        require_a_batch(drawn_images, batch)
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


def require_a_batch(drawn_images: int, batch: int) -> None:
    """Refuse an epoch that is smaller than one batch.

    Raises:
        TrainingError: it is.
    """
    if drawn_images < batch:
        raise TrainingError(
            f"an epoch of {drawn_images} images is smaller than a batch of {batch}",
            "params.yaml, train.batch",
            f"Set train.batch to {max(2, drawn_images)} at most, or models.<name>.drawn_images higher.",
        )


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


@contextmanager
def telling_lost_workers() -> Iterator[None]:
    """Say in one line that a loading process is gone; torch raises that wherever its owner is at work.

    Raises:
        TrainingError: it is.
    """
    try:
        yield
    except (RuntimeError, EOFError, ConnectionError) as error:
        if not _of_a_lost_worker(error):
            raise
        raise TrainingError(
            "a process that loads images was ended from outside, mostly for want of memory",
            "params.yaml, workers",
            "Set it or train.batch lower, and run again: it goes on from the last finished epoch.",
        ) from None


def _of_a_lost_worker(error: Exception) -> bool:
    """Whether torch says so: a moment later where a process ended while it handed its batch over."""
    try:
        if not isinstance(error, RuntimeError):
            time.sleep(_TOLD_WITHIN_SECONDS)
    except RuntimeError as told:
        error = told
    return "DataLoader worker (pid" in str(error)


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
    sys.excepthook = _unless_left


def _unless_left(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an error of a loading process, unless nobody takes its batch any more: the training has ended."""
    if not issubclass(kind, (EOFError, ConnectionError)):
        sys.__excepthook__(kind, error, trace)


class _quiet_fork(warnings.catch_warnings):  # noqa: N801 - used as a with statement
    """Python 3.12 warns of a fork beside torch's idle threads; the workers use numpy and OpenCV only."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)
