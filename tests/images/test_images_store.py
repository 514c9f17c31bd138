"""Shards: what is written is what is read, whatever wrote it."""

import json
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from images_made import encoded, folder_of, jpeg, png, recipe, skin

from dermaflow import outputs
from dermaflow.errors import DataError
from dermaflow.images import store
from dermaflow.images.prepare import encode_stored, prepare
from dermaflow.sources import open_source

FOLDERS = {"train": ["train"], "test": ["test"]}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    files = {f"train/ISIC_{n:02d}.jpg": jpeg(300 + 7 * n, 200 + n, seed=n) for n in range(20)}
    files |= {f"train/ISIC_{n:02d}.PNG": png(90, 120, seed=n) for n in range(20, 24)}
    return open_source(folder_of(tmp_path_factory.mktemp("release"), files), FOLDERS)


def ids_of(source):
    return [entry.image_id for entry in source.entries]


def written(source, folder, ids=None, asked=None, **options):
    folder.mkdir(parents=True)
    store.write_shards(
        source, ids_of(source) if ids is None else ids, asked or recipe(), folder, progress=False, **options
    )
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.mark.parametrize("lossless_up_to_px", [256, 0])
def test_the_reader_returns_what_prepare_returns(source, tmp_path, lossless_up_to_px):
    asked = recipe(input_px=48, lossless_up_to_px=lossless_up_to_px)
    written(source, tmp_path / "64" / "a", asked=asked, shard_size=7)
    reader = store.ShardReader(tmp_path / "64", ["a"])
    assert len(reader) == 24
    for image_id in reader.ids:
        np.testing.assert_array_equal(reader.pixels(image_id, 48), prepare(source.read(image_id), asked))


def test_the_bytes_do_not_depend_on_workers_or_on_the_order_asked_for(source, tmp_path):
    alone = written(source, tmp_path / "one", shard_size=10)
    together = written(source, tmp_path / "two", ids=ids_of(source)[::-1], shard_size=10, workers=2)
    assert list(alone) == ["00.arrow", "01.arrow", "02.arrow", "index.json", "unreadable.json"]
    assert alone == together


def test_a_release_more_leaves_the_other_shards_as_they_are(source, tmp_path):
    ids = ids_of(source)
    written(source, tmp_path / "64" / "a", ids=ids[:9])
    before = store.shard_digests(tmp_path / "64", ["a"])
    written(source, tmp_path / "64" / "b", ids=ids[9:])
    after = store.shard_digests(tmp_path / "64", ["a", "b"])
    assert {key: after[key] for key in before} == before
    assert after["b/00.arrow"]["images"] == 15
    assert store.ShardReader(tmp_path / "64", ["a", "b"]).ids == ids


def test_a_release_that_stores_nothing_is_fine(source, tmp_path):
    written(source, tmp_path / "64" / "a", ids=[])
    assert store.shard_digests(tmp_path / "64", ["a"]) == {}
    assert len(store.ShardReader(tmp_path / "64", ["a"])) == 0


def test_the_recipe_of_all_releases_is_one_or_an_error(source, tmp_path):
    one, other = recipe(), replace(recipe(), crop="full")
    for name, asked in (("a", one), ("b", one), ("c", other)):
        written(source, tmp_path / "64" / name, [], asked)
    told = store.stored_recipe(tmp_path / "64", ["a", "b"])
    assert told == {key: value for key, value in one.to_json().items() if key != "input_px"}
    with pytest.raises(DataError, match=r"a and c were stored in different ways\. Run `dvc repro`"):
        store.stored_recipe(tmp_path / "64", ["a", "b", "c"])


def test_a_shard_keeps_size_box_and_scale_and_iterates_in_order(source, tmp_path):
    written(source, tmp_path / "64" / "a", shard_size=5)
    rows = list(store.ShardReader(tmp_path / "64", ["a"]))
    assert [image_id for image_id, _ in rows] == ids_of(source)
    assert (rows[2][1].width, rows[2][1].height) == (314, 202)
    assert rows[2][1].crop_box_px == (56, 0, 202, 202)
    assert rows[2][1].scale == pytest.approx(64 / 202)


def test_a_reader_survives_pickling(source, tmp_path):
    written(source, tmp_path / "64" / "a")
    reader = store.ShardReader(tmp_path / "64", ["a"])
    pickled = pickle.dumps(reader)
    assert len(pickled) < 1000
    assert pickle.loads(pickled).encoded("ISIC_03") == reader.encoded("ISIC_03")


def test_an_image_that_is_not_stored_is_named(source, tmp_path):
    written(source, tmp_path / "64" / "a")
    with pytest.raises(DataError, match="image ISIC_99 is not stored"):
        store.ShardReader(tmp_path / "64", ["a"]).pixels("ISIC_99", 64)


def test_unreadable_files_stop_the_writing_or_are_listed(tmp_path):
    files = {"train/ISIC_1.jpg": jpeg(), "train/ISIC_2.jpg": jpeg()[:900], "train/ISIC_3.jpg": b""}
    source = open_source(folder_of(tmp_path / "release", files), FOLDERS)
    with pytest.raises(
        DataError,
        match=r"2 images can't be decoded, 1 may: ISIC_2 \(the image is truncated.*quality/unreadable\.csv",
    ):
        written(source, tmp_path / "refused", max_unreadable=1)
    found = written(source, tmp_path / "64" / "a", max_unreadable=2)
    listed = json.loads(found["unreadable.json"])
    assert [row["image_id"] for row in listed] == ["ISIC_2", "ISIC_3"]
    assert listed[1]["reason"] == "the file is empty"
    assert store.ShardReader(tmp_path / "64", ["a"]).ids == ["ISIC_1"]


def test_an_id_without_a_file_or_listed_twice_is_refused(source, tmp_path):
    with pytest.raises(DataError, match="1 images have no file: ISIC_77"):
        written(source, tmp_path / "a", ids=["ISIC_01", "ISIC_77"])
    with pytest.raises(DataError, match="images listed twice: ISIC_01"):
        written(source, tmp_path / "b", ids=["ISIC_01", "ISIC_01"])


def test_what_is_missing_or_damaged_is_noticed_when_opened(source, tmp_path):
    folder = tmp_path / "64" / "a"
    written(source, folder, shard_size=10)
    shard = folder / "01.arrow"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="damaged"):
        store.ShardReader(tmp_path / "64", ["a"])
    shard.unlink()
    with pytest.raises(DataError, match=r"01\.arrow: no such file"):
        store.ShardReader(tmp_path / "64", ["a"])
    with pytest.raises(DataError, match="no such file"):
        store.ShardReader(tmp_path / "64", ["b"])


def test_a_shard_that_holds_another_number_of_images_than_the_index_says_is_refused(source, tmp_path):
    folder = tmp_path / "64" / "a"
    written(source, folder, shard_size=10)
    (folder / "00.arrow").write_bytes((folder / "02.arrow").read_bytes())  # whole, but of four images
    (folder / "02.arrow").unlink()
    index = json.loads((folder / "index.json").read_text())
    del index["shards"]["02.arrow"]
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match=r"00\.arrow: holds another number of images than index\.json says"):
        store.ShardReader(tmp_path / "64", ["a"])


def test_one_image_stored_by_two_releases_is_refused(source, tmp_path):
    for release in "ab":
        written(source, tmp_path / "64" / release, ids=["ISIC_01"])
    with pytest.raises(DataError, match="ISIC_01 is stored twice"):
        store.ShardReader(tmp_path / "64", ["a", "b"])


def test_a_stopped_run_leaves_nothing_that_counts_as_complete(source, project, monkeypatch):
    target = outputs.images_dir(64, "a")

    def stop(rows):
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "_batch", stop)
    with pytest.raises(KeyboardInterrupt), outputs.replacing(target, folder=True) as scratch:
        store.write_shards(source, ids_of(source), recipe(), scratch, progress=False)
    assert not target.exists()
    assert list((project / ".tmp").iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from dermaflow import outputs
from dermaflow.images import store
from dermaflow.images.prepare import Recipe
from dermaflow.sources import open_source

made = store._batch
def dies_at_the_second(rows, done=[]):
    done.append(1)
    if len(done) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return made(rows)
if sys.argv[2] == "dies":
    store._batch = dies_at_the_second
source = open_source(Path(sys.argv[1]), {"train": ["train"], "test": ["test"]})
recipe = Recipe("center", 64, 64, 256, 95, 50_000_000)
with outputs.replacing(outputs.images_dir(64, "a"), folder=True) as scratch:
    ids = [entry.image_id for entry in source.entries]
    store.write_shards(source, ids, recipe, scratch, shard_size=8, workers=2, progress=False)
"""


def test_a_run_killed_in_the_middle_leaves_nothing_and_the_next_gives_the_same_bytes(
    source, project, tmp_path
):
    def run(how):
        command = [sys.executable, "-c", KILLED, str(source.root), how]
        env = {**os.environ, "DERMAFLOW_ROOT": str(project)}
        return subprocess.run(command, env=env, check=False, timeout=120).returncode

    target = outputs.images_dir(64, "a")
    assert run("dies") == -signal.SIGKILL
    assert list((project / ".tmp").rglob("00.arrow"))  # it was in the middle
    assert not target.exists()
    assert run("lives") == 0
    assert {file.name: file.read_bytes() for file in target.iterdir()} == written(
        source, tmp_path / "whole", shard_size=8
    )


def test_the_estimate_of_disk_space_is_not_below_what_is_written(source, tmp_path):
    for lossless_up_to_px in (256, 0):
        asked = recipe(lossless_up_to_px=lossless_up_to_px)
        found = written(source, tmp_path / str(lossless_up_to_px), asked=asked)
        assert len(found["00.arrow"]) < store.estimated_bytes(24, asked)


@pytest.mark.parametrize("quality", [1, 50, 75, 90, 95, 97, 98, 99, 100])
def test_the_estimate_holds_for_every_quality_of_jpeg(tmp_path, quality):
    rng = np.random.default_rng(4)
    grain = cv2.GaussianBlur(rng.normal(0, 12, (400, 400, 3)), (0, 0), 1)  # as much of it as real images have
    pixels = np.clip(skin(400, 400) + grain, 0, 255).astype(np.uint8)
    source = open_source(folder_of(tmp_path / "release", {"train/ISIC_1.png": encoded(pixels)}), FOLDERS)
    asked = replace(recipe(stored_px=384), jpeg_quality=quality)
    found = len(written(source, tmp_path / "384", asked=asked)["00.arrow"])
    assert found < store.estimated_bytes(1, asked) < 4 * found + 10_000


@pytest.mark.isic
@pytest.mark.parametrize("quality", [50, 75, 95, 99, 100])
def test_the_estimate_is_a_little_above_what_real_images_take(isic, quality):
    every = sorted((isic / "2020" / "train").iterdir())[::13]
    asked = replace(recipe(stored_px=384), jpeg_quality=quality, max_pixels=10**9)
    found = sum(len(encode_stored(file.read_bytes(), asked).encoded) for file in every)
    assert found < store.estimated_bytes(len(every), asked) < 2.5 * found
