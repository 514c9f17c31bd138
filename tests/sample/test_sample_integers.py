"""The arithmetic under the drawn release: exact, and the same whatever the order or the size of the calls."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermaflow.sample.integers import ONE_SHIFT, SINE, TURN, Stream, cosine, ramp, root, sine, soft_noise
from dermaflow.sample.png import encode_mask


def test_the_sine_table_is_the_sine_to_the_nearest_step():
    wanted = [math.sin(2 * math.pi * k / TURN) * (1 << ONE_SHIFT) for k in range(TURN)]
    assert np.abs(SINE - wanted).max() <= 0.5 + 1e-6
    assert sine(-TURN // 4) == -(1 << ONE_SHIFT)
    assert cosine(TURN) == 1 << ONE_SHIFT


@given(st.lists(st.integers(0, 46_340), min_size=1, max_size=50))
def test_the_root_is_exact_also_beside_perfect_squares(sides):
    squares = np.array([n * n + d for n in sides for d in (-1, 0, 1) if n * n + d >= 0], np.int64)
    assert root(squares).tolist() == [math.isqrt(int(square)) for square in squares]


def test_a_stream_gives_the_same_numbers_in_one_call_or_in_many():
    whole, parts = Stream(1, "a").words(9), Stream(1, "a")
    assert np.concatenate([parts.words(2), parts.words(7)]).tolist() == whole.tolist()
    one_by_one, at_once = Stream(1, "b"), Stream(1, "b")
    assert [one_by_one.integer(-5, 90) for _ in range(200)] == at_once.ints(-5, 90, 200).tolist()


def test_streams_of_other_names_are_other_numbers_and_stay_in_their_range():
    numbers = {Stream(1, name).integer(0, 2**31 - 1) for name in range(500)}
    assert len(numbers) == 500
    drawn = Stream(1, "range").ints(-3, 4, 5000)
    assert set(drawn.tolist()) == set(range(-3, 5))
    assert abs(drawn.mean() - 0.5) < 0.1


def test_a_shuffle_keeps_every_item():
    items = list(range(40))
    mixed = Stream(2, "mix").shuffled(items)
    assert sorted(mixed) == items
    assert mixed != items


def test_soft_noise_is_smooth_and_centred():
    noise = soft_noise(Stream(3, "noise"), 256, 4, octaves=1)
    assert np.abs(np.diff(noise, axis=0)).max() < 16  # 64 pixels from one lattice point to the next
    assert np.abs(noise).max() <= 256
    assert ramp(np.array([0, 10, 15, 20, 99], np.int32), 10, 10).tolist() == [0, 0, 128, 256, 256]
    assert ramp(np.array([0, 5, 20], np.int32), 10, -10).tolist() == [256, 128, 0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 800), min_size=1, max_size=12), st.integers(1, 300), st.integers(0, 255))
def test_a_mask_file_decodes_to_the_mask(runs, width, first):
    flat = np.concatenate([np.full(run, (first + 97 * k) % 256, np.uint8) for k, run in enumerate(runs)])
    rows = -(-flat.size // width)
    mask = np.resize(flat, (rows, width))
    decoded = cv2.imdecode(np.frombuffer(encode_mask(mask), np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(decoded, mask)


@pytest.mark.parametrize("shape", [(1, 1), (1, 258), (3, 259), (450, 600)])
def test_a_plain_mask_is_small_and_decodes(shape):
    mask = np.full(shape, 255, np.uint8)
    file = encode_mask(mask)
    assert len(file) < 100 + mask.size // 80
    assert np.array_equal(cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED), mask)
