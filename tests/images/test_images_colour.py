"""Shades of Gray: the light's colour is taken out, and nothing else."""

import numpy as np
import pytest
from images_made import encoded, jpeg, png, recipe, skin

from dermaflow.images import colour
from dermaflow.images.prepare import encode_stored, prepare

GRAY = "shades_of_gray"


def by_hand(image):
    """As the paper has it, in floating point."""
    light = (image.reshape(-1, 3).astype(float) ** 6).mean(axis=0) ** (1 / 6)
    factors = np.sqrt((light**2).mean()) / light
    return np.clip(np.rint(image * factors), 0, 255)


def dim(seed):
    """Skin that no scaling here drives over the brightest value."""
    return (skin(90, 60, seed) * 0.6).astype(np.uint8)


@pytest.mark.parametrize("seed", range(4))
def test_each_channel_is_scaled_until_the_minkowski_mean_is_grey(seed):
    image = skin(90, 60, seed)
    found = colour.balanced(image, GRAY)
    assert abs(found.astype(float) - by_hand(image)).max() <= 1  # factors are whole parts of 4096
    light = (colour.balanced(dim(seed), GRAY).reshape(-1, 3).astype(float) ** 6).mean(axis=0) ** (1 / 6)
    assert np.ptp(light) < 1


def test_the_same_skin_under_another_lamp_looks_the_same():
    image = dim(1)
    lamp = (image * [1.3, 1.0, 0.7]).round().astype(np.uint8)
    assert abs(image.astype(int) - lamp).mean() > 15
    plain, other = (colour.balanced(one, GRAY).astype(float) for one in (image, lamp))
    scale = plain.mean() / other.mean()  # how bright the lamp is stays
    assert abs(plain - other * scale).mean() < 1


def test_grey_light_black_images_and_none_change_nothing():
    image = skin(40, 40)
    assert colour.balanced(image, "none") is image
    gray = np.repeat(image[:, :, :1], 3, axis=2)
    assert np.array_equal(colour.balanced(gray, GRAY), gray)
    assert not colour.balanced(np.zeros((4, 4, 3), np.uint8), GRAY).any()


def test_what_would_be_brighter_than_white_is_white():
    image = dim(3)
    image[:3, :3] = [40, 250, 250]
    image[20:, :, 1] //= 4
    found = colour.balanced(image, GRAY)
    assert by_hand(image).max() == 255
    assert abs(found.astype(float) - by_hand(image)).max() <= 1


def test_black_bars_hardly_count():
    image = dim(2)
    wide = np.zeros((150, 90, 3), np.uint8)
    wide[45:105] = image
    found = colour.balanced(wide, GRAY)
    assert not found[:45].any()
    assert abs(found[45:105].astype(int) - colour.balanced(image, GRAY)).max() <= 1


@pytest.mark.parametrize("crop", ["center", "full"])
def test_it_is_part_of_the_one_way_from_bytes_to_pixels(crop):
    for file in (jpeg(300, 200), png(200, 150), encoded(skin(64, 64))):
        plain, asked = recipe(crop), recipe(crop, colour_constancy=GRAY)
        assert np.array_equal(prepare(file, asked), colour.balanced(prepare(file, plain), GRAY))
        assert encode_stored(file, asked).encoded != encode_stored(file, plain).encoded
