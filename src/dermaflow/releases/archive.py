"""A collection of the ISIC Archive as its own tool downloads it: metadata.csv and the images beside it.

In: a folder with metadata.csv (isic_id, and as far as the collection knows them patient_id, lesion_id,
age_approx, sex, anatom_site_general, anatom_site_1 to _5, anatom_site_special, diagnosis_1 to _5 or the older
diagnosis and benign_malignant, diagnosis_confirm_type, image_type, image_manipulation). Out: rows of
outputs.releases. Called for every release whose name is not one of the three years'.

**Labels.** The archive names a diagnosis as a path from `diagnosis_1` (Benign, Indeterminate, Malignant) down
to `diagnosis_5`. The deepest name that stands in TERMS gives the code, and the rule id says which name that
was (`archive:nevus`). What stands in no rule is judged by `diagnosis_1` alone:

- benign with a name (a cyst, a scar): UNK, `archive:benign, other`; without: UNK, `archive:benign, unnamed`.
  Neither is 2019's UNK ("none of the eight") nor 2020's ("unknown"): the rule ids keep them apart;
- malignant or indeterminate without a place among the nine (Merkel cell carcinoma, an atypical melanocytic
  neoplasm), or no diagnosis at all: **set aside**. Such rows stand in the part `aside`, without a diagnosis;
  their rule id says why (`archive:aside, malignant, other`), and no model ever sees them as labelled.

Set aside as well: images that are not dermoscopic (clinical photos, tiles of total body photographs), and
altered or synthetic ones. A name that contradicts `diagnosis_1` (a benign melanoma) is an error.

Sources: the vocabulary of isic-metadata 4.12 (github.com/ImageMarkup/isic-metadata), the columns and files of
isic-cli (github.com/ImageMarkup/isic-cli). What each class joins follows HAM10000 (benign keratoses, vascular
lesions with hemorrhage, intraepithelial carcinoma; doi 10.1038/sdata.2018.161), the winners of 2020 (lentigo
NOS; arXiv:2010.05351), and the archive's own grouping of melanoma and its metastases. Keratoacanthoma counts
as squamous cell carcinoma, as in MILK10k (doi 10.34970/648456).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import pandas as pd

from dermaflow.errors import DataError, first_ten
from dermaflow.releases import isic2018, isic2020, parse, published
from dermaflow.releases.rows import Columns, join, part

ASIDE: Final = "aside"
"""The part of rows that get no label."""

LEVELS: Final = tuple(f"diagnosis_{level}" for level in range(1, 6))
TERMS: Final[Mapping[str, str]] = {
    name: code
    for code, names in {
        "MEL": (
            "malignant melanocytic proliferations (melanoma)",
            "melanoma",
            "melanoma in situ",
            "melanoma invasive",
            "melanoma metastasis",
            "melanoma, nos",
        ),
        "NV": ("nevus", "nevus spilus"),
        "BCC": ("basal cell carcinoma",),
        "AK": ("actinic keratosis", "solar or actinic keratosis"),
        "BKL": (
            "lentigo nos",
            "lichen planus like keratosis",
            "lichenoid keratosis",
            "pigmented benign keratosis",
            "seborrheic keratosis",
            "solar lentigo",
        ),
        "DF": ("dermatofibroma",),
        "VASC": (
            "angiokeratoma",
            "angioma",
            "benign soft tissue proliferations - vascular",
            "hemangioma",
            "hemorrhage",
            "hemorrhagic lesions",
            "pyogenic granuloma",
            "vascular lesion",
        ),
        "SCC": (
            "keratoacanthoma",
            "squamous cell carcinoma",
            "squamous cell carcinoma in situ",
            "squamous cell carcinoma, invasive",
            "squamous cell carcinoma, nos",
        ),
    }.items()
    for name in names
}
"""Names in the archive's hierarchy (of any level) and in its older column, each with its code; lower case."""

_OLD: Final = {
    name: group
    for group, names in {
        "benign": (
            "acrochordon",
            "angiofibroma or fibrous papule",
            "cafe-au-lait macule",
            "clear cell acanthoma",
            "ephelis",
            "epidermal nevus",
            "lentigo simplex",
            "mucosal melanosis",
            "neurofibroma",
            "scar",
            "sebaceous adenoma",
            "sebaceous hyperplasia",
            "verruca",
        ),
        "malignant": ("merkel cell carcinoma",),
        "indeterminate": ("aimp", "atypical melanocytic proliferation", "atypical spitz tumor"),
        "": ("adnexal tumor", "other"),
    }.items()
    for name in names
}
"""What else the older column `diagnosis` may say, with its group (empty: only benign_malignant tells)."""

_GROUPS: Final = {
    "benign": "benign",
    "indeterminate": "indeterminate",
    "indeterminate/benign": "indeterminate",
    "indeterminate/malignant": "indeterminate",
    "malignant": "malignant",
}
_CONTRADICTS: Final = dict.fromkeys(("MEL", "BCC", "SCC"), "benign") | dict.fromkeys(
    ("NV", "BKL", "DF", "VASC"), "malignant"
)
"""The group in which a code can't stand (AK is indeterminate here and a precursor elsewhere: in any)."""

SITE_LEVELS: Final = tuple(f"anatom_site_{level}" for level in range(1, 6))
_SITES: Final = {
    "anogenital region": "oral/genital",
    "head and neck": "head/neck",
    "lower extremity": "lower extremity",
    "mouth": "oral/genital",
    "palm of hand": "palms/soles",
    "sole of foot": "palms/soles",
    "trunk": "torso",
    "upper extremity": "upper extremity",
}
"""Names in the archive's newer hierarchy of sites; the deepest that stands here counts."""

_SPECIAL: Final[Mapping[str, str | None]] = {
    "acral nos": None,
    "acral palms or soles": "palms/soles",
    "fingernail": "upper extremity",
    "nail nos": None,
    "oral or genital": "oral/genital",
    "toenail": "lower extremity",
}
CONFIRMED: Final = isic2018.CONFIRMED | {"single contributor clinical assessment": "clinical"}

_MORE: Final = (
    *LEVELS,
    *SITE_LEVELS,
    "diagnosis",
    "benign_malignant",
    "diagnosis_confirm_type",
    "age_approx",
    "sex",
    "anatom_site_general",
    "anatom_site_special",
    "patient_id",
    "lesion_id",
    "image_type",
    "image_manipulation",
)
"""The columns that count, where the collection has them."""

FOLDERS: Final = {"train": [".", "images", "ISIC-images", "ISIC_images"], "validation": [], "test": []}
FILES: Final = {"metadata": ["metadata.csv"]}
OPTIONAL: Final[frozenset[str]] = frozenset()
WITHIN: Final = ("images.zip", "ISIC-images.zip", "ISIC_images.zip")
"""Zips of images that may hold metadata.csv as well."""

SOURCE: Final = "the ISIC Archive: `isic image download --collections <number> <folder>`"


def holds(folder: Path) -> bool:
    """Tell whether a folder is a collection: metadata.csv lies in it, or in its zip of images.

    So may be one whose zip is damaged; whoever reads it says that.
    """
    try:
        return published.find(folder, FILES["metadata"], WITHIN) is not None
    except DataError:
        return True


def read(folder: Path) -> pd.DataFrame:
    """Read a collection's metadata.csv into rows of outputs.releases, in the parts `train` and `aside`.

    Raises:
        DataError: metadata.csv is absent, holds what can't be meant, or leaves no row for training.
    """
    table = published.read(
        folder, FILES["metadata"], {"image_id": ("isic_id", "image")}, more=_MORE, within=WITHIN
    )
    assert table is not None  # noqa: S101 - required tables are there or raise
    labels = _labels(table)
    why = _unusable(table)
    rule_id = labels["rule_id"].where(why.isna(), "archive:aside, " + why)
    aside = rule_id.str.startswith("archive:aside")
    if aside.all():
        raise DataError(
            f"none of {len(aside):,} rows can be learned from: "
            + ", ".join(f"{rule.removeprefix('archive:aside, ')} {n:,}" for rule, n in _count(rule_id)),
            table.name,
            "Take a collection of dermoscopic images with diagnoses, or remove it from releases.",
        )
    columns: Columns = {
        "image_id": table.cells["image_id"],
        "row": pd.Series(range(1, len(table) + 1), index=table.cells.index, dtype="float64"),
        "raw_label": labels["raw_label"].replace("", pd.NA),
        "diagnosis": labels["diagnosis"].mask(aside),
        "rule_id": rule_id,
        "age_years": _ages(table),
        "sex": parse.sexes(table),
        **_sites(table),
        "patient_id": parse.text(table.column("patient_id")),
        "lesion_id": parse.text(table.column("lesion_id")),
        "confirm_type": parse.words(table, CONFIRMED, "diagnosis_confirm_type"),
        "centre": "unknown",
    }
    frame = pd.DataFrame(columns)
    parts = [
        part(name, {str(key): rows[key] for key in rows})
        for name, rows in (("train", frame[~aside]), (ASIDE, frame[aside]))
        if len(rows)
    ]
    return join(parts)


def _count(rule_id: "pd.Series[str]") -> list[tuple[str, int]]:
    return [(str(rule), int(number)) for rule, number in rule_id.value_counts().items()]


def _labels(table: published.Published) -> pd.DataFrame:
    """Return raw_label, diagnosis and rule_id of each row, aligned with the table."""
    names = [*LEVELS, "diagnosis", "benign_malignant"]
    if not any(name in table.cells for name in names):
        raise DataError(
            f"no column diagnosis_1 (nor the older diagnosis); it has {first_ten(table.cells)}",
            f"{table.name}, row 0 (header)",
            "Download the metadata again with isic-cli, with diagnoses.",
        )
    cells = pd.DataFrame({name: parse.text(table.column(name)).fillna("") for name in names})
    which, distinct = pd.factorize(pd.MultiIndex.from_frame(cells))  # some hundred, of half a million rows
    judged = []
    for number, one in enumerate(distinct):
        try:
            judged.append(_diagnose([str(cell) for cell in one]))
        except ValueError as problem:
            bad = pd.Series(which == number)
            raise DataError(
                f"{bad.sum()} rows {problem}: {first_ten(table.cells['image_id'][bad])}",
                table.rows(bad),
                "Mend the rows, or remove them.",
            ) from None
    labels = pd.DataFrame(judged, columns=["raw_label", "diagnosis", "rule_id"], dtype="str")
    return labels.iloc[which].set_axis(cells.index)


def _diagnose(cells: Sequence[str]) -> tuple[str, str | None, str]:
    """Return one row's label as published, its code (None: set aside) and its rule.

    Args:
        cells: diagnosis_1 to _5, diagnosis, benign_malignant; empty where not given.

    Raises:
        ValueError: what is wrong with the row.
    """
    *levels, old, word = cells
    path = [name for name in levels if name]
    if path and not levels[0]:
        raise ValueError(f"name {path[0]!r} without diagnosis_1")
    group = _group(levels[0], old, word)
    names = path or [name for name in (old,) if name]
    label = ":".join(names) or word
    for name in reversed(names):
        code = TERMS.get(name.lower())
        if code is not None:
            if group == _CONTRADICTS.get(code):
                raise ValueError(f"are {group} and named {name}")
            return label, code, f"archive:{name.lower()}"
    named = "other" if path[1:] or (old and not path) else "unnamed"
    if group == "benign":
        return label, "UNK", f"archive:benign, {named}"
    return label, None, f"archive:aside, {group}, {named}" if group else "archive:aside, no diagnosis"


def _group(first: str, old: str, word: str) -> str:
    """Return benign, indeterminate, malignant, or nothing if none of the three columns tells.

    Raises:
        ValueError: a column holds an unknown word, or two contradict each other.
    """
    for name, cell in (("diagnosis_1", first), ("benign_malignant", word)):
        if cell and cell.lower() not in _GROUPS:
            raise ValueError(f"have an unknown {name}: {cell}")
    if old and not first and old.lower() not in {*TERMS, *_OLD}:
        raise ValueError(f"have an unknown diagnosis: {old}")
    group, other = _GROUPS.get(first.lower(), ""), _GROUPS.get(word.lower(), "")
    if {group, other} == {"benign", "malignant"}:
        raise ValueError(f"are {first} in diagnosis_1 and {word} in benign_malignant")
    return group or other or ("" if first else _OLD.get(old.lower(), ""))


def _unusable(table: published.Published) -> "pd.Series[str]":
    """Say why an image can't be used whatever its diagnosis; missing where it can."""
    kind = parse.text(table.column("image_type")).str.lower()
    made = parse.text(table.column("image_manipulation")).str.lower()
    why = ("no dermoscopic image: " + kind).where(kind.notna() & (kind != "dermoscopic"))
    return why.mask(made.isin(["altered", "synthetic"]), made + " image").astype("str")


def _ages(table: published.Published) -> "pd.Series[float]":
    """Return ages in years; the archive's `85+` counts as 85."""
    cells = table.column("age_approx").replace("85+", "85")
    return parse.ages(replace(table, cells=table.cells.assign(age_approx=cells)), "age_approx")


def _sites(table: published.Published) -> "dict[str, pd.Series[str]]":
    """Return site and raw_site: of the general column, else of the hierarchy, else of the special column."""
    general = parse.words(table, isic2020.SITES, "anatom_site_general")
    special = parse.words(table, _SPECIAL, "anatom_site_special")
    first = parse.words(table, _SITES, SITE_LEVELS[0])
    deep, path = first, parse.text(table.column(SITE_LEVELS[0]))
    for name in SITE_LEVELS[1:]:
        cells = parse.text(table.column(name))
        deep = cells.str.lower().map(_SITES).fillna(deep)
        path = (path + ":" + cells).fillna(path)
    raw = parse.text(table.column("anatom_site_general")).fillna(path)
    return {
        "site": general.fillna(deep).fillna(special),
        "raw_site": raw.fillna(parse.text(table.column("anatom_site_special"))),
    }
