"""ISIC 2019: 25,331 training images (2018's among them), eight classes and UNK; 8,238 unlabelled test images.

Files: ISIC_2019_Training_GroundTruth (must be there), ISIC_2019_Training_Metadata,
ISIC_2019_Test_Metadata. The clinic stands in the first letters of the lesion id.
Source: challenge.isic-archive.com/data; BCN_20000 arXiv:1908.02288, MSK arXiv:1710.05006.
"""

from pathlib import Path
from typing import Final

import pandas as pd

from dermaflow import taxonomy
from dermaflow.releases import parse, published
from dermaflow.releases.rows import Columns, join, part

CLASSES: Final = taxonomy.DIAGNOSES
SITES: Final = {
    "anterior torso": "torso",
    "head/neck": "head/neck",
    "lateral torso": "torso",
    "lower extremity": "lower extremity",
    "oral/genital": "oral/genital",
    "palms/soles": "palms/soles",
    "posterior torso": "torso",
    "upper extremity": "upper extremity",
}
CENTRES: Final = ("HAM", "BCN", "MSK")
FOLDERS: Final = {
    "train": ["ISIC_2019_Training_Input"],
    "validation": [],
    "test": ["ISIC_2019_Test_Input"],
}
FILES: Final = {
    "truth": ["ISIC_2019_Training_GroundTruth.csv"],
    "metadata": ["ISIC_2019_Training_Metadata.csv"],
    "test": ["ISIC_2019_Test_Metadata.csv"],
}
OPTIONAL: Final = frozenset({"metadata", "test"})
SOURCE: Final = "challenge.isic-archive.com/data"
_META: Final = {
    "image_id": ("image", "isic_id"),
    "age": ("age_approx",),
    "site": ("anatom_site_general",),
    "sex": ("sex",),
}


def read(folder: Path) -> pd.DataFrame:
    """Read the release's tables into rows of outputs.releases.

    Raises:
        DataError: the ground truth is absent, or a table holds what can't be meant.
    """
    truth = published.read(
        folder,
        FILES["truth"],
        {"image_id": ("image", "isic_id")} | {c: (c,) for c in CLASSES[:8]},
        more=CLASSES[8:],
    )
    assert truth is not None  # noqa: S101 - required tables are there or raise
    classes = CLASSES if "UNK" in truth.cells else CLASSES[:8]
    label = parse.one_hot(truth, classes)
    ids = truth.cells["image_id"]
    columns: Columns = {
        "image_id": ids,
        "raw_label": label,
        "diagnosis": label,
        "rule_id": "isic2019:" + label,
        "centre": "unknown",
    }
    metadata = published.read(
        folder, FILES["metadata"], {**_META, "lesion_id": ("lesion_id",)}, required=False
    )
    if metadata is not None:
        columns |= _aligned(metadata, ids)
    parts = [part("train", columns)]
    test = published.read(folder, FILES["test"], _META, required=False)
    if test is not None:
        parts.append(
            part("test", {"image_id": test.cells["image_id"], "centre": "unknown", **_patients(test)})
        )
    return join(parts)


def _patients(metadata: published.Published) -> Columns:
    return {
        "age_years": parse.ages(metadata),
        "sex": parse.sexes(metadata),
        "site": parse.words(metadata, SITES, "site"),
        "raw_site": metadata.cells["site"].replace("", pd.NA),
    }


def _aligned(metadata: published.Published, ids: "pd.Series[str]") -> Columns:
    """Return the training metadata in the order of the ground truth."""
    lesion = parse.text(metadata.cells["lesion_id"])
    prefix = lesion.str[:3]
    centre = prefix.where(prefix.isin(CENTRES), "unknown")
    return published.aligned(metadata, {**_patients(metadata), "lesion_id": lesion, "centre": centre}, ids)
