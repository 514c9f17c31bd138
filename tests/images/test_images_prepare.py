"""From bytes to pixels: whatever the file is, upright RGB or an error that names it."""

import io
import re
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from images_made import (
    chunk,
    encoded,
    jpeg,
    png,
    recipe,
    skin,
    turned_jpeg,
    with_chunk,
    with_jpeg_size,
    with_png_size,
    with_scans,
    with_segment,
)
from PIL import Image

from dermaflow.errors import DataError
from dermaflow.images.header import MAX_CHUNKS, MAX_SCANS, MAX_SEGMENTS
from dermaflow.images.prepare import Recipe, decode_stored, encode_stored, prepare


def mean_difference(a, b):
    return np.abs(a.astype(int) - b.astype(int)).mean()


@pytest.mark.parametrize("crop", ["center", "border", "full", "squash"])
@pytest.mark.parametrize(("stored_px", "lossless_up_to_px"), [(64, 256), (64, 0), (400, 0)])
@pytest.mark.parametrize("input_px", [48, 64])
@pytest.mark.parametrize("colour", ["none", "shades_of_gray"])
def test_prepare_returns_what_a_stored_image_decodes_to(crop, stored_px, lossless_up_to_px, input_px, colour):
    asked = recipe(crop, stored_px, input_px, lossless_up_to_px, colour_constancy=colour)
    for file in (jpeg(900, 700), png(301, 200), png(40, 90)):
        stored = encode_stored(file, asked)
        np.testing.assert_array_equal(prepare(file, asked), decode_stored(stored.encoded, input_px))


def test_small_squares_are_stored_as_png_and_large_ones_as_jpeg():
    assert encode_stored(png(), recipe(stored_px=256)).encoded.startswith(b"\x89PNG")
    assert encode_stored(png(), recipe(stored_px=257)).encoded.startswith(b"\xff\xd8")


def test_a_png_of_the_right_size_comes_through_unchanged_and_in_rgb():
    pixels = skin(64, 64)
    np.testing.assert_array_equal(prepare(encoded(pixels), recipe()), pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(300, 200), (1200, 900), (641, 640), (640, 639)])
def test_exif_orientation_turns_the_image_upright(orientation, size):
    file = turned_jpeg(*size, orientation)
    pixels = np.asarray(_upright(file), np.uint8)
    stored = encode_stored(file, recipe(crop="squash"))
    assert (stored.width, stored.height) == pixels.shape[1::-1]
    assert mean_difference(prepare(file, recipe("squash")), prepare(encoded(pixels), recipe("squash"))) < 2


def _upright(file):
    from PIL import ImageOps

    return ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGB")


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("PNG", "L"),
        ("PNG", "LA"),
        ("PNG", "RGBA"),
        ("PNG", "P"),
        ("PNG", "1"),
        ("JPEG", "L"),
        ("JPEG", "CMYK"),
    ],
)
def test_every_colour_model_becomes_rgb_as_pillow_sees_it(kind, mode):
    file = encoded(skin(), kind, mode)
    seen = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
    assert mean_difference(prepare(file, recipe()), prepare(encoded(seen), recipe())) < 1.5


def test_sixteen_bits_lose_their_lower_eight():
    grey = cv2.cvtColor(skin(), cv2.COLOR_RGB2GRAY)
    deep = cv2.imencode(".png", grey.astype(np.uint16) * 256 + 255)[1].tobytes()
    np.testing.assert_array_equal(prepare(deep, recipe()), prepare(encoded(grey), recipe()))


def test_a_progressive_jpeg_with_fill_bytes_and_rubbish_behind_it_is_read():
    file = jpeg(progressive=True)
    padded = file[:2] + b"\xff\xff" + file[2:] + b"rubbish"
    np.testing.assert_array_equal(prepare(padded, recipe()), prepare(file, recipe()))


def damaged():
    whole_jpeg, whole_png = jpeg(), png()
    return {
        "empty": b"",
        "text": b"image_id,MEL\nISIC_1,1\n",
        "gif": encoded(skin(), "GIF"),
        "bmp": encoded(skin(), "BMP"),
        "jpeg signature alone": whole_jpeg[:3],
        "jpeg without a frame": whole_jpeg[:20],
        "jpeg half": whole_jpeg[: len(whole_jpeg) // 2],
        "jpeg cut at 98 %": whole_jpeg[: len(whole_jpeg) * 98 // 100],
        "png signature alone": whole_png[:8],
        "png half": whole_png[: len(whole_png) // 2],
        "png cut at 98 %": whole_png[: len(whole_png) * 98 // 100],
        "png flipped bit": whole_png[:2000] + bytes([whole_png[2000] ^ 16]) + whole_png[2001:],
        "jpeg of no width": with_jpeg_size(whole_jpeg, 0, 200),
        "jpeg header too tall": with_jpeg_size(whole_jpeg, 300, 4000),
        "png header too tall": with_png_size(whole_png, 300, 4000),
        "png header too wide": with_png_size(whole_png, 301, 200),
        "png bomb": with_png_size(whole_png, 100_000, 100_000),
        "jpeg bomb": with_jpeg_size(whole_jpeg, 65_000, 65_000),
    }


@pytest.mark.parametrize("what", damaged())
def test_what_is_no_whole_image_is_an_error_that_names_the_file(what):
    with pytest.raises(DataError, match=r"^ISIC_7\.jpg: .*(Give|Take)"):
        prepare(damaged()[what], recipe(), "ISIC_7.jpg")


@pytest.mark.parametrize("file", [jpeg(2000, 1500, seed=3), png(2000, 1500, seed=3)])
def test_every_truncation_by_more_than_the_end_marker_is_noticed(file):
    asked = recipe(stored_px=32, input_px=32)
    for share in np.linspace(0.02, 0.999, 25):
        with pytest.raises(DataError):
            prepare(file[: int(len(file) * share)], asked)


@pytest.mark.parametrize("behind", [b"", jpeg(640, 600)], ids=["alone", "another picture behind"])
@pytest.mark.parametrize("stored_px", [32, 64, 300])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_that_was_cut_and_closed_is_noticed(mode, stored_px, behind):
    whole = encoded(skin(640, 600), "JPEG", mode, quality=92)
    asked = recipe(stored_px=stored_px)
    assert prepare(whole + behind, asked).shape == (64, 64, 3)
    for share in (0.3, 0.6, 0.9, 0.98):
        with pytest.raises(DataError, match="truncated or damaged"):
            prepare(whole[: int(len(whole) * share)] + b"\xff\xd9" + behind, asked)


@pytest.mark.parametrize("subsampling", [0, 2])
def test_a_jpeg_that_was_cut_within_a_marker_and_closed_is_noticed(subsampling):
    whole = encoded(skin(640, 600), "JPEG", quality=95, subsampling=subsampling)
    data = whole.index(b"\xff\xda") + 20
    cuts = [at for at in range(data, len(whole) - 400) if whole[at - 1] == 0xFF]
    assert len(cuts) > 10
    for cut in cuts[:: len(cuts) // 10]:
        with pytest.raises(DataError, match="truncated or damaged"):
            prepare(whole[:cut] + b"\xff\xd9", recipe())


@pytest.mark.parametrize(("marker", "bits"), [(0xC3, 8), (0xC9, 8), (0xCA, 8), (0xC1, 12), (0xCB, 8)])
def test_a_jpeg_of_a_rare_kind_is_refused_by_name(marker, bits, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    file = jpeg()
    at = file.index(b"\xff\xc0")
    rare = file[:at] + bytes([0xFF, marker]) + file[at + 2 : at + 4] + bytes([bits]) + file[at + 5 :]
    with pytest.raises(DataError, match=r"lossless, arithmetic-coded or 12-bit JPEG.* Save it again"):
        prepare(rare, recipe())


def test_a_progressive_jpeg_that_was_cut_in_its_first_scan_and_closed_is_noticed():
    whole = jpeg(640, 600, progressive=True)
    first, second = (m.start() for m in list(re.finditer(b"\xff\xda", whole))[:2])
    with pytest.raises(DataError, match="truncated or damaged"):
        prepare(whole[: (first + second) // 2] + b"\xff\xd9", recipe())


def test_a_whole_image_with_mid_grey_corners_is_no_truncated_one():
    pixels = skin(300, 200)
    pixels[-40:] = 128
    prepare(encoded(pixels, "JPEG"), recipe())
    prepare(encoded(pixels * 0 + 128, "JPEG", progressive=True), recipe())


def test_too_many_pixels_are_refused_before_anything_is_decoded(monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DataError, match="300 x 200 pixels; more than 59,999 are refused"):
        prepare(jpeg(), recipe(max_pixels=59_999))


SCAN = b"\xff\xda"


def test_a_jpeg_of_too_many_scans_is_refused_before_anything_is_decoded(monkeypatch):
    file = jpeg(progressive=True)
    more = MAX_SCANS - file.count(SCAN)
    prepare(with_scans(file, more), recipe())
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DataError, match=r"^ISIC_7\.jpg: .*more than 100 scans.* Save it again"):
        prepare(with_scans(file, more + 1), recipe(), "ISIC_7.jpg")


def test_scans_can_not_hide_behind_a_reserved_marker_of_a_scans_data(monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    file = with_scans(jpeg(32, 32, progressive=True), MAX_SCANS)
    data = file.index(SCAN) + 20
    with pytest.raises(DataError, match="scans"):
        prepare(file[:data] + b"\xff\x02\x7f\xf0" + file[data:], recipe())


def test_scan_markers_in_a_thumbnail_or_behind_the_end_are_none_of_the_pictures():
    file = jpeg(progressive=True)
    many = SCAN * (2 * MAX_SCANS)
    padded = with_segment(file, 0xE1, b"Exif\0\0" + many) + many
    np.testing.assert_array_equal(prepare(padded, recipe()), prepare(file, recipe()))


def test_restart_markers_are_no_segments():
    file = jpeg(3000, 3000, restart_marker_blocks=1)
    assert file.count(b"\xff\xd0") > MAX_SEGMENTS / 8
    prepare(file, recipe())


def test_a_jpeg_of_too_many_segments_is_refused():
    empty = b"\xff\xfe\x00\x02"
    with pytest.raises(DataError, match="10,000 segments"):
        prepare(jpeg()[:2] + empty * MAX_SEGMENTS + jpeg()[2:], recipe())


@pytest.mark.parametrize("kind", [b"IDAT", b"tEXt", b"IEND"])
@pytest.mark.parametrize("claimed", [0xFFFFFFF0, 0x7FFFFFFF, 3000])
def test_a_png_chunk_that_claims_more_than_the_file_is_refused_before_it_is_decoded(
    kind, claimed, monkeypatch
):
    file = png(40, 40)
    assert len(file) < 3000
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))  # it would set aside up to 4 GB
    with pytest.raises(DataError, match="truncated or damaged"):
        prepare(file[:33] + claimed.to_bytes(4) + kind + file[41:], recipe())


def animation(second):
    """A PNG of 8 x 8 pixels, grey, with a second picture."""
    rows = zlib.compress(8 * (b"\0" + bytes([90]) * 24))
    moves = struct.pack(">IIIIIHHBB", 0, 8, 8, 0, 0, 1, 10, 0, 0)
    still = encoded(np.full((8, 8, 3), 90, np.uint8))
    head = still[: still.index(b"IDAT") - 4]
    parts = [(b"acTL", struct.pack(">II", 2, 0)), (b"IDAT", rows), (b"fcTL", moves), (b"fdAT", second)]
    return head + b"".join(chunk(*part) for part in [*parts, (b"IEND", b"")])


def test_an_animation_is_its_first_picture_and_a_damaged_second_one_no_end_of_the_process(tmp_path):
    damaged = bytes(3) + b"\1" + zlib.compress(8 * (b"\x09" + bytes(24)))
    (tmp_path / "a.png").write_bytes(animation(damaged))
    code = (
        "import sys; from pathlib import Path; from dermaflow.images.prepare import Recipe, prepare;"
        "print(prepare(Path(sys.argv[1]).read_bytes(), Recipe('full', 64, 64, 256, 95, 10**7)).mean())"
    )
    run = [sys.executable, "-c", code, str(tmp_path / "a.png")]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip() == "90.0"


def test_what_a_png_holds_beside_its_picture_is_not_given_to_the_decoder(monkeypatch):
    extra = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(10**6))) + chunk(b"acTL", struct.pack(">II", 2, 0))
    photo = with_chunk(png(), extra)
    given = []
    decoder = cv2.imdecode
    monkeypatch.setattr(
        cv2, "imdecode", lambda file, flags: (given.append(file.tobytes()), decoder(file, flags))[1]
    )
    np.testing.assert_array_equal(prepare(photo, recipe()), prepare(png(), recipe()))
    assert given[0] == given[1] == png()


def test_a_png_turned_by_its_exif_or_transparent_by_its_palette_is_read_as_before():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(skin(90, 60), exif=exif)
    np.testing.assert_array_equal(
        prepare(turned, recipe("squash")), prepare(encoded(np.rot90(skin(90, 60), -1)), recipe("squash"))
    )
    clear = encoded(skin(), mode="P", transparency=3)
    assert b"tRNS" in clear
    seen = np.asarray(Image.open(io.BytesIO(clear)).convert("RGB"))
    assert mean_difference(prepare(clear, recipe()), prepare(encoded(seen), recipe())) < 1.5


def test_a_png_of_more_chunks_than_a_hundred_thousand_is_refused():
    empty = chunk(b"tEXt", b"")
    prepare(with_chunk(png(), empty * (MAX_CHUNKS - 10)), recipe())
    with pytest.raises(DataError, match="truncated or damaged"):
        prepare(with_chunk(png(), empty * MAX_CHUNKS), recipe())


def test_rubbish_behind_the_end_of_a_png_does_no_harm():
    np.testing.assert_array_equal(prepare(png() + b"rubbish" * 9, recipe()), prepare(png(), recipe()))


def test_the_smallest_and_the_thinnest_images_come_through():
    for width, height in ((1, 1), (2, 3000), (3000, 1), (5000, 9)):
        for crop in ("center", "border", "full", "squash"):
            for file in (jpeg(width, height), png(width, height)):
                assert prepare(file, recipe(crop)).shape == (64, 64, 3)


@pytest.mark.parametrize("side", [257, 600, 1000, 1027, 2051])
def test_a_reduced_decode_is_close_to_a_full_one(side):
    file = jpeg(side + 200, side, quality=95)
    full = cv2.cvtColor(cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    left, top, width, height = encode_stored(file, recipe()).crop_box_px
    wanted = cv2.resize(full[top : top + height, left : left + width], (64, 64), interpolation=cv2.INTER_AREA)
    assert mean_difference(prepare(file, recipe()), wanted) < 1.2


def test_a_recipe_survives_json_and_refuses_what_it_does_not_know():
    asked = recipe("border", 512, 384, colour_constancy="shades_of_gray")
    assert Recipe.from_json(asked.to_json()) == asked
    with pytest.raises(DataError, match="no crop is called 'centre'"):
        recipe("centre")
    with pytest.raises(DataError, match="no colour constancy is called 'grey'"):
        recipe(colour_constancy="grey")


def test_the_service_can_prepare_without_pyarrow_joblib_and_pandas():
    code = (
        "import sys; import dermaflow.images.prepare;"
        "print(*{'pyarrow', 'joblib', 'pandas', 'torch', 'pydantic', 'yaml'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
