"""ISIC 2020 (SIIM): 33,126 training images of 2,056 patients and 10,982 unlabelled test images.

Files, in Kaggle's names or the archive's: train.csv (must be there), test.csv, 2020_Challenge_duplicates.csv.
Sources: challenge.isic-archive.com/data; Sci. Data 8, 34 (2021). The diagnosis rules are those of the
challenge's winners (arXiv:2010.05351): what is benign and not named further becomes UNK, which is not the
UNK of 2019 ("none of the eight"); the rule id keeps the two apart.

Official duplicates: of each pair the second image is dropped (`duplicate_of` names the first). Where pairs
chain, one image of the chain is kept. Pairs that name an image of no table are noted; where the kept image
is in no table, another one of its chain is.
"""

from pathlib import Path
from typing import Final

import pandas as pd

from dermaflow.errors import DataError, first_ten
from dermaflow.releases import parse, published
from dermaflow.releases.notes import note
from dermaflow.releases.rows import Columns, join, part
from dermaflow.taxonomy import SITES as SIX_SITES

DIAGNOSES: Final = {
    "melanoma": "MEL",
    "nevus": "NV",
    "seborrheic keratosis": "BKL",
    "lichenoid keratosis": "BKL",
    "solar lentigo": "BKL",
    "lentigo NOS": "BKL",
    "unknown": "UNK",
    "cafe-au-lait macule": "UNK",
    "atypical melanocytic proliferation": "UNK",
}
_WORDS: Final = {word.lower(): word for word in DIAGNOSES}
SITES: Final = {site: site for site in SIX_SITES} | {
    "anterior torso": "torso",
    "lateral torso": "torso",
    "posterior torso": "torso",
}
FOLDERS: Final = {
    "train": ["train", "jpeg/train", "ISIC_2020_Training_JPEG"],
    "validation": [],
    "test": ["test", "jpeg/test", "ISIC_2020_Test_JPEG", "ISIC_2020_Test_Input"],
}
FILES: Final = {
    "truth": ["train.csv", "ISIC_2020_Training_GroundTruth_v2.csv", "ISIC_2020_Training_GroundTruth.csv"],
    "test": ["test.csv", "ISIC_2020_Test_Metadata.csv"],
    "duplicates": ["2020_Challenge_duplicates.csv", "ISIC_2020_Training_Duplicates.csv"],
}
OPTIONAL: Final = frozenset({"test", "duplicates"})
SOURCE: Final = "challenge.isic-archive.com/data, or kaggle.com/c/siim-isic-melanoma-classification"
_META: Final = {
    "image_id": ("image_name", "image", "isic_id"),
    "patient_id": ("patient_id", "patient"),
    "sex": ("sex",),
    "age": ("age_approx",),
    "site": ("anatom_site_general_challenge", "anatom_site_general"),
}


def read(folder: Path) -> pd.DataFrame:
    """Read the release's tables into rows of outputs.releases.

    Raises:
        DataError: train.csv is absent, a table holds what can't be meant, or no pair of duplicates is listed.
    """
    train = published.read(
        folder, FILES["truth"], {**_META, "diagnosis": ("diagnosis",)}, more=("target", "lesion_id")
    )
    assert train is not None  # noqa: S101 - required tables are there or raise
    raw = train.cells["diagnosis"].str.lower()
    strange = ~raw.isin(list(_WORDS))
    if strange.any():
        raise DataError(
            f"{strange.sum()} diagnoses are unknown words: {first_ten(raw[strange].unique())}",
            train.rows(strange),
            f"Use one of {', '.join(DIAGNOSES)}.",
        )
    _check_target(train, raw)
    test = published.read(folder, FILES["test"], _META, required=False)
    listed = {image for table in (train, test) if table is not None for image in table.cells["image_id"]}
    twin = _duplicates(folder, listed)
    parts = [
        part(
            "train",
            {
                **_patients(train, twin),
                "raw_label": raw.map(_WORDS),
                "diagnosis": raw.map(_WORDS).map(DIAGNOSES),
                "rule_id": "isic2020:" + raw,
            },
        )
    ]
    if test is not None:
        parts.append(part("test", _patients(test, twin)))
    return join(parts)


def _patients(table: published.Published, twin: dict[str, str]) -> Columns:
    ids = table.cells["image_id"]
    return {
        "image_id": ids,
        "age_years": parse.ages(table),
        "sex": parse.sexes(table),
        "site": parse.words(table, SITES, "site"),
        "raw_site": table.cells["site"].replace("", pd.NA),
        "patient_id": parse.text(table.cells["patient_id"]),
        "lesion_id": parse.text(table.column("lesion_id")),
        "duplicate_of": ids.map(twin).astype("str"),
        "centre": "SIIM",
    }


def _check_target(train: published.Published, raw: "pd.Series[str]") -> None:
    if "target" not in train.cells:
        return
    target = pd.to_numeric(train.cells["target"], errors="coerce")
    wrong = target != (raw == "melanoma").astype("float64")
    if wrong.any():
        raise DataError(
            f"{wrong.sum()} rows have a target that contradicts the diagnosis: "
            f"{first_ten(train.cells['image_id'][wrong])}",
            train.rows(wrong),
            "target is 1 for melanoma and 0 for all else; mend the row.",
        )


def _duplicates(folder: Path, listed: set[str]) -> dict[str, str]:
    """Return each dropped image's kept twin, if it is listed; a twin in the other part is for the suites."""
    table = published.read(
        folder,
        FILES["duplicates"],
        {
            "first": ("ISIC_id", "image_name_1", "image_name"),
            "second": ("ISIC_id_paired", "image_name_2", "image_name_paired"),
        },
        required=False,
    )
    if table is None:
        return {}
    first, second = (published.image_ids(table.cells[name]) for name in ("first", "second"))
    unknown = ~(first.isin(listed) & second.isin(listed))
    if unknown.all():
        raise DataError(
            f"none of its {len(table)} pairs names two images of the tables, "
            f"the first is {first.iloc[0]} and {second.iloc[0]}",
            table.rows(unknown),
            f"Write its ids as {FILES['truth'][0]} does, or remove the file if it is of other images.",
        )
    if unknown.any():
        note(table.name, f"{unknown.sum():,} of {len(table):,} pairs name an image of no table")
    found, instead = {}, dict[str, str]()
    for image, kept in chains(zip(first, second, strict=True)).items():
        if image in listed:
            twin = kept if kept in listed else instead.setdefault(kept, image)
            if twin != image:
                found[image] = twin
    return found


def chains(pairs: "zip[tuple[str, str]] | list[tuple[str, str]]") -> dict[str, str]:
    """Resolve pairs (kept, dropped) that may chain: all images of a chain but one are dropped.

    Returns:
        Dropped image to kept image; no kept image is itself dropped.
    """
    kept_by: dict[str, str] = {}

    def end(image: str) -> str:
        while image in kept_by:
            image = kept_by[image]
        return image

    for first, second in pairs:
        keep, drop = end(first), end(second)
        if keep != drop:
            kept_by[drop] = keep
    return {image: end(image) for image in kept_by}
