"""ISIC 2018 task 3 (HAM10000): 10,015 training and 193 labelled validation images, seven classes.

Files: ISIC2018_Task3_Training_GroundTruth, ISIC2018_Task3_Validation_GroundTruth,
ISIC2018_Task3_Training_LesionGroupings (lesions, how confirmed) and HAM10000_metadata (age, sex, site).
Where the ground truth is absent, as in HAM10000's Dataverse and its copies, the labels are the `dx` of
HAM10000_metadata (rule ids `isic2018:dx nv`). The test images come without a table. AKIEC joins AK and SCC;
only 2019's label takes it apart.
Sources: challenge.isic-archive.com/data, doi 10.7910/DVN/DBW86T (Sci. Data 5, 180161).
"""

from pathlib import Path
from typing import Final

import pandas as pd

from dermaflow.errors import DataError, first_ten
from dermaflow.releases import parse, published
from dermaflow.releases.rows import Columns, join, part

CLASSES: Final = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
RULES: Final = {name: f"isic2018:{name}" for name in CLASSES} | {"AKIEC": "isic2018:AKIEC unresolved"}
DX: Final = {name.lower(): name for name in CLASSES}
"""HAM10000_metadata's words for the classes: akiec, bcc, bkl, df, mel, nv, vasc."""

DX_RULES: Final = {word: f"isic2018:dx {word}" for word in DX} | {"akiec": "isic2018:dx akiec unresolved"}
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
INSTEAD: Final = {"truth": "metadata"}
"""The table that serves where the first is absent."""

SOURCE: Final = "challenge.isic-archive.com/data, or doi 10.7910/DVN/DBW86T"
_IMAGE = ("image", "image_id", "isic_id")


def read(folder: Path) -> pd.DataFrame:
    """Read the release's tables into rows of outputs.releases.

    Raises:
        DataError: there is neither the ground truth nor HAM10000_metadata, or a table holds what can't be
            meant.
    """
    metadata = _metadata(folder)
    truth = published.read(
        folder,
        FILES["truth"],
        {"image_id": _IMAGE} | {c: (c,) for c in CLASSES},
        required=metadata is None,
    )
    if truth is not None:
        if metadata is not None:
            _check_dx(metadata, truth)
        parts = [_labelled("train", truth, _patients(folder, truth.cells["image_id"], metadata))]
    else:
        assert metadata is not None  # noqa: S101 - the ground truth would have been required
        parts = [part("train", _by_dx(metadata) | _patients(folder, metadata.cells["image_id"], metadata))]
    more = published.read(
        folder, FILES["validation"], {"image_id": _IMAGE} | {c: (c,) for c in CLASSES}, required=False
    )
    if more is not None:
        parts.append(_labelled("validation", more, {"centre": "unknown"}))
    return join(parts)


def _labelled(name: str, truth: published.Published, patients: Columns) -> pd.DataFrame:
    label = parse.one_hot(truth, CLASSES)
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


def _metadata(folder: Path) -> published.Published | None:
    return published.read(
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
        more=("dx",),
        required=False,
    )


def _by_dx(metadata: published.Published) -> Columns:
    """Return the labels of HAM10000_metadata alone."""
    if "dx" not in metadata.cells:
        raise DataError(
            f"no column dx, and no {FILES['truth'][0]} beside it",
            f"{metadata.name}, row 0 (header)",
            "Add the ground truth of the challenge, or take the table with its column dx.",
        )
    word = metadata.cells["dx"].str.lower()
    strange = ~word.isin(list(DX))
    if strange.any():
        raise DataError(
            f"{strange.sum()} cells of dx hold unknown words: {first_ten(word[strange].unique())}",
            metadata.rows(strange),
            f"Use one of {', '.join(DX)}.",
        )
    return {
        "image_id": metadata.cells["image_id"],
        "raw_label": word,
        "diagnosis": word.map(DX),
        "rule_id": word.map(DX_RULES),
    }


def _check_dx(metadata: published.Published, truth: published.Published) -> None:
    if "dx" not in metadata.cells:
        return
    label = parse.one_hot(truth, CLASSES).str.lower().set_axis(truth.cells["image_id"])
    said = metadata.cells["image_id"].map(label)
    wrong = said.notna() & (said != metadata.cells["dx"].str.lower())
    if wrong.any():
        raise DataError(
            f"{wrong.sum()} rows have a dx that contradicts {truth.name}: "
            f"{first_ten(metadata.cells['image_id'][wrong])}",
            metadata.rows(wrong),
            "Take both tables as published.",
        )


def _patients(folder: Path, ids: "pd.Series[str]", metadata: published.Published | None) -> Columns:
    """Return what the two optional tables know of each training image, in the order of the ids."""
    known: Columns = {"centre": "HAM"}
    if metadata is not None:
        known |= published.aligned(
            metadata,
            {
                "age_years": parse.ages(metadata),
                "sex": parse.sexes(metadata),
                "site": parse.words(metadata, SITES, "site"),
                "raw_site": metadata.cells["site"].replace("", pd.NA),
                "lesion_id": parse.text(metadata.cells["lesion_id"]),
                "confirm_type": parse.words(metadata, CONFIRMED, "confirm_type"),
            },
            ids,
        )
    lesions = published.read(
        folder,
        FILES["lesions"],
        {"image_id": _IMAGE, "lesion_id": ("lesion_id",), "confirm_type": ("diagnosis_confirm_type",)},
        required=False,
    )
    if lesions is not None:
        more = published.aligned(
            lesions,
            {
                "lesion_id": parse.text(lesions.cells["lesion_id"]),
                "confirm_type": parse.words(lesions, CONFIRMED, "confirm_type"),
            },
            ids,
        )
        frame = pd.DataFrame(more)
        if metadata is not None:
            other = pd.DataFrame(known)[[*frame]]
            _check_lesions(f"{lesions.name} and {metadata.name}", ids, frame["lesion_id"], other["lesion_id"])
            frame = frame.fillna(other)
        known |= {str(name): column for name, column in frame.items()}
    return known


def _check_lesions(names: str, ids: "pd.Series[str]", one: "pd.Series[str]", other: "pd.Series[str]") -> None:
    wrong = one.notna() & other.notna() & (one != other)
    if wrong.any():
        raise DataError(
            f"{wrong.sum()} images have two lesion ids: {first_ten(ids[wrong])}",
            names,
            "Take both tables as published.",
        )
