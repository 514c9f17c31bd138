"""What a file says that its colours mean is applied; what it says wrongly does no harm."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from images_made import chunk, encoded, folder_of, recipe, skin, with_chunk, with_segment

from dermaflow.images import contact, icc, store
from dermaflow.images.header import MAX_PROFILE, read_header
from dermaflow.images.prepare import encode_stored, prepare
from dermaflow.sources import open_source
from helpers_icc import ADOBE_RGB, DISPLAY_P3, P3_XYZ, SRGB, SRGB_CURVE, in_adobe_rgb, in_display_p3, profile

KINDS = ["JPEG", "PNG"]
STORED = {"Display P3": (in_display_p3, DISPLAY_P3), "Adobe RGB": (in_adobe_rgb, ADOBE_RGB)}


def file(pixels, icc_profile=None, kind="PNG"):
    return encoded(pixels, kind, icc_profile=icc_profile, **({"quality": 98} if kind == "JPEG" else {}))


def apart(a, b):
    return np.abs(a.astype(int) - b.astype(int)).mean()


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(64, 64), (900, 700)])
def test_the_same_picture_is_the_same_in_whatever_colours_it_is_stored(stored, kind, size):
    convert, named = STORED[stored]
    rgb = skin(*size)
    wanted = prepare(file(rgb, kind=kind), recipe())
    assert apart(prepare(file(convert(rgb), named, kind), recipe()), wanted) < 1.2
    assert apart(prepare(file(convert(rgb), None, kind), recipe()), wanted) > 5


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_says_srgb_is_read_as_one_that_says_nothing(kind):
    rgb = skin()
    with_profile, without = (prepare(file(rgb, named, kind), recipe()) for named in (SRGB, None))
    assert np.abs(with_profile.astype(int) - without).max() <= 1


@pytest.mark.parametrize("colour", ["none", "shades_of_gray"])
@pytest.mark.parametrize("lossless_up_to_px", [256, 0])
def test_training_and_service_see_the_same_colours(colour, lossless_up_to_px):
    asked = recipe("full", 96, 64, lossless_up_to_px, colour_constancy=colour)
    photo = file(in_display_p3(skin()), DISPLAY_P3, "JPEG")
    shard = store.decode_stored(encode_stored(photo, asked).encoded, asked.input_px)
    np.testing.assert_array_equal(prepare(photo, asked), shard)


def test_colours_are_balanced_after_they_are_made_srgb():
    rgb = skin()
    asked = recipe(colour_constancy="shades_of_gray")
    assert apart(prepare(file(in_display_p3(rgb), DISPLAY_P3), asked), prepare(file(rgb), asked)) < 1.2


def test_a_contact_sheet_shows_the_original_in_its_own_colours(tmp_path):
    files = {f"train/ISIC_{number}.png": photo for number, photo in enumerate((file(skin()), _p3_photo()), 1)}
    source = open_source(folder_of(tmp_path / "r", files), {"train": ["train"]})
    (tmp_path / "64" / "a").mkdir(parents=True)
    store.write_shards(source, ["ISIC_1", "ISIC_2"], recipe(), tmp_path / "64" / "a", progress=False)
    reader = store.ShardReader(tmp_path / "64", ["a"])
    sheets = []
    for image_id in reader.ids:
        contact.before_after([image_id], [source], reader, tmp_path / "sheet.png", max_pixels=10**6)
        sheets.append(cv2.imread(str(tmp_path / "sheet.png"))[20:])  # below the line of text
    assert apart(*sheets) < 1.2


def _p3_photo():
    return file(in_display_p3(skin()), DISPLAY_P3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("padding", [0, 70_000, 200_000, MAX_PROFILE - len(DISPLAY_P3)])
def test_a_profile_is_found_in_however_many_parts(kind, padding):
    named = profile(P3_XYZ, *SRGB_CURVE, padding=padding)
    assert read_header(file(skin(), named, kind), "x").profile == named


@pytest.mark.parametrize("kind", KINDS)
def test_a_profile_of_more_than_four_megabytes_is_taken_for_none(kind):
    named = profile(P3_XYZ, *SRGB_CURVE, padding=MAX_PROFILE - len(DISPLAY_P3) + 1)
    assert read_header(file(skin(), named, kind), "x").profile is None


def parts(*numbered):
    """A JPEG with these parts of a profile: number, count, content."""
    jpeg = file(skin(), kind="JPEG")
    for number, count, content in reversed(numbered):
        jpeg = with_segment(jpeg, 0xE2, b"ICC_PROFILE\0" + bytes([number, count]) + content)
    return jpeg


def one_part():
    content = b"ICC_PROFILE\0\1\1" + DISPLAY_P3
    return b"\xff\xe2" + (len(content) + 2).to_bytes(2) + content


def test_parts_may_come_in_any_order_but_each_once_and_all():
    half, rest = DISPLAY_P3[:200], DISPLAY_P3[200:]
    found = {
        "in order": parts((1, 2, half), (2, 2, rest)),
        "turned": parts((2, 2, rest), (1, 2, half)),
        "one missing": parts((2, 2, rest)),
        "from naught": parts((0, 2, half), (1, 2, rest)),
        "counts differ": parts((1, 2, half), (2, 3, rest)),
        "another segment": with_segment(file(skin(), kind="JPEG"), 0xE2, b"MPF\0" + DISPLAY_P3),
        "cut in its name": with_segment(file(skin(), kind="JPEG"), 0xE2, b"ICC_PROFILE\0"),
        "behind the pixels": file(skin(), kind="JPEG").removesuffix(b"\xff\xd9") + one_part() + b"\xff\xd9",
        "three hundred": parts(*((number % 256, number // 256, b"") for number in range(300))),
    }
    whole = {what for what, photo in found.items() if read_header(photo, "x").profile == DISPLAY_P3}
    none = {what for what, photo in found.items() if read_header(photo, "x").profile is None}
    assert whole == {"in order", "turned"}
    assert none == set(found) - whole


@pytest.mark.parametrize(
    ("made", "before"),
    [
        (chunk(b"iCCP", b"name\0\0" + zlib.compress(DISPLAY_P3)[:-4]), b"IDAT"),
        (chunk(b"iCCP", b"name\0\0" + DISPLAY_P3), b"IDAT"),
        (chunk(b"iCCP", b"no zero"), b"IDAT"),
        (chunk(b"iCCP", b""), b"IDAT"),
        (chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(16 * MAX_PROFILE))), b"IDAT"),
        (chunk(b"iCCP", b"name\0\0" + zlib.compress(DISPLAY_P3)), b"IEND"),
    ],
    ids=["cut", "not packed", "no name", "empty", "bomb", "behind the pixels"],
)
def test_a_damaged_profile_of_a_png_is_taken_for_none(made, before):
    photo = with_chunk(file(skin()), made, before)
    assert read_header(photo, "x").profile is None
    np.testing.assert_array_equal(prepare(photo, recipe()), prepare(file(skin()), recipe()))


@pytest.mark.parametrize(
    "named",
    [b"", b"no profile", DISPLAY_P3[:300], DISPLAY_P3[:128], profile(P3_XYZ, *SRGB_CURVE, colours=b"CMYK")],
    ids=["empty", "text", "cut", "head alone", "of four inks"],
)
def test_a_profile_that_can_not_be_applied_leaves_the_values_as_they_are(named):
    pixels = skin()
    assert icc.to_srgb(pixels, named) is pixels


def test_chains_of_elements_which_can_go_on_for_hours_are_left_out():
    """One that makes all black stands in the profile: were it followed, so would be its thousand repeats."""
    pixels = in_display_p3(skin())[..., ::-1]
    named = profile(P3_XYZ, *SRGB_CURVE, further={b"D2B0": black_elements(1000)})
    assert len(named) < 10_000
    np.testing.assert_array_equal(icc.to_srgb(pixels, named), icc.to_srgb(pixels, DISPLAY_P3))


def black_elements(repeats):
    """An mpet tag (ICC.1:2010, 10.14) of one matrix of zeros, named many times."""
    matrix = struct.pack(">4sIHH12f", b"matf", 0, 3, 3, *[0] * 12)
    start = 16 + 8 * repeats
    places = struct.pack(">II", start, len(matrix)) * repeats
    return struct.pack(">4sIHHI", b"mpet", 0, 3, 3, repeats) + places + matrix


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_an_image_that_is_not_of_three_colours_takes_no_harm_from_its_profile(mode):
    for colours in (b"GRAY", b"CMYK"):
        named = profile(P3_XYZ, *SRGB_CURVE, colours=colours)
        photo, plain = (encoded(skin(), "JPEG", mode, icc_profile=one) for one in (named, None))
        np.testing.assert_array_equal(prepare(photo, recipe()), prepare(plain, recipe()))


@given(st.data())
def test_no_profile_however_wrong_is_an_error(data):
    wrong = bytearray(data.draw(st.sampled_from([DISPLAY_P3, ADOBE_RGB])))
    for _ in range(data.draw(st.integers(1, 12))):
        wrong[data.draw(st.integers(0, len(wrong) - 1))] = data.draw(st.integers(0, 255))
    pixels = skin(8, 8)
    assert icc.to_srgb(pixels, bytes(wrong[: data.draw(st.integers(0, len(wrong)))])).shape == pixels.shape
