"""What the files themselves say."""

import hashlib

import cv2
import numpy as np
import pytest
from images_made import encoded, folder_of, jpeg, png, skin, turned_jpeg

from dermaflow import outputs
from dermaflow.images.facts import all_facts, image_facts
from dermaflow.images.params import ImagesParams
from dermaflow.sources import open_source

FOLDERS = {"train": ["train"], "test": ["test"]}


def bits(a, b):
    return (a ^ b).bit_count()


def test_the_facts_of_a_file_are_its_size_upright_its_digest_and_a_thumbnail():
    file = turned_jpeg(900, 600, 6)
    facts = image_facts(file)
    assert (facts["width"], facts["height"], facts["bytes"]) == (600, 900, len(file))
    assert facts["sha256"] == hashlib.sha256(file).hexdigest()
    assert facts["readable"]
    assert facts["problem"] is None
    thumbnail = np.frombuffer(facts["thumbnail"], np.uint8).reshape(64, 64)
    upright = np.rot90(skin(900, 600), -1)
    wanted = cv2.resize(cv2.cvtColor(upright, cv2.COLOR_RGB2GRAY), (64, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(thumbnail.astype(int) - wanted).mean() < 1.5


def test_the_perceptual_hash_survives_scaling_and_encoding_and_tells_images_apart():
    first = image_facts(png(600, 450, seed=1))["phash"]
    assert bits(first, image_facts(jpeg(1200, 900, seed=1, quality=60))["phash"]) <= 6
    brighter = np.clip(skin(600, 450, seed=1).astype(int) + 12, 0, 255).astype(np.uint8)
    assert bits(first, image_facts(encoded(brighter))["phash"]) <= 6
    others = [bits(first, image_facts(png(600, 450, seed=seed))["phash"]) for seed in range(2, 12)]
    assert min(others) > 12


@pytest.mark.parametrize("file", [b"", b"no image", jpeg()[:2000]])
def test_an_unreadable_file_says_why_and_has_no_size(file):
    facts = image_facts(file)
    assert (facts["readable"], facts["width"], facts["height"], facts["phash"]) == (False, 0, 0, 0)
    assert facts["problem"]
    assert facts["thumbnail"] == bytes(4096)


def test_all_facts_fill_the_declared_table_in_order_whatever_the_number_of_workers(tmp_path):
    pandas = pytest.importorskip("pandas")
    files = {f"train/ISIC_{n:02d}.jpg": jpeg(200 + n, 150, seed=n) for n in range(17, 0, -1)}
    files |= {"test/ISIC_00.png": png(), "train/ISIC_99.jpg": b"?"}
    source = open_source(folder_of(tmp_path, files), FOLDERS)
    rows = all_facts(source, workers=1)
    assert rows == all_facts(source, workers=2)
    assert [row["image_id"] for row in rows] == sorted(row["image_id"] for row in rows)
    table = outputs.facts.of("isic2018").check(pandas.DataFrame(rows, columns=list(outputs.facts.columns)))
    assert table["part"].tolist()[0] == "test"
    assert table["readable"].sum() == 18


def test_the_params_make_the_recipe():
    made = ImagesParams(crop="border", jpeg_quality=90, colour_constancy="shades_of_gray").recipe(512, 384)
    assert (made.crop, made.stored_px, made.input_px, made.jpeg_quality) == ("border", 512, 384, 90)
    assert (made.lossless_up_to_px, made.max_pixels) == (256, 120_000_000)
    assert made.colour_constancy == "shades_of_gray"
