"""Near-duplicates: copies are confirmed, unlike lesions behind one lens are not."""

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter
from split_world import skins

from dermaflow.splits import near, phash, sheet
from dermaflow.splits.thumbnails import Stored


def behind_lens(images, radius=24):
    y, x = np.mgrid[:64, :64] - 31.5
    return np.where(np.hypot(x, y) < radius, images, 3).astype(np.uint8)


@pytest.mark.parametrize("turn", range(8))
def test_a_copy_in_each_orientation_is_found(rng, turn):
    images = skins(rng, 12)
    copy = np.clip(phash.turned(images[3:4], turn).astype(int) + rng.integers(-2, 3, (1, 64, 64)), 0, 255)
    pairs = near.find(np.concatenate([images, copy.astype(np.uint8)]), 8, 0.95)
    assert list(zip(pairs.first, pairs.second, strict=True)) == [(3, 12)]
    assert pairs.correlation[0] > 0.98
    assert pairs.hamming[0] <= 8


def test_pairs_do_not_depend_on_how_thumbnails_are_read(rng, monkeypatch):
    images = skins(rng, 60)
    images[40:] = [phash.turned(image[None], turn % 8)[0] for turn, image in enumerate(images[:20])]
    images[7] = 90  # not compared
    whole = near.find(images, 8, 0.9)
    shuffled = rng.permutation(60)
    blocks = [(part, images[part]) for part in np.split(shuffled, [1, 25, 25, 44, 60])]  # two hold none
    monkeypatch.setattr(near, "TILE", 7)
    for name, values in vars(near.find(blocks, 8, 0.9)).items():
        assert np.array_equal(values, getattr(whole, name)), name
    assert len(whole.first) == 19


def test_stored_thumbnails_are_those_of_the_table_rows_asked_for(rng):
    images = {name: rng.integers(0, 256, (9, 64, 64), np.uint8) for name in ("isic2018", "isic2020")}
    cells = {
        name: lambda own=own: [[image.tobytes() for image in part] for part in (own[:4], own[4:4], own[4:])]
        for name, own in images.items()
    }
    cells["isic2018"] = lambda: [[*(image.tobytes() for image in images["isic2018"][:8]), b"unreadable"]]
    wanted = pd.DataFrame({"store": ["isic2020", "isic2018", "isic2020", "isic2018"], "fact": [8, 1, 3, 0]})
    found = np.zeros((4, 64, 64), np.uint8)
    for position, block in Stored(cells, wanted):
        found[position] = block
    expected = [images[store][fact] for store, fact in wanted.itertuples(index=False)]
    assert np.array_equal(found, expected)


def test_unlike_lesions_behind_the_same_lens_are_not_confirmed(rng):
    skin = np.full((20, 64, 64), 200) + rng.normal(0, 3, (20, 64, 64))
    pairs = near.find(behind_lens(np.clip(skin, 0, 255)), 8, 0.95)
    assert len(pairs.first) == 0


def test_the_same_lesion_behind_a_lens_is_confirmed(rng):
    images = behind_lens(skins(rng, 6))
    pairs = near.find(np.concatenate([images, images[2:3, ::-1]]), 8, 0.95)
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([2], [6])


@pytest.mark.parametrize("move", [(0, 2), (-2, 0), (1, -1), (-1, 1)])
@pytest.mark.parametrize("turn", [0, 5])
def test_a_copy_cut_out_a_few_hundredths_aside_is_confirmed(rng, move, turn):
    """The hairs and pores of a picture no longer lie on themselves then."""
    fine = gaussian_filter(rng.normal(size=(9, 72, 72)), (0, 1.2, 1.2), mode="reflect")
    coarse = gaussian_filter(rng.normal(size=(9, 72, 72)), (0, 12, 12), mode="reflect")
    whole = np.clip(128 + 12 * fine / fine.std() + 40 * coarse / coarse.std(), 0, 255)
    down, right = 4 + move[0], 4 + move[1]
    moved = phash.turned(whole[2:3, down : down + 64, right : right + 64], turn) * 0.8 + 20  # another light
    images = np.concatenate([whole[:, 4:68, 4:68], moved]).astype(np.uint8)
    high = near._high_passed(images).reshape(-1, 64, 64)
    in_place = np.corrcoef(phash.turned(high[2:3], turn).ravel(), high[9].ravel())[0, 1]
    assert 0.3 < in_place < 0.84
    pairs = near.find(images, 10, 0.84)
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([2], [9])
    assert pairs.correlation[0] == pytest.approx(1 - near.SHIFTED, abs=0.02)


def test_moved_thumbnails_are_those_of_a_slow_search(rng):
    one = near._high_passed(skins(rng, 30)).reshape(-1, 64, 64)
    noise = rng.normal(size=one.shape) * np.linspace(0, 15, 30)[:, None, None]
    other = np.roll(one, (1, -1), (1, 2)) + noise
    one[25:, 45:] = 0  # rim of less than half
    one, other = (side / np.linalg.norm(side, axis=(1, 2), keepdims=True) for side in (one, other))
    slow = np.einsum("nij,nij->n", one, other)
    for n in range(30):
        if slow[n] < near.SHIFT_FROM:
            continue
        for down in range(-2, 3):
            for right in range(-2, 3):
                rows = np.arange(max(down, 0), 64 + min(down, 0))
                columns = np.arange(max(right, 0), 64 + min(right, 0))
                a, b = one[n][np.ix_(rows, columns)], other[n][np.ix_(rows - down, columns - right)]
                moved = (a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b)
                slow[n] = max(slow[n], moved - near.SHIFTED)
    assert near._alike(one.astype(np.float32), other.astype(np.float32)) == pytest.approx(slow, abs=1e-5)
    assert (slow[:20] > np.einsum("nij,nij->n", one, other)[:20]).any()


@pytest.mark.parametrize("side", [0, 1])
def test_what_is_rim_to_more_than_half_is_not_moved(rng, side):
    whole = near._high_passed(skins(rng, 20)).reshape(-1, 64, 64)
    pair = [whole, np.roll(whole, (0, 1), (1, 2))]
    pair[side][:, :36] = 0
    one, other = (images / np.linalg.norm(images, axis=(1, 2), keepdims=True) for images in pair)
    in_place = np.einsum("nij,nij->n", one, other)
    assert (in_place > near.SHIFT_FROM).all()
    assert np.array_equal(near._alike(one, other), in_place)


def test_the_rim_is_what_hangs_on_to_a_dark_corner():
    image = np.full((1, 64, 64), 200, np.uint8)
    image[0, 30:34, 30:34] = 5  # a dark lesion stays
    assert not near.rim(image).any()
    lens = behind_lens(image)
    marked = near.rim(lens)[0]
    assert marked[0, 0]
    assert marked[31, 9]  # widened beyond the edge at 7.5
    assert not marked[32, 32]


def test_plain_fields_are_not_compared(rng):
    plain = np.full((3, 64, 64), 90, np.uint8)
    assert not near.comparable(plain).any()
    assert len(near.find(plain, 8, 0.95).first) == 0
    assert near.comparable(skins(rng, 2)).all()


def test_narrowly_refused_pairs_are_kept_and_others_not(rng):
    images = skins(rng, 1).astype(float)
    noisy = [np.clip(images + rng.normal(0, sigma, images.shape), 0, 255) for sigma in (7, 60)]
    pairs = near.find(np.concatenate([images, *noisy]).astype(np.uint8), 10, 0.99)
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([0], [1])
    assert 0.94 <= pairs.correlation[0] < 0.99


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_the_sheet_shows_pairs_on_both_sides_of_the_limit(rng, tmp_path):
    images = [f"ISIC_{i:07d}" for i in range(6)]
    facts = {"a": pd.DataFrame({"image_id": images})}
    cells = {"a": lambda: [[rng.bytes(4096) for _ in images[:4]], [rng.bytes(4096) for _ in images[4:]]]}
    pairs = pd.DataFrame(
        {
            "image_a": images[::2],
            "image_b": images[1::2],
            "kind": ["near", "near", "official"],
            "hamming": [2, 4, -1],
            "correlation": [0.95, 0.8, -1],
            "joined": [True, False, True],
        }
    )
    out = tmp_path / "sheet.png"
    cases = pd.DataFrame({"image_id": images, "group": range(6)})
    assert sheet.near_duplicates(pairs, cases, facts, cells, out) == 2
    assert out.read_bytes().startswith(b"\x89PNG")
    assert sheet.near_duplicates(pairs, cases.assign(group=1), facts, cells, out) == 1  # the confirmed one
    assert sheet.near_duplicates(pairs[2:], cases, facts, cells, out) == 0
    assert not out.exists()
