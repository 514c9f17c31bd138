"""Sheets for people to look at."""

from contextlib import nullcontext

import cv2
import pytest
import yaml
from images_made import folder_of, jpeg, recipe, skin

from dermaflow import outputs
from dermaflow.cli import images as command
from dermaflow.errors import DataError
from dermaflow.images import contact, store
from dermaflow.sources import open_source


def test_a_sheet_shows_each_row_and_puts_short_ones_beside_each_other(tmp_path):
    out = tmp_path / "new" / "sheet.png"
    black, white = (skin(100, 100) * 0 + grey for grey in (0, 255))
    contact.contact_sheet([[black, white], [white], [black], [white, black]], ["1", "2", "3", "4"], out)
    sheet = cv2.imread(str(out))
    side, text, step = contact.CELL_PX, 20, contact.CELL_PX + 4
    assert sheet.shape[:2] == (2 * (side + text), 6 * step)
    seen = [[sheet[text + top, left * step] for left in range(6)] for top in (0, text + side)]
    greys = [[int(pixel.mean()) for pixel in line] for line in seen]
    assert greys == [[0, 255, 255, 245, 0, 245], [255, 0, 245, 245, 245, 245]]


def test_long_rows_of_a_sheet_stand_below_each_other(tmp_path):
    out = tmp_path / "sheet.png"
    contact.contact_sheet([[skin(9, 9)] * 4] * 2, ["one", "two"], out)
    assert cv2.imread(str(out)).shape[:2] == (2 * (contact.CELL_PX + 20), 4 * (contact.CELL_PX + 4))


@pytest.mark.parametrize("name", ["sheet", "sheet.pdf", "sheet.pbm"])
def test_a_sheet_that_is_no_picture_by_its_name_is_refused(tmp_path, name):
    with pytest.raises(DataError, match=r"Name a \.png or \.jpg file"):
        contact.contact_sheet([[skin(9, 9)]], ["one"], tmp_path / "new" / name)
    assert list(tmp_path.iterdir()) == []


def test_before_and_after_draws_the_kept_box(tmp_path):
    source = open_source(
        folder_of(tmp_path / "r", {"train/ISIC_1.jpg": jpeg(448, 224)}), {"train": ["train"]}
    )
    (tmp_path / "64" / "a").mkdir(parents=True)
    store.write_shards(source, ["ISIC_1"], recipe(), tmp_path / "64" / "a", progress=False)
    reader = store.ShardReader(tmp_path / "64", ["a"])
    contact.before_after(["ISIC_1"], [source], reader, tmp_path / "sheet.png", max_pixels=448 * 224)
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert tuple(sheet[70, 56]) == (0, 220, 255)  # the box's left side: 112 of 448 pixels, halved
    with pytest.raises(DataError, match="ISIC_2 is not stored"):
        contact.before_after(["ISIC_2"], [source], reader, tmp_path / "sheet.png", max_pixels=448 * 224)


@pytest.mark.parametrize("most", [448 * 224, 448 * 224 - 1])
def test_images_show_takes_as_many_pixels_as_the_params_allow(project, most):
    asked = {"sizes": [64], "releases": ["isic2018"], "images": {"max_pixels": most}}
    (project / "params.yaml").write_text(yaml.safe_dump(asked))
    name = "ISIC2018_Task3_Training_Input"
    source = open_source(
        folder_of(project / "data/isic2018", {f"{name}/ISIC_1.jpg": jpeg(448, 224)}), {"train": [name]}
    )
    shards = outputs.images_dir(64, "isic2018")
    shards.mkdir(parents=True)
    store.write_shards(source, ["ISIC_1"], recipe(), shards, progress=False)
    refused = pytest.raises(DataError, match="more than 100,351 are refused")
    with nullcontext() if most == 448 * 224 else refused:
        command.show(["ISIC_1"], project / "sheet.png")
    assert (project / "sheet.png").exists() == (most == 448 * 224)


def test_half_of_the_sheet_shows_where_the_crop_keeps_least(tmp_path):
    widths = {f"ISIC_{n:02d}": 200 + 10 * n for n in range(20)}  # 200 high: the widest lose most
    files = {f"train/{name}.jpg": jpeg(width, 200) for name, width in widths.items()}
    source = open_source(folder_of(tmp_path / "r", files), {"train": ["train"]})
    (tmp_path / "64" / "a").mkdir(parents=True)
    store.write_shards(source, list(widths), recipe(), tmp_path / "64" / "a", progress=False)
    reader = store.ShardReader(tmp_path / "64", ["a"])
    chosen = contact.telling(reader, 8)
    assert chosen == ["ISIC_00", "ISIC_05", "ISIC_10", "ISIC_15", "ISIC_19", "ISIC_18", "ISIC_17", "ISIC_16"]
    assert len(set(contact.telling(reader, 100))) == 20
