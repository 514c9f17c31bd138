"""How much of each expert-outlined lesion every crop keeps.

Runs over the 2018 images with their lesion masks. An image has dark corners if at least two of its four
8 x 8 corners are darker than 33 of 255 on average. `border_sure` are the dark-cornered images in which a
round field was found; in the others `border` is `center`.

    python benchmarks/crop_masks.py --isic ../shared/isic [--every 10] [--json FILE]
"""

import argparse
import json
from collections import defaultdict
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from dermaflow.images import crop, parallel
from dermaflow.images.border import find_field
from dermaflow.images.decode import Decoded

IMAGES = "2018/ISIC2018_Task3_Training_Input"
DARK_LEVEL, DARK_CORNERS = 33, 2


def kept_by_each(isic: Path, name: str) -> dict[str, float | bool]:
    pixels = cv2.imread(str(isic / IMAGES / f"{name}.jpg"))
    mask = cv2.imread(str(isic / "lesion_masks" / f"{name}_segmentation.png"), cv2.IMREAD_GRAYSCALE) > 0
    height, width = mask.shape
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    corners = [grey[:8, :8], grey[:8, -8:], grey[-8:, :8], grey[-8:, -8:]]
    image = Decoded(pixels, width, height, 1)
    row: dict[str, float | bool] = {
        "dark": sum(corner.mean() < DARK_LEVEL for corner in corners) >= DARK_CORNERS,
        "sure": find_field(pixels) is not None,
    }
    for name_of_crop in crop.CROPS:
        left, top, w, h = crop.find_box(name_of_crop, image)
        row[name_of_crop] = float(mask[top : top + h, left : left + w].sum() / mask.sum())
    return row


def summary(kept: list[float]) -> dict[str, float]:
    found = np.array(kept)
    return {
        "images": len(found),
        "mean": float(found.mean()),
        "min": float(found.min()),
        "keeping_95": float((found >= 0.95).mean()),
        "keeping_99": float((found >= 0.99).mean()),
        "below_97": int((found < 0.97).sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--isic", type=Path, default=Path("../shared/isic"))
    parser.add_argument("--every", type=int, default=1, help="take each n-th image")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()

    names = sorted(file.stem for file in (asked.isic / IMAGES).iterdir())[:: asked.every]
    rows = parallel.stream(
        partial(kept_by_each, asked.isic), names, workers=asked.workers, title="masks", progress=True
    )
    groups: defaultdict[str, list[float]] = defaultdict(list)
    for row in rows:
        for name in crop.CROPS:
            groups[f"{name}, all"].append(row[name])
            if row["dark"]:
                groups[f"{name}, dark corners"].append(row[name])
        if row["dark"] and row["sure"]:
            groups["border_sure, dark corners"].append(row["border"])
    figures = {name: summary(kept) for name, kept in sorted(groups.items())}
    print(f"{'crop, images':28}{'n':>6}{'mean':>9}{'min':>9}{'>= 95 %':>9}{'>= 99 %':>9}{'< 97 %':>8}")
    for name, row in figures.items():
        shares = "".join(f"{row[key]:9.4f}" for key in ("mean", "min", "keeping_95", "keeping_99"))
        print(f"{name:28}{row['images']:6}{shares}{row['below_97']:8}")
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
