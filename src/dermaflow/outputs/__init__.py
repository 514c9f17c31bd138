"""Where each stage's files lie, what their columns are, and how they are opened.

Every table that passes between two rooms is declared here once: column, dtype, meaning, unit. Paths are
relative to the project's root.
"""

from pathlib import Path

from dermaflow.outputs.place import (
    DIR,
    json_text,
    path,
    read_json,
    read_lines,
    replacing,
    require_space,
    write_json,
    write_lines,
    write_text,
)
from dermaflow.outputs.table import Column, Table
from dermaflow.params import root

__all__ = [
    "DIR",
    "Column",
    "Table",
    "cases",
    "certificate",
    "ensemble_predictions",
    "facts",
    "funnel",
    "holdout",
    "images_dir",
    "imputer",
    "inputs",
    "json_text",
    "ledger",
    "located",
    "member_dir",
    "pairs",
    "path",
    "patients",
    "predictions",
    "quality_report",
    "read_json",
    "read_lines",
    "releases",
    "replacing",
    "reports_dir",
    "require_space",
    "sheets_dir",
    "write_json",
    "write_lines",
    "write_text",
]

_ID = Column("str", "image id as published, without extension or folder")
_PATIENT_FIELDS = {
    "age_years": Column("float32", "approximate age, years", missing=True),
    "sex": Column("str", "female, male", missing=True),
    "site": Column("str", "one of the six sites of taxonomy.SITES", missing=True),
}
_IDS = {
    "patient_id": Column("str", "as published; unknown where missing", missing=True),
    "lesion_id": Column("str", "as published; unknown where missing", missing=True),
}

releases = Table(
    "releases/{}.parquet",
    {
        "image_id": _ID,
        "part": Column(
            "str", "train, validation or test, as the challenge gave it out; aside: no usable label"
        ),
        "row": Column("int32", "data row in the file that lists the image, from 1"),
        "raw_label": Column("str", "the diagnosis as published", missing=True),
        "diagnosis": Column("str", "taxonomy code; missing if unlabelled", missing=True),
        "rule_id": Column("str", "the rule that mapped raw_label, e.g. isic2020:nevus", missing=True),
        **_PATIENT_FIELDS,
        "raw_site": Column("str", "the site as published", missing=True),
        **_IDS,
        "duplicate_of": Column("str", "kept image of an official duplicate pair", missing=True),
        "confirm_type": Column("str", "how the diagnosis was confirmed", missing=True),
        "centre": Column("str", "HAM, BCN, MSK, SIIM or unknown: where the image was taken"),
    },
)
"""Rows as published, one release a file, in the order of the published file."""

facts = Table(
    "facts/{}.parquet",
    {
        "image_id": _ID,
        "part": Column("str", "train, validation or test: in whose folder the file lies"),
        "file": Column("str", "path below data/<release>; name in a zip after `.zip/`"),
        "width": Column("int32", "pixels as decoded, after EXIF orientation; 0 if unreadable"),
        "height": Column("int32", "pixels as decoded, after EXIF orientation; 0 if unreadable"),
        "bytes": Column("int64", "size of the file"),
        "sha256": Column("str", "of the file, hex"),
        "phash": Column("uint64", "64-bit perceptual hash of the grey thumbnail"),
        "thumbnail": Column("object", "64 x 64 grey pixels, 4096 bytes, row by row"),
        "readable": Column("bool", "the file decodes"),
        "problem": Column("str", "why it does not decode", missing=True),
    },
)
"""What the pixels say, one image file a row, sorted by image_id; whatever the tables list."""

located = "located/{}.txt"
"""Image ids that one release's shards store, one a line: each under the first that holds it undamaged."""

quality_report = "quality/report.json"

cases = Table(
    "cases.parquet",
    {
        "image_id": _ID,
        "release": Column("str", "the first release in params that lists the image"),
        "store": Column("str", "the release whose shards hold the image", missing=True),
        "diagnosis": Column(
            "str", "one of taxonomy.DIAGNOSES, or AKIEC; missing in hold-out rows", missing=True
        ),
        "group": Column("int32", "images of one group never part; -1 if dropped"),
        "split": Column("str", "train, hold_out or dropped"),
        "fold": Column("int8", "0 to folds-1 in train rows, else -1"),
        "why_dropped": Column("str", "the reason; missing unless dropped", missing=True),
        **_PATIENT_FIELDS,
        **_IDS,
        "confirm_type": Column("str", "how the diagnosis was confirmed", missing=True),
        "centre": Column("str", "where the image was taken"),
        "width": Column("int32", "original width, pixels; 0 if there is no file"),
        "height": Column("int32", "original height, pixels; 0 if there is no file"),
    },
)
"""The only list of images after `split`: one row an image of the merged training tables."""

holdout = Table(
    "holdout.parquet", {"image_id": _ID, "diagnosis": Column("str", "one of taxonomy.DIAGNOSES, or AKIEC")}
)
"""The hold-out's diagnoses; only evaluate, ensemble and promotion read them."""

pairs = Table(
    "splits/pairs.parquet",
    {
        "image_a": _ID,
        "image_b": _ID,
        "kind": Column("str", "official, seen, identical or near"),
        "hamming": Column("int16", "bits between the hashes; -1: not compared"),
        "correlation": Column("float32", "of the high-passed thumbnails, three decimals; -1: not compared"),
        "joined": Column("bool", "the pair was confirmed and its groups joined"),
    },
)
"""Pairs of images that show the same picture, and those narrowly refused."""

ledger = "splits/ledger.json"
funnel = "splits/funnel.csv"
certificate = "certificate.json"

patients = Table(
    "patients.parquet",
    {
        "image_id": _ID,
        "age_years": Column("float32", "age, years; imputed where age_missing"),
        "sex": Column("str", "female, male, or unknown if not imputed"),
        "site": Column("str", "one of taxonomy.SITES, or unknown if not imputed"),
        "age_missing": Column("bool", "no age was published"),
        "sex_missing": Column("bool", "no sex was published"),
        "site_missing": Column("bool", "no site was published"),
    },
)
"""Patient fields of every case in train or hold_out, filled."""

imputer = "imputer.json"

predictions = Table(
    "models/{}/{}/predictions.parquet",
    {
        "image_id": _ID,
        "split": Column("str", "out_of_fold or hold_out"),
        "features": Column("object", "pooled features, mean over the views, float32 list"),
        "middle": Column("object", "means and deviations of the half-way maps, untouched view, float32 list"),
    },
    open_ended=True,
)
"""One member's logits, mean over the views: `logit_<class>` with, `plain_<class>` without patient data."""

ensemble_predictions = Table(
    "ensemble/predictions.parquet",
    {"image_id": _ID, "split": Column("str", "out_of_fold or hold_out")},
    open_ended=True,
)
"""The blend's calibrated `probability_<class>` and `decision_<class>`."""


def images_dir(size_px: int, release: str | None = None) -> Path:
    """Folder of the shards of one size (of one release)."""
    return path(f"images/{size_px}") if release is None else path(f"images/{size_px}/{release}")


def sheets_dir(kind: int | str, name: int | str) -> Path:
    """Folder of a contact sheet: of a stored size and release, or of `augment/<model>` and fold."""
    return path(f"sheets/{kind}/{name}")


def inputs(model: str) -> Path:
    """The list of shards that a model reads, with their digests."""
    return path(f"inputs/{model}.json")


def member_dir(model: str, fold: str | int) -> Path:
    """Folder of one trained member."""
    return path(f"models/{model}/{fold}")


def reports_dir(name: str) -> Path:
    """Folder of what people read and no hash covers (Data Docs, timings)."""
    return root() / "reports" / name
