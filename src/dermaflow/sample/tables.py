"""The official tables of 2018, 2019 and 2020 for a drawn world: the same files, columns and words.

Formats follow the published files: 2018 and 2019 mark a diagnosis by 1.0 in its column, 2019 and 2020
leave unknown cells empty, HAM10000_metadata writes `unknown`, ages are 45.0 in two tables and 45 in one.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from dermaflow.sample.integers import Stream
from dermaflow.sample.world import Listing, World
from dermaflow.taxonomy import DIAGNOSES, SEVEN

NOTICE: Final = (
    "These images are drawn by a program. They show no person and prove nothing medical.\n"
    "Layout, column names and file names follow the ISIC challenges of 2018, 2019 and 2020.\n"
)

_CONFIRMED: Final = {
    "histo": "histopathology",
    "follow_up": "serial imaging showing no change",
    "consensus": "single image expert consensus",
    "confocal": "confocal microscopy with consensus dermoscopy",
}


def write_tables(world: World, target: Path) -> None:
    """Write every table and notice below the target folder, whose release folders exist."""
    for folder in ("isic2018", "isic2019", "isic2020", "masks"):
        (target / folder / "NOTICE.txt").write_text(NOTICE, encoding="utf-8", newline="\n")
    _tables_2018(world, target / "isic2018")
    _tables_2019(world, target / "isic2019")
    _tables_2020(world, target / "isic2020")


def _tables_2018(world: World, folder: Path) -> None:
    train = _part(world, "isic2018", "train")
    truth_header = ("image", *SEVEN.classes)
    for name, part in (("Training", "train"), ("Validation", "validation")):
        rows = [
            (item.image_id, *_marks(_seven(item), SEVEN.classes)) for item in _part(world, "isic2018", part)
        ]
        _write(folder / f"ISIC2018_Task3_{name}_GroundTruth.csv", truth_header, rows)
    confirmed = {item.image_id: _confirm(world, item) for item in train}
    _write(
        folder / "ISIC2018_Task3_Training_LesionGroupings.csv",
        ("image", "lesion_id", "diagnosis_confirm_type"),
        [(i.image_id, i.lesion.lesion_id, _CONFIRMED[confirmed[i.image_id]]) for i in train],
    )
    by_diagnosis = sorted(
        train, key=lambda item: (_seven(item).lower(), item.lesion.lesion_id, item.image_id)
    )
    _write(
        folder / "HAM10000_metadata.csv",
        ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"),
        [
            (
                i.lesion.lesion_id, i.image_id, _seven(i).lower(), confirmed[i.image_id], _age(i, ".0"),
                i.lesion.patient.sex or "unknown", i.lesion.place or "unknown",
            )
            for i in by_diagnosis
        ],
    )  # fmt: skip


def _tables_2019(world: World, folder: Path) -> None:
    train = sorted(
        [*_part(world, "isic2018", "train"), *_part(world, "isic2019", "train")],
        key=lambda item: item.image_id,
    )
    _write(
        folder / "ISIC_2019_Training_GroundTruth.csv",
        ("image", *DIAGNOSES),
        [(item.image_id, *_marks(item.lesion.diagnosis, DIAGNOSES)) for item in train],
    )
    _write(
        folder / "ISIC_2019_Training_Metadata.csv",
        ("image", "age_approx", "anatom_site_general", "lesion_id", "sex"),
        [
            (i.image_id, _age(i), i.lesion.site_2019, i.lesion.lesion_id, i.lesion.patient.sex or "")
            for i in train
        ],
    )
    _write(
        folder / "ISIC_2019_Test_Metadata.csv",
        ("image", "age_approx", "anatom_site_general", "sex"),
        [
            (i.image_id, _age(i), i.lesion.site_2019, i.lesion.patient.sex or "")
            for i in _part(world, "isic2019", "test")
        ],
    )


def _tables_2020(world: World, folder: Path) -> None:
    patient = ("image_name", "patient_id", "sex", "age_approx", "anatom_site_general_challenge")
    train = Stream(world.seed, "rows", "train").shuffled(_part(world, "isic2020", "train"))
    test = Stream(world.seed, "rows", "test").shuffled(_part(world, "isic2020", "test"))
    rows = []
    for item in train:
        melanoma = item.lesion.raw == "melanoma"
        malignant = ("malignant", "1") if melanoma else ("benign", "0")
        rows.append((*_fields_2020(item), item.lesion.raw, *malignant))
    _write(folder / "train.csv", (*patient, "diagnosis", "benign_malignant", "target"), rows)
    _write(folder / "test.csv", patient, [_fields_2020(item) for item in test])
    _write(
        folder / "sample_submission.csv", ("image_name", "target"), [(item.image_id, "0") for item in test]
    )
    _write(folder / "2020_Challenge_duplicates.csv", ("ISIC_id", "ISIC_id_paired", "partition"), world.pairs)


def _fields_2020(item: Listing) -> tuple[str, ...]:
    lesion = item.lesion
    return (
        item.image_id, lesion.patient.patient_id, lesion.patient.sex or "", _age(item, ".0"), lesion.site_2020
    )  # fmt: skip


def _part(world: World, release: str, part: str) -> list[Listing]:
    found = [item for item in world.listings if (item.release, item.part) == (release, part)]
    return sorted(found, key=lambda item: item.image_id)


def _seven(item: Listing) -> str:
    """Return the 2018 label: AKIEC joins AK and SCC."""
    diagnosis = item.lesion.diagnosis
    return next(
        code for code, members in zip(SEVEN.classes, SEVEN.members, strict=True) if diagnosis in members
    )


def _marks(code: str, columns: Sequence[str]) -> list[str]:
    return ["1.0" if column == code else "0.0" for column in columns]


def _age(item: Listing, decimals: str = "") -> str:
    age = item.lesion.patient.age
    return "" if age is None else f"{age}{decimals}"


def _confirm(world: World, item: Listing) -> str:
    """Return how a 2018 diagnosis was confirmed: cancers by histology, many nevi by follow-up."""
    stream = Stream(world.seed, "confirm", item.lesion.name)
    return {
        "NV": stream.choice(("follow_up", "follow_up", "histo")),
        "BKL": stream.choice(("histo", "histo", "consensus", "confocal")),
        "VASC": stream.choice(("consensus", "histo")),
        "DF": stream.choice(("consensus", "histo")),
    }.get(item.lesion.diagnosis, "histo")


def _write(file: Path, header: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    lines = [",".join(header), *(",".join(row) for row in rows)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
