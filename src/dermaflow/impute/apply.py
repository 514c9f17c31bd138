"""Fill one patient's missing fields and turn them into the network's input. Numpy only.

Shared by training, evaluation and the service: the same numbers everywhere, but for the last digit in which
a table keeps a filled age (float32).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

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
"""The network's patient input, in order. Never file size, dimensions or images per patient (they
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
class Alike:
    """Training rows for `knn`: each different complete patient once, with how often it occurs.

    Attributes:
        columns: the fields that are filled from alike patients (of age, sex, site).
        neighbours: least number of rows to look at; all rows that are equally near count.
        cells: (age in years, sex, site, rows), sorted.
    """

    columns: tuple[str, ...]
    neighbours: int
    cells: tuple[tuple[float, str, str, int], ...]

    def fill(self, patient: Patient) -> Patient:
        """Return what the nearest rows say: their mean age, their commonest sex and site.

        Distance (Gower, Biometrics 27, 1971, unscaled): the fields that are known, age in units of 25
        years, sex and site 0 if equal and 1 if not. Of equally common words the first by name.
        """
        away = [self._distance(patient, cell) for cell in self.cells]
        order = np.argsort(away, kind="stable")
        rows = np.cumsum([self.cells[i][3] for i in order])
        last = away[order[min(int(np.searchsorted(rows, self.neighbours)), len(order) - 1)]]
        near = [cell for cell, distance in zip(self.cells, away, strict=True) if distance <= last]
        weights = [cell[3] for cell in near]
        age = float(np.average([cell[0] for cell in near], weights=weights))
        return Patient(round(age, 4), _commonest(near, 1), _commonest(near, 2))

    @staticmethod
    def _distance(patient: Patient, cell: tuple[float, str, str, int]) -> float:
        age = 0.0 if patient.age_years is None else abs(patient.age_years - cell[0]) / 25
        sex, site = (
            0.0 if known is None else float(known != there)
            for known, there in ((patient.sex, cell[1]), (patient.site, cell[2]))
        )
        return round(age + sex + site, 9)  # equally near, whatever the last bits say


def _commonest(cells: Sequence[tuple[float, str, str, int]], place: Literal[1, 2]) -> str:
    count: dict[str, int] = {}
    for cell in cells:
        count[cell[place]] = count.get(cell[place], 0) + cell[3]
    return min(count, key=lambda word: (-count[word], word))


@dataclass(frozen=True)
class Imputer:
    """The values that stand in for missing fields, fitted on training rows.

    Attributes:
        age_years: e.g. the mean age.
        sex: e.g. the commonest; "unknown" if it is not guessed.
        site: e.g. the commonest; "unknown" if it is not guessed.
        alike: fills its columns from alike patients instead; None: no column is filled so.
    """

    age_years: float
    sex: str
    site: str
    alike: Alike | None = None

    def fill(self, patient: Patient) -> Filled:
        """Fill what is missing and say what it was."""
        given: dict[str, Any] = {"age": patient.age_years, "sex": patient.sex, "site": patient.site}
        gaps = tuple(name for name, value in given.items() if value is None)
        stand_in: dict[str, Any] = {"age": self.age_years, "sex": self.sex, "site": self.site}
        if self.alike is not None and set(gaps) & set(self.alike.columns):
            said = self.alike.fill(patient)
            found: dict[str, Any] = {"age": said.age_years, "sex": said.sex, "site": said.site}
            stand_in |= {name: found[name] for name in self.alike.columns}
        whole = {name: stand_in[name] if name in gaps else value for name, value in given.items()}
        return Filled(float(whole["age"]), whole["sex"], whole["site"], gaps)

    def to_json(self) -> dict[str, Any]:
        """Return a plain dictionary; `alike` is left out if it is None."""
        values: dict[str, Any] = {"age_years": self.age_years, "sex": self.sex, "site": self.site}
        if self.alike is not None:
            cells = [list(cell) for cell in self.alike.cells]
            values["alike"] = {**vars(self.alike), "columns": list(self.alike.columns), "cells": cells}
        return values

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Read what `to_json` wrote; other keys (how it was fitted) are ignored."""
        alike = None
        if "alike" in value:
            stored = value["alike"]
            cells = tuple((float(age), sex, site, int(rows)) for age, sex, site, rows in stored["cells"])
            alike = Alike(tuple(stored["columns"]), int(stored["neighbours"]), cells)
        return cls(float(value["age_years"]), value["sex"], value["site"], alike)


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
