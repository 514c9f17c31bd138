"""What is drawn: the same on every processor, every feature visible, every lesion inside its mask."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

from dermaflow.sample import release as drawing
from dermaflow.sample.features import PAINTERS, SIZE, Lesion
from dermaflow.sample.integers import Stream
from dermaflow.sample.lesion import paint
from dermaflow.sample.looks import PATTERNS, draw_look
from dermaflow.sample.photo import CAMERAS, enlarged, photograph
from dermaflow.taxonomy import DIAGNOSES

GOLDEN = "9006d5ac8c2eded25c1f6bfadc2672d886c7998aa5f1637ec53164036d1adbeb"
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import test_sample_pictures
print(test_sample_pictures.nine_pictures_digest())
"""


def nine_pictures_digest() -> str:
    """One picture a diagnosis, as the files' bytes."""
    digest = hashlib.sha256()
    for number, diagnosis in enumerate(DIAGNOSES):
        stream = Stream(11, diagnosis)
        texture = paint(diagnosis, number % 7, stream)
        pixels, mask = photograph(texture, CAMERAS["BCN"], (300, 225), stream.child("view"))
        digest.update(drawing._jpeg(enlarged(pixels, 2), 82) + drawing.encode_mask(mask))
    return digest.hexdigest()


def without_simd() -> dict[str, str]:
    """Environment in which numpy and the JPEG encoder use no instruction set beyond the baseline."""
    features = [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]
    return {**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(features), "JSIMD_FORCENONE": "1"}


def test_the_same_bytes_without_any_special_instruction_set():
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent)]
    plain = subprocess.run(command, env=without_simd(), capture_output=True, text=True, check=True)
    assert plain.stdout.strip() == nine_pictures_digest()


def test_the_same_bytes_as_on_the_machine_that_wrote_this_test():
    assert nine_pictures_digest() == GOLDEN, "pictures changed: draw the demo again and commit data.dvc too"


def test_two_builds_of_the_encoder_write_the_same_bytes():
    texture = paint("MEL", 1, Stream(5))
    pixels, _ = photograph(texture, CAMERAS["HAM"], (600, 450), Stream(5, "view"))
    options = [
        cv2.IMWRITE_JPEG_QUALITY, 82,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    ]  # fmt: skip
    assert bytes(cv2.imencode(".jpg", pixels[:, :, ::-1], options)[1]) == drawing._jpeg(pixels, 82)


@pytest.mark.parametrize("name", PAINTERS)
def test_each_feature_is_seen_and_stays_on_the_lesion(name):
    place = np.arange(SIZE) - SIZE // 2
    far = np.sqrt(place[:, None] ** 2.0 + place[None, :] ** 2)
    depth = (256 - far * 256 / 100).astype(np.int32)
    cover = np.clip(depth * 8, 0, 256).astype(np.int32)
    lesion = Lesion(np.full((3, SIZE, SIZE), 128, np.int32), depth, cover, 100, Stream(4, name))
    PAINTERS[name](lesion, 256)
    changed = np.abs(lesion.canvas - 128).max(axis=0) > 8
    assert changed[far < 100].mean() > 0.005
    assert not changed[far > 160].any()
    untouched = Lesion(np.full((3, SIZE, SIZE), 128, np.int32), depth, cover, 100, Stream(4, name))
    PAINTERS[name](untouched, 0)
    assert (untouched.canvas == 128).all()


def test_every_diagnosis_has_a_pattern_of_known_features():
    assert set(PATTERNS) == set(DIAGNOSES)
    for code, pattern in PATTERNS.items():
        assert set(pattern.features) <= set(PAINTERS)
        assert code not in pattern.mistaken_for
        assert set(pattern.mistaken_for) <= set(DIAGNOSES)


@pytest.mark.parametrize("diagnosis", DIAGNOSES)
def test_a_lesion_shows_mostly_features_of_its_own_diagnosis(diagnosis):
    own = PATTERNS[diagnosis].features
    looks = [draw_look(diagnosis, Stream(6, diagnosis, k)) for k in range(60)]
    mine = [sum(value for name, value in look.strengths.items() if name in own) for look in looks]
    others = [sum(value for name, value in look.strengths.items() if name not in own) for look in looks]
    assert sum(mine) > 1.3 * sum(others)
    assert sum(others) > 0  # some are hard to tell


def test_the_mask_lies_on_the_lesion():
    stream = Stream(8, "mask")
    texture = paint("MEL", 0, stream)  # dark on fair skin
    pixels, mask = photograph(texture, CAMERAS["HAM"], (600, 450), stream.child("plain"))
    assert set(np.unique(mask)) == {0, 255}
    assert 0.05 < (mask == 255).mean() < 0.6
    grey = pixels.mean(axis=2)
    middle = np.zeros_like(mask, bool)
    middle[60:390, 80:520] = True  # apart from dark corners
    assert grey[middle & (mask == 255)].mean() < 0.75 * grey[middle & (mask == 0)].mean()


def test_two_photographs_of_a_lesion_differ():
    stream = Stream(9, "views")
    texture = paint("NV", 2, stream)
    one, two = (photograph(texture, CAMERAS["HAM"], (300, 225), stream.child(k))[0].astype(int) for k in "ab")
    assert np.abs(one - two).mean() > 4


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_enlarging_keeps_flat_colours_and_the_mean(factor):
    flat = np.full((5, 7, 3), 93, np.uint8)
    assert (enlarged(flat, factor) == 93).all()
    picture = Stream(1, "enlarge").ints(0, 255, 20, 30, 3).astype(np.uint8)
    large = enlarged(picture, factor)
    assert large.shape == (20 * factor, 30 * factor, 3)
    assert abs(large.mean() - picture.mean()) < 1
    if factor == 1:
        assert np.array_equal(large, picture)
