"""A tiny world: squares whose colour tells the class, in memory."""

import numpy as np
import pytest
from accelerate.state import AcceleratorState, PartialState

from dermaflow.model.params import ModelParams
from dermaflow.train.params import TrainParams
from dermaflow.train.sampling import Rows


class FakeReader:
    """Stands in for images.store.ShardReader; pickles."""

    def pixels(self, image_id, input_px):
        number = int(image_id.removeprefix("i"))
        chance = np.random.default_rng(number)
        pixels = chance.integers(60, 140, (input_px, input_px, 3)).astype(np.uint8)
        pixels[..., number % 3] += 90
        return pixels


@pytest.fixture
def reader():
    return FakeReader()


def made_rows(count, start=0):
    """Rows whose class is what FakeReader colours them by."""
    numbers = np.arange(start, start + count)
    ids = tuple(f"i{number}" for number in numbers)
    patients, centres = np.zeros((count, 11), np.float32), numbers // 7 % 2
    return Rows(ids, patients, numbers % 3, centres, centre_names=("North", "South"))


@pytest.fixture
def rows():
    return made_rows


@pytest.fixture
def tiny_model():
    def make(**changes):
        tiny = {
            "backbone": "test_efficientnet",
            "weights": "none",
            "stored_px": 32,
            "input_px": 32,
            "epochs": 3,
        }
        return ModelParams(**{**tiny, **changes})

    return make


@pytest.fixture
def tiny_train():
    def make(**changes):
        return TrainParams(**{"batch": 8, "threads": 1, "precision": "float32", **changes})

    return make


@pytest.fixture
def fresh_accelerate():
    """Forget the precision that the process was first set to."""

    def reset():
        AcceleratorState._reset_state()
        PartialState._reset_state()

    return reset


@pytest.fixture(autouse=True)
def _fresh_accelerate(fresh_accelerate):
    yield
    fresh_accelerate()
