"""A small merged table with image facts, and textures like skin, for the tests beside this file."""

import hashlib

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

from dermaflow.splits import split as room
from dermaflow.splits.params import SplitParams

RANKS = ["isic2018", "isic2019", "isic2020"]


COUNTS = (("isic2018", 60), ("isic2019", 80), ("isic2020", 90))
CODES = ("NV", "MEL", "BKL", "DF")


def world(seed=0, counts=COUNTS, codes=CODES):
    """Rows as `releases.merge` gives them: several images a lesion (2018, 2019) or a patient (2020)."""
    rng = np.random.default_rng(seed)
    rows = []
    for rank, (release, groups) in enumerate(counts):
        for group in range(groups):
            diagnosis = codes[min(int(rng.exponential(0.9)), len(codes) - 1)]
            rows += [
                {
                    "image_id": f"ISIC_{rank}{group:04d}{image:02d}",
                    "release": release,
                    "diagnosis": diagnosis,
                    "age_years": float(rng.integers(4, 18) * 5),
                    "sex": str(rng.choice(["female", "male"])),
                    "site": "torso",
                    "patient_id": f"IP_{group}" if release == "isic2020" else None,
                    "lesion_id": None if release == "isic2020" else f"{release}_{group}",
                    "duplicate_of": None,
                    "confirm_type": None,
                    "centre": "HAM",
                }
                for image in range(int(rng.integers(1, 5)))
            ]
    frame = pd.DataFrame(rows)
    text = ["patient_id", "lesion_id", "duplicate_of", "confirm_type"]
    return frame.astype(dict.fromkeys(text, "str"))


def facts_of(merged, releases=RANKS, absent=(), unreadable=()):
    """Image facts: a different random picture for each image."""
    tables = {}
    for release in releases:
        own = merged[(merged["release"] == release) & ~merged["image_id"].isin(list(absent))]
        tables[release] = pd.DataFrame(
            {
                "image_id": own["image_id"],
                "width": np.int32(60),
                "height": np.int32(45),
                "sha256": [hashlib.sha256(image.encode()).hexdigest() for image in own["image_id"]],
                "readable": ~own["image_id"].isin(list(unreadable)),
                "thumbnail": [picture(image) for image in own["image_id"]],
            }
        ).reset_index(drop=True)
    return tables


def picture(name):
    return np.random.default_rng(list(name.encode())).integers(0, 256, 4096, dtype=np.uint8).tobytes()


def split(
    merged,
    facts=None,
    folds=3,
    view=None,
    own=None,
    thumbnails=None,
    report=None,
    **params,
):
    facts = facts_of(merged) if facts is None else facts
    located = {release: table["image_id"].tolist() for release, table in facts.items()}
    return room.split(
        merged,
        facts,
        located,
        params=SplitParams(**params),
        folds=folds,
        view=view,
        own=own,
        thumbnails=thumbnails,
        report=report,
    )


def place(result):
    cases = result.cases.set_index("image_id")
    return cases["split"] + cases["fold"].astype("str")


def skins(rng, count):
    """Smooth textures, as unlike as skin gets."""
    noise = rng.normal(size=(count, 64, 64))
    smooth = np.stack([gaussian_filter(image, 2, mode="reflect") for image in noise])
    return np.clip(128 + 300 * smooth, 0, 255).astype(np.uint8)
