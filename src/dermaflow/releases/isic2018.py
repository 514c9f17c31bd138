"""ISIC 2018 task 3 (HAM10000): 10,015 training and 193 labelled validation images, seven classes.

Files: ISIC2018_Task3_Training_GroundTruth (must be there), ISIC2018_Task3_Validation_GroundTruth,
ISIC2018_Task3_Training_LesionGroupings (lesions, how confirmed) and HAM10000_metadata (age, sex, site).
The test images come without a table. AKIEC joins AK and SCC; only 2019's label takes it apart.
Sources: challenge.isic-archive.com/data, doi 10.7910/DVN/DBW86T (Sci. Data 5, 180161).
"""

from pathlib import Path
from typing import Final

import pandas as pd

from dermaflow.errors import DataError, first_ten
from dermaflow.releases import published
from dermaflow.releases.rows import join, part

CLASSES: Final = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
RULES: Final = {name: f"isic2018:{name}" for name in CLASSES} | {"AKIEC": "isic2018:AKIEC unresolved"}
SITES: Final = {
    "abdomen": "torso",
    "acral": "palms/soles",
    "back": "torso",
    "chest": "torso",
    "ear": "head/neck",
    "face": "head/neck",
    "foot": "lower extremity",
    "genital": "oral/genital",
    "hand": "upper extremity",
    "lower extremity": "lower extremity",
    "neck": "head/neck",
    "scalp": "head/neck",
    "trunk": "torso",
    "upper extremity": "upper extremity",
}
"""HAM10000's words (its fifteenth is `unknown`), mapped as ISIC 2019 mapped the same images, where it did."""

CONFIRMED: Final = {
    "histopathology": "histopathology",
    "serial imaging showing no change": "serial imaging",
    "single image expert consensus": "consensus",
    "confocal microscopy with consensus dermoscopy": "confocal",
    "histo": "histopathology",
    "follow_up": "serial imaging",
    "consensus": "consensus",
    "confocal": "confocal",
}
"""How a diagnosis was confirmed, in the words of LesionGroupings and of HAM10000_metadata."""

FOLDERS: Final = {
    "train": [
        "ISIC2018_Task3_Training_Input",
        "HAM10000_images_part_1",
        "HAM10000_images_part_2",
    ],
    "validation": ["ISIC2018_Task3_Validation_Input"],
    "test": ["ISIC2018_Task3_Test_Input"],
}
FILES: Final = {
    "truth": ["ISIC2018_Task3_Training_GroundTruth.csv"],
    "validation": ["ISIC2018_Task3_Validation_GroundTruth.csv"],
    "lesions": ["ISIC2018_Task3_Training_LesionGroupings.csv"],
    "metadata": ["HAM10000_metadata.csv", "HAM10000_metadata", "HAM10000_metadata.tab"],
}
OPTIONAL: Final = frozenset({"validation", "lesions", "metadata"})
_IMAGE = ("image", "image_id", "isic_id")


def read(folder: Path) -> pd.DataFrame:
    """Read the release's tables into rows of outputs.releases.

    Raises:
        DataError: the ground truth is absent, or a table holds what can't be meant.
    """
    truth = published.read(folder, FILES["truth"], {"image_id": _IMAGE} | {c: (c,) for c in CLASSES})
    assert truth is not None  # noqa: S101 - required tables are there or raise
    parts = [_labelled("train", truth, _patients(folder, truth))]
    more = published.read(
        folder, FILES["validation"], {"image_id": _IMAGE} | {c: (c,) for c in CLASSES}, required=False
    )
    if more is not None:
        parts.append(_labelled("validation", more, {"centre": "unknown"}))
    return join(parts)


def _labelled(
    name: str, truth: published.Published, patients: "dict[str, pd.Series[str] | pd.Series[float] | str]"
) -> pd.DataFrame:
    label = published.one_hot(truth, CLASSES)
    return part(
        name,
        {
            "image_id": truth.cells["image_id"],
            "raw_label": label,
            "diagnosis": label,
            "rule_id": label.map(RULES),
            **patients,
        },
    )


def _patients(
    folder: Path, truth: published.Published
) -> "dict[str, pd.Series[str] | pd.Series[float] | str]":
    """Return what the two optional tables know of each training image, in the order of the ground truth."""
    ids = truth.cells["image_id"]
    known: dict[str, pd.Series[str] | pd.Series[float] | str] = {"centre": "HAM"}
    metadata = published.read(
        folder,
        FILES["metadata"],
        {
            "image_id": ("image_id", "image"),
            "lesion_id": ("lesion_id",),
            "confirm_type": ("dx_type",),
            "age": ("age",),
            "sex": ("sex",),
            "site": ("localization",),
        },
        required=False,
    )
    if metadata is not None:
        frame = pd.DataFrame(
            {
                "age_years": published.ages(metadata),
                "sex": published.sexes(metadata),
                "site": published.sites(metadata, SITES),
                "raw_site": metadata.cells["site"].replace("", pd.NA),
                "lesion_id": published.text(metadata.cells["lesion_id"]),
                "confirm_type": published.sites(metadata, CONFIRMED, "confirm_type"),
            }
        ).set_index(metadata.cells["image_id"])
        known |= {str(name): frame[name].reindex(ids).set_axis(ids.index) for name in frame}
    lesions = published.read(
        folder,
        FILES["lesions"],
        {"image_id": _IMAGE, "lesion_id": ("lesion_id",), "confirm_type": ("diagnosis_confirm_type",)},
        required=False,
    )
    if lesions is not None:
        absent = ids[~ids.isin(lesions.cells["image_id"])]
        if len(absent):
            raise DataError(
                f"{len(absent)} images of the ground truth are not in it: {first_ten(absent)}",
                lesions.name,
                "Take both files from the same download, or remove this one.",
            )
        frame = pd.DataFrame(
            {
                "lesion_id": published.text(lesions.cells["lesion_id"]),
                "confirm_type": published.sites(lesions, CONFIRMED, "confirm_type"),
            }
        ).set_index(lesions.cells["image_id"])
        known |= {str(name): frame[name].reindex(ids).set_axis(ids.index) for name in frame}
    return known
