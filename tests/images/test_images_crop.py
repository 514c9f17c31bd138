"""Which part of an image is kept."""

import cv2
import numpy as np
import pytest
from images_made import encoded, jpeg, recipe, skin

from dermaflow.images import crop
from dermaflow.images.border import find_field
from dermaflow.images.prepare import encode_stored, prepare


def under_microscope(radius, centre=None, soft=0, width=600, height=450):
    """A skin image whose round field is bright; `soft` blurs the rim (a vignette)."""
    pixels = np.clip(skin(width, height).astype(int) + 60, 0, 255).astype(np.uint8)
    mask = np.zeros((height, width), np.float32)
    x, y = centre or (width // 2, height // 2)
    cv2.circle(mask, (x, y), radius, 1.0, -1)
    if soft:
        mask = cv2.GaussianBlur(mask, (0, 0), soft)
    return (pixels * mask[..., None] + 4 * (1 - mask[..., None])).astype(np.uint8)


@pytest.mark.parametrize("side", [300, 400, 600, 1000])
def test_halving_first_is_close_to_one_area_step(side):
    pixels = cv2.GaussianBlur(skin(side, side), (0, 0), 1.2)
    direct = cv2.resize(pixels, (100, 100), interpolation=cv2.INTER_AREA)
    assert cv2.PSNR(crop.resize(pixels, 100, 100), direct) > 45


def textured(width, height):
    """Skin with detail of about a pixel and a half."""
    rng = np.random.default_rng(3)
    fine = cv2.GaussianBlur(rng.normal(0, 60, (height, width, 3)), (0, 0), 1.2)
    return np.clip(skin(width, height) + fine, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("side", [101, 126, 150, 199, 200, 201, 210, 230, 249, 250, 300, 390, 400, 1000])
def test_shrinking_is_close_to_one_area_step(side):
    pixels = textured(side, side)
    direct = cv2.resize(pixels, (100, 100), interpolation=cv2.INTER_AREA)
    assert cv2.PSNR(crop.resize(pixels, 100, 100), direct) > 39
    assert cv2.PSNR(cv2.resize(pixels, (100, 100), interpolation=cv2.INTER_NEAREST), direct) < 35


@pytest.mark.parametrize(("width", "height"), [(301, 301), (1000, 120), (130, 240), (3001, 64)])
def test_an_odd_or_lopsided_image_shrinks_by_one_area_step(width, height):
    pixels = textured(width, height)
    direct = cv2.resize(pixels, (100, min(height, 100)), interpolation=cv2.INTER_AREA)
    if height < 100:
        direct = cv2.resize(direct, (100, 100), interpolation=cv2.INTER_CUBIC)
    assert np.array_equal(crop.resize(pixels, 100, 100), direct)


def test_a_square_of_the_right_size_stays_as_it_is():
    pixels = textured(100, 100)
    assert np.array_equal(crop.resize(pixels, 100, 100), pixels)


def test_center_keeps_the_largest_square_in_the_middle():
    stored = encode_stored(jpeg(301, 200), recipe("center"))
    assert stored.crop_box_px == (50, 0, 200, 200)
    assert stored.scale == pytest.approx(64 / 200)


def test_full_keeps_everything_between_black_bars():
    pixels = prepare(encoded(np.full((100, 200, 3), 255, np.uint8)), recipe("full"))
    assert (pixels[16:48] == 255).all()
    assert (pixels[:16] == 0).all()
    assert (pixels[48:] == 0).all()


def test_squash_keeps_everything_without_bars():
    pixels = np.zeros((100, 300, 3), np.uint8)
    pixels[:, :150] = 255
    squashed = prepare(encoded(pixels), recipe("squash"))
    assert (squashed[:, :30] == 255).all()
    assert (squashed[:, 34:] == 0).all()
    assert encode_stored(encoded(pixels), recipe("squash")).scale == pytest.approx(64 / (100 * 300) ** 0.5)


@pytest.mark.parametrize("centre", [(300, 225), (270, 215), (330, 240)])
@pytest.mark.parametrize("soft", [0, 8])
def test_border_cuts_the_frame_around_a_round_field(centre, soft):
    radius = 170
    left, top, width, height = find_field(under_microscope(radius=radius, centre=centre, soft=soft))
    x, y = centre
    for edge, true in (
        (left, x - radius),
        (top, y - radius),
        (left + width, x + radius),
        (top + height, y + radius),
    ):
        assert abs(edge - true) < 0.09 * radius
    assert left <= x - radius + 4
    assert left + width >= x + radius - 4


@pytest.mark.parametrize("radius", [260, 300, 340])
def test_border_keeps_the_whole_width_when_only_the_corners_are_dark(radius):
    left, _, width, height = find_field(under_microscope(radius=radius))
    assert width >= min(600, 2 * radius)
    assert height == 450
    assert left + width / 2 == pytest.approx(300, abs=6)


def test_border_is_not_bent_by_a_dark_lesion_that_touches_the_rim():
    pixels = under_microscope(radius=200)
    cv2.ellipse(pixels, (130, 225), (45, 30), 0, 0, 360, (15, 8, 8), -1)
    left, _, width, _ = find_field(pixels)
    assert left <= 104
    assert left + width >= 496


@pytest.mark.parametrize("shape", ["no border", "dark lesion", "all dark", "a finger", "dark half", "oval"])
def test_border_falls_back_to_center_where_no_round_field_is_sure(shape):
    pixels = np.clip(skin(600, 450).astype(int) + 60, 0, 255).astype(np.uint8)
    if shape == "dark lesion":
        cv2.circle(pixels, (300, 225), 150, (10, 5, 5), -1)
    if shape == "all dark":
        pixels[:] = 2
    if shape == "a finger":
        pixels[:, :150] = 3
        pixels[:, 420:] = 3
    if shape == "dark half":
        pixels[225:] = 3
    if shape == "oval":  # a circle fits a part of its edge, and would cut off both ends
        mask = cv2.ellipse(np.zeros((450, 600), np.uint8), (300, 225), (180, 150), 0, 0, 360, 1, -1)
        pixels = pixels * mask[..., None] + 3
    assert find_field(pixels) is None
    assert encode_stored(encoded(pixels), recipe("border")).crop_box_px == (75, 0, 450, 450)


@pytest.mark.parametrize(("rim", "lesion"), [(0.2, 0.3), (0.3, 0.4), (0.4, 1)])
def test_a_rim_of_another_darkness_is_told_from_the_lesion_that_touches_it(rim, lesion):
    level = np.full((450, 600), rim, np.float32)
    cv2.circle(level, (300, 225), 200, 1.0, -1)
    cv2.ellipse(level, (160, 225), (60, 90), 0, 0, 360, lesion, -1)
    pixels = np.repeat((level * 200).astype(np.uint8)[..., None], 3, axis=2)
    assert find_field(pixels) == pytest.approx((93, 18, 414, 414), abs=6)


@pytest.mark.parametrize(("radius", "found"), [(85, False), (90, True)])
def test_a_field_is_at_least_four_tenths_of_the_shorter_side(radius, found):
    assert (find_field(under_microscope(radius=radius, width=450)) is not None) is found


@pytest.mark.parametrize(("radius", "found"), [(364, False), (355, True)])
def test_corners_of_less_than_three_thousandths_of_the_image_are_no_border(radius, found):
    assert (find_field(under_microscope(radius=radius)) is not None) is found


def test_the_border_is_found_at_every_size_of_the_same_image():
    boxes = []
    for width in (300, 1200, 3000):
        pixels = cv2.resize(
            under_microscope(radius=190), (width, width * 3 // 4), interpolation=cv2.INTER_AREA
        )
        stored = encode_stored(encoded(pixels, "JPEG", quality=95), recipe("border", 32, 32))
        boxes.append(np.array(stored.crop_box_px) / width)
    np.testing.assert_allclose(boxes, np.broadcast_to(boxes[0], (3, 4)), atol=0.012)


def test_what_a_cut_border_leaves_is_decoded_finely_enough_for_its_size():
    pixels = textured(1400, 1050)
    mask = cv2.circle(np.zeros((1050, 1400, 1), np.uint8), (700, 525), 300, 1, -1)
    file = encoded(pixels * mask, "JPEG", quality=95)
    left, top, width, height = encode_stored(file, recipe("border")).crop_box_px
    assert (width, height) == (616, 616)
    full = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR_RGB)
    part = full[top : top + height, left : left + width]
    wanted = cv2.resize(part, (64, 64), interpolation=cv2.INTER_AREA)
    assert cv2.PSNR(prepare(file, recipe("border")), wanted) > 39


@pytest.mark.isic
def test_border_keeps_the_lesions_of_real_images_with_dark_corners(isic):
    folder = isic / "2018" / "ISIC2018_Task3_Training_Input"
    kept = []
    for file in sorted(folder.iterdir())[::10]:
        pixels = cv2.imread(str(file))
        field = find_field(pixels)
        if field is None:
            continue
        mask = cv2.imread(str(isic / "lesion_masks" / f"{file.stem}_segmentation.png"), 0) > 0
        left, top, width, height = field
        kept.append(mask[top : top + height, left : left + width].sum() / mask.sum())
    assert len(kept) > 50
    assert np.mean(kept) >= 0.995
    assert min(kept) >= 0.97
