"""A table of confirmed diagnoses from a CSV: what `dermaflow assess` measures a bundle by."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dermaflow.errors import DataError
from dermaflow.impute.apply import Patient
from dermaflow.serve import metadata
from dermaflow.taxonomy import DIAGNOSES, GONE

COLUMNS: Final = ("image", "diagnosis", *metadata.COLUMNS[1:], "patient_id", "lesion_id")
CODES: Final = (*DIAGNOSES, "AKIEC")
"""AKIEC: an actinic keratosis or a squamous cell carcinoma, where nobody told which."""


@dataclass(frozen=True)
class Labelled:
    """What is known of an image.

    Attributes:
        diagnosis: one of CODES.
        patient: age, sex and site.
        patient_id: whose image it is; None: not known.
        lesion_id: which lesion it shows; None: not known.
    """

    diagnosis: str
    patient: Patient
    patient_id: str | None
    lesion_id: str | None


def read_truth(source: Path) -> tuple[dict[str, Labelled], list[str]]:
    """Read a confirmed diagnosis an image.

    Args:
        source: a CSV with the columns image (an id or a file name) and diagnosis (one of CODES, in capitals
            or not), and any of age, sex, site, patient_id, lesion_id.

    Returns:
        What is known by image id, and the images whose diagnosis is still empty.

    Raises:
        DataError: as `metadata.read_metadata`, or an unknown diagnosis, or none at all, or a lesion of two
            patients.
    """
    found: dict[str, Labelled] = {}
    owners: dict[str, str] = {}
    open_ones: list[str] = []
    for image, (cells, where) in metadata.read_rows(source, COLUMNS, ("image", "diagnosis")).items():
        patient = metadata.patient(cells, where)
        code = cells["diagnosis"].upper()
        if code and code not in CODES:
            raise DataError(
                f"diagnosis is {cells['diagnosis']!r}",
                f"{where}, column diagnosis",
                f"Write one of: {', '.join(CODES)}; or nothing where it is not confirmed yet.",
            )
        if code:
            patient_id, lesion_id = (
                None if cells[name].lower() in GONE else cells[name] for name in ("patient_id", "lesion_id")
            )
            if patient_id and lesion_id and owners.setdefault(lesion_id, patient_id) != patient_id:
                raise DataError(
                    f"lesion {lesion_id} is of the patients {owners[lesion_id]} and {patient_id}",
                    f"{where}, column lesion_id",
                    f"Write lesion ids that no two patients share, such as {patient_id}-{lesion_id}.",
                )
            found[image] = Labelled(code, patient, patient_id, lesion_id)
        else:
            open_ones.append(image)
    if not found:
        raise DataError("no image has a diagnosis", source.name, "Fill in the column diagnosis.")
    return found, open_ones
