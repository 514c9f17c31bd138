"""Fill one patient's missing fields and turn them into the network's input. Numpy only.

Shared by training, evaluation and the service: the very same numbers everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dermaflow.taxonomy import SITES

FEATURES = (
    "age",  # (years - 50) / 25
    "male",  # 1 male, -1 female, 0 unknown
    *(f"site {site}" for site in SITES),  # one of six, all 0 if unknown
    "age missing",
    "sex missing",
    "site missing",
)
"""The network's patient input, in order. Never file size, dimensions or images per patient (recipe: they
are traces of how the data were collected, not of disease)."""


@dataclass(frozen=True)
class Patient:
    """What a doctor knows; None is missing."""

    age_years: float | None = None
    sex: str | None = None
    site: str | None = None


@dataclass(frozen=True)
class Filled:
    """A patient without gaps; `imputed` names the fields that were missing (age, sex, site)."""

    age_years: float
    sex: str
    site: str
    imputed: tuple[str, ...]


@dataclass(frozen=True)
class Imputer:
    """The values that stand in for missing fields, fitted on training rows.

    Attributes:
        age_years: e.g. the mean age.
        sex: the commonest, or "unknown" where too many are missing to guess.
        site: the commonest, or "unknown".
    """

    age_years: float
    sex: str
    site: str

    def fill(self, patient: Patient) -> Filled:
        """Fill what is missing and say what it was."""
        given = {"age": patient.age_years, "sex": patient.sex, "site": patient.site}
        return Filled(
            self.age_years if patient.age_years is None else float(patient.age_years),
            self.sex if patient.sex is None else patient.sex,
            self.site if patient.site is None else patient.site,
            tuple(name for name, value in given.items() if value is None),
        )

    def to_json(self) -> dict[str, Any]:
        """Return a plain dictionary."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Read what `to_json` wrote; other keys (how it was fitted) are ignored."""
        return cls(float(value["age_years"]), value["sex"], value["site"])


def vectors(patients: Sequence[Filled]) -> NDArray[np.float32]:
    """Return the network's patient input.

    Returns:
        Shape (n, len(FEATURES)), float32.
    """
    rows = np.zeros((len(patients), len(FEATURES)), np.float32)
    for row, patient in zip(rows, patients, strict=True):
        row[0] = (patient.age_years - 50) / 25
        row[1] = {"male": 1, "female": -1}.get(patient.sex, 0)
        if patient.site in SITES:
            row[2 + SITES.index(patient.site)] = 1
        row[-3:] = [name in patient.imputed for name in ("age", "sex", "site")]
    return rows
