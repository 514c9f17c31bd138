"""An epoch's batches depend on seed and epoch alone, not on who loads them."""

import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from dermaflow.errors import DataError, TrainingError
from dermaflow.model.params import ModelParams
from dermaflow.train.augment import Augment
from dermaflow.train.batches import TrainBatches, loader, plain_batches, telling_lost_workers
from dermaflow.train.params import AugmentParams
from dermaflow.train.sampling import Sampling


def make(rows, reader, *, workers=0, part=(0, 1), batch=8, drawn_images=30, px_in=lambda _epoch: 32):
    augment = Augment(AugmentParams())
    return TrainBatches(
        rows(30),
        reader,
        augment,
        drawn_images=drawn_images,
        batch=batch,
        sampling=Sampling.of(rows(30), ModelParams(sampler_power=0.5)),
        seed=1,
        workers=workers,
        px_in=px_in,
        part=part,
    )


def same(one, other):
    return len(one) == len(other) and all(
        torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)
    )


def test_any_number_of_workers_gives_the_same_batches(rows, reader):
    wanted = [batch for epoch in (0, 1) for batch in make(rows, reader).epoch(epoch)]
    for workers in (1, 2):
        batches = make(rows, reader, workers=workers)
        assert same(wanted, [batch for epoch in (0, 1) for batch in batches.epoch(epoch)])


def test_an_epoch_is_the_same_whichever_came_before(rows, reader):
    assert same(list(make(rows, reader).epoch(1)), list(make(rows, reader).epoch(1)))
    assert not same(list(make(rows, reader).epoch(0)), list(make(rows, reader).epoch(1)))


def test_two_training_processes_share_the_batch_of_one(rows, reader):
    whole = list(make(rows, reader).epoch(0))
    parts = [list(make(rows, reader, part=(rank, 2)).epoch(0)) for rank in (0, 1)]
    for both, one, other in zip(whole, *parts, strict=True):
        assert torch.equal(both[0][0::2], one[0])
        assert torch.equal(both[0][1::2], other[0])


def test_batches_that_can_not_be_made_are_errors(rows, reader):
    with pytest.raises(TrainingError, match="an epoch of 30 images is smaller than a batch of 64"):
        make(rows, reader, batch=64)
    with pytest.raises(TrainingError, match="a batch of 9 can't be shared by 2 processes"):
        make(rows, reader, batch=9, part=(0, 2))


@pytest.mark.parametrize("workers", [0, 2])
def test_plain_batches_are_the_readers_own_pixels_in_order(workers, rows, reader):
    images = torch.cat([image for image, *_ in plain_batches(rows(11), reader, 32, 4, workers)]).numpy()
    assert all(np.array_equal(image, reader.pixels(f"i{n}", 32)) for n, image in enumerate(images))


class Damaged:
    """One of its images can't be read."""

    def __init__(self, reader):
        self.reader = reader

    def pixels(self, image_id, input_px):
        if image_id == "i9":
            raise DataError("the stored image is damaged", "00.arrow, i9", "Run `dvc repro`.")
        return self.reader.pixels(image_id, input_px)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_a_worker_can_not_read_is_told_as_one_line(workers, rows, reader):
    damaged = Damaged(reader)
    with pytest.raises(DataError, match=r"^00\.arrow, i9: the stored image is damaged\. Run `dvc repro`\.$"):
        list(plain_batches(rows(11), damaged, 32, 4, workers))
    with pytest.raises(DataError, match=r"^00\.arrow, i9: the stored image is damaged"):
        list(make(rows, damaged, workers=workers, drawn_images=200).epoch(0))


LOSES_ONE = """
import multiprocessing, os, signal, time
import torch
from torch.utils.data import Dataset
from dermaflow.errors import tell_errors
from dermaflow.train.batches import loader, telling_lost_workers

class Slow(Dataset):
    def __getitems__(self, wanted):
        time.sleep(0.01)
        return [torch.zeros(1)]

@telling_lost_workers()
def train():
    for _ in loader(Slow(), [[0]] * 2000, workers=2):
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

tell_errors(train)
"""


def test_a_loading_process_that_is_gone_is_told_as_one_line():
    done = subprocess.run([sys.executable, "-c", LOSES_ONE], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: params.yaml, workers: a process that loads images was ended from")
    assert len(done.stderr.splitlines()) == 1
    with pytest.raises(RuntimeError, match=r"^another$"), telling_lost_workers():
        raise RuntimeError("another")


def test_a_batch_whose_process_ended_while_handing_it_over_is_told_so_too():
    def of_torch(*_):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    before = signal.signal(signal.SIGALRM, of_torch)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(TrainingError, match=r"ended from outside"), telling_lost_workers():
            raise EOFError
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    "error", [ConnectionError("a hub's"), RuntimeError("Caught RuntimeError in DataLoader worker process 0.")]
)
def test_an_error_while_all_loading_processes_live_stays_as_it_is(error, monkeypatch):
    monkeypatch.setattr("dermaflow.train.batches._TOLD_WITHIN_SECONDS", 0.01)
    with pytest.raises(type(error)) as raised, telling_lost_workers():
        raise error
    assert raised.value is error


class Telling(Dataset):
    def __getitems__(self, _wanted):
        for error in (ConnectionResetError("left alone"), EOFError("left alone"), ValueError("of its own")):
            sys.excepthook(type(error), error, None)
        return [torch.zeros(1)]


def test_a_loading_process_that_is_left_alone_is_silent(capfd):
    assert len(list(loader(Telling(), [[0]], workers=1))) == 1
    assert capfd.readouterr().err == "ValueError: of its own\n"


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_may_show_smaller_images(rows, reader, workers):
    batches = make(rows, reader, workers=workers, px_in=lambda epoch: 16 if epoch < 1 else 32)
    for epoch, side in ((0, 16), (1, 32), (0, 16)):
        assert {image.shape[1:] for image, *_ in batches.epoch(epoch)} == {(side, side, 3)}


class OnePicture:
    """Stands in for a reader: every image is the same noise."""

    def pixels(self, _image_id, px):
        return np.random.default_rng(0).integers(0, 256, (px, px, 3)).astype(np.uint8)


def test_no_image_and_no_epoch_is_augmented_as_another_and_another_seed_does_it_otherwise(rows):
    def shown(seed):
        batches = TrainBatches(
            rows(30), OnePicture(), Augment(AugmentParams()), drawn_images=24, batch=8,
            sampling=Sampling.of(rows(30), ModelParams(sampler_power=0.5)), seed=seed, workers=0, part=(0, 1),
            px_in=lambda _epoch: 32,
        )  # fmt: skip
        images = [image for epoch in range(3) for image, *_ in batches.epoch(epoch)]
        return [image.tobytes() for image in torch.cat(images).numpy()]

    one, other = shown(1), shown(2)
    assert len(set(one)) == len(one) == 72
    assert not set(one) & set(other)
