"""Suites of each release's rows as published, and of its image facts.

One-hot rows and the types of cells have no rule here: the readers refuse them, with file, row and remedy,
before a suite sees them.
"""

from collections.abc import Mapping
from typing import Final

import pandas as pd

from dermaflow import outputs
from dermaflow.quality.rules import (
    CRITICAL,
    WARNING,
    Check,
    Rule,
    between,
    columns,
    contains,
    given,
    holds,
    known,
    not_empty,
    pattern,
    said,
    unique,
    words,
)
from dermaflow.taxonomy import DIAGNOSES, SEXES, SITES, VIEWS

AGE_STEPS: Final = [float(years) for years in range(0, 121, 5)]
CENTRES: Final = ["BCN", "HAM", "MSK", "SIIM", "unknown"]
CONFIRMED: Final = ["clinical", "confocal", "consensus", "histopathology", "serial imaging"]
PARTS: Final = ["train", "validation", "test"]
ASIDE: Final = "aside"
"""The part of a collection's rows that get no label."""

SIDE_PX: Final = 32
"""Pixels: a smaller image is no dermoscopic image."""

_LABELS_2020: Final = [
    ("atypical melanocytic proliferation", "UNK"),
    ("cafe-au-lait macule", "UNK"),
    ("lentigo NOS", "BKL"),
    ("lichenoid keratosis", "BKL"),
    ("melanoma", "MEL"),
    ("nevus", "NV"),
    ("seborrheic keratosis", "BKL"),
    ("solar lentigo", "BKL"),
    ("unknown", "UNK"),
]
LABELS: Final[Mapping[str, list[tuple[str, str]]]] = {
    "isic2018": [(word, code) for code in VIEWS["isic2018"].classes for word in (code, code.lower())],
    "isic2019": [(code, code) for code in DIAGNOSES],
    "isic2020": _LABELS_2020,
}
"""Each published label with the diagnosis that it must be mapped to (2018's in lower case: HAM10000's dx).

A release that does not stand here is a collection of the ISIC Archive, whose labels are paths.
"""

_COMPLETE: Final = {
    "isic2018": list(VIEWS["isic2018"].classes),
    "isic2019": list(DIAGNOSES[:8]),
    "isic2020": ["MEL", "NV", "BKL", "UNK"],
}
_OWN: Final[Mapping[str, tuple[Rule, ...]]] = {
    "isic2018": (
        known("lesion_id", 0.99),
        pattern("lesion_id", r"^HAM_\d{7}$", WARNING),
        known("confirm_type", 0.99),
    ),
    "isic2019": (known("lesion_id", 0.5), pattern("lesion_id", r"^(?:HAM|BCN|MSK)_?\w+$", WARNING)),
    "isic2020": (known("patient_id", 0.99, CRITICAL), pattern("patient_id", r"^IP_\d{7}$", WARNING)),
}


def checks(tables: Mapping[str, pd.DataFrame], facts: Mapping[str, pd.DataFrame]) -> list[Check]:
    """Return the checks of all releases.

    Args:
        tables: rows of outputs.releases, a release.
        facts: rows of outputs.facts, a release, with `thumbnail` or with `thumbnail_bytes`.
    """
    found = []
    for release, table in tables.items():
        train = _labelled(release, table[table["part"] == "train"])
        found += [
            Check(f"{release} rows", table, _rows(PARTS if release in LABELS else [*PARTS, ASIDE])),
            Check(f"{release} labels", train, _labels(release) if release in LABELS else _paths()),
        ]
        if (table["part"] == ASIDE).any():
            found.append(Check(f"{release} aside", table[table["part"] == ASIDE], _aside()))
    for release, table in facts.items():
        found.append(Check(f"{release} images", _measured(table), _images()))
    return found


def _rows(parts: list[str]) -> tuple[Rule, ...]:
    return (
        not_empty(),
        columns(list(outputs.releases.columns)),
        given("image_id"),
        unique("image_id"),
        pattern("image_id", r"^[\w.-]+$", CRITICAL, "letters"),
        pattern("image_id", r"^ISIC_\d{7}(?:_downsampled)?$", WARNING),
        words("part", parts),
        between("row", 1, None),
        between("age_years", 0, 120),
        words("age_years", AGE_STEPS, WARNING),
        words("sex", list(SEXES)),
        words("site", list(SITES)),
        words("centre", CENTRES),
        words("confirm_type", CONFIRMED),
        known("age_years", 0.9),
        known("sex", 0.9),
        known("site", 0.8),
    )


def _labelled(release: str, train: pd.DataFrame) -> pd.DataFrame:
    """Return training rows with what is expected of their labels worked out."""
    if release not in LABELS:
        named = train["patient_id"].notna() | train["lesion_id"].notna()
        pairs = train[["lesion_id", "patient_id"]].dropna().drop_duplicates()
        torn = pairs.loc[pairs["lesion_id"].duplicated(keep=False), "lesion_id"]
        one = said(~train["lesion_id"].isin(torn), train["lesion_id"].notna())
        return train.assign(traceable=said(named), one_patient=one)
    agreed = train["raw_label"].map(dict(LABELS[release]))
    both = train["raw_label"].notna() & train["diagnosis"].notna()
    return train.assign(mapping=said(agreed == train["diagnosis"], both))


def _labels(release: str) -> tuple[Rule, ...]:
    return (
        not_empty(),
        given("diagnosis"),
        given("rule_id"),
        words("raw_label", sorted(raw for raw, _ in LABELS[release])),
        holds("mapping", "Each published label is mapped to its diagnosis."),
        contains("diagnosis", _COMPLETE[release]),
        *_OWN[release],
    )


def _paths() -> tuple[Rule, ...]:
    """Rules of a collection's labels, which are paths in the archive's hierarchy."""
    return (
        not_empty(),
        given("raw_label"),
        given("diagnosis"),
        given("rule_id"),
        words("diagnosis", list(DIAGNOSES)),
        pattern("rule_id", r"^archive:(?!aside)", CRITICAL),
        holds("traceable", "Each image names its patient or its lesion: else look-alikes may part.", WARNING),
        holds("one_patient", "All images of a lesion are of one patient.", WARNING),
    )


def _aside() -> tuple[Rule, ...]:
    """Rules of a collection's rows without a label."""
    return (
        words("diagnosis", []),
        pattern("rule_id", r"^archive:aside, ", CRITICAL),
    )


def _measured(facts: pd.DataFrame) -> pd.DataFrame:
    """Return the facts with what is expected of them worked out."""
    readable = facts["readable"].astype(bool)
    smaller = facts[["width", "height"]].min(axis=1)
    # The stage reads only how long the thumbnails are: those of half a million images weigh 2 GB.
    told = "thumbnail_bytes" in facts
    length = facts["thumbnail_bytes"] if told else facts["thumbnail"].map(len)
    return facts.drop(columns="thumbnail_bytes" if told else "thumbnail").assign(
        opens=said(readable),
        reason_told=said(facts["problem"].notna(), ~readable),
        has_bytes=said(facts["bytes"] >= 1, readable),
        has_size=said(smaller >= 1, readable),
        large_enough=said(smaller >= SIDE_PX, readable),
        has_thumbnail=said(length == 64 * 64, readable),
    )


def _images() -> tuple[Rule, ...]:
    return (
        not_empty(WARNING),
        given("image_id"),
        unique("image_id"),
        words("part", PARTS),
        given("file"),
        pattern("sha256", r"^[0-9a-f]{64}$", CRITICAL),
        holds("opens", "Every image file decodes.", WARNING),
        holds("reason_told", "Of each unreadable file it is said why."),
        holds("has_bytes", "Every readable image's file is at least a byte long."),
        holds("has_size", "Every readable image has a width and a height."),
        holds("large_enough", f"Every readable image is at least {SIDE_PX} pixels wide and high.", WARNING),
        holds("has_thumbnail", "Every readable image has a thumbnail of 64 x 64 bytes."),
    )
