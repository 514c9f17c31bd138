"""The nine diagnoses, their groups and names, each year's labels, and the views a model may learn.

Sources: challenge.isic-archive.com (2018 task 3, 2019), the 2020 training table.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

DIAGNOSES: Final = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")
"""The nine codes of the merged table, in ISIC 2019's column order."""

MALIGNANT: Final = frozenset({"MEL", "BCC", "SCC", "AK", "AKIEC"})
"""Cancers and the precursor AK (with AKIEC, the 2018 class that joins AK and SCC)."""

NAMES: Final = {
    "MEL": "Melanoma",
    "NV": "Nevus (mole)",
    "BCC": "Basal cell carcinoma",
    "AK": "Actinic keratosis",
    "BKL": "Benign keratosis",
    "DF": "Dermatofibroma",
    "VASC": "Vascular lesion",
    "SCC": "Squamous cell carcinoma",
    "UNK": "Benign, unspecified",
    "AKIEC": "Actinic keratosis or squamous cell carcinoma",
    "OTHER": "Another diagnosis",
}
"""Each code in plain words."""

SITES: Final = (
    "head/neck",
    "lower extremity",
    "oral/genital",
    "palms/soles",
    "torso",
    "upper extremity",
)
"""The six body sites of the merged table (those of ISIC 2020)."""

SEXES: Final = ("female", "male")

REDUCED: Final = "_downsampled"
"""What 2019 puts behind the id of an image of the archive that it gives out smaller."""

GONE: Final = frozenset({"", "na", "n/a", "nan", "null", "none", "unknown"})
"""What people write for a value that they don't have (lower case)."""

_JOINED: Final = {"AKIEC": {"AK", "SCC"}}


@dataclass(frozen=True)
class View:
    """The labels that a model learns, made from the nine diagnoses.

    Attributes:
        name: key in params.yaml.
        classes: codes in the order of the logits.
        members: for each class the diagnoses that it joins; a diagnosis in no class is left out.
    """

    name: str
    classes: tuple[str, ...]
    members: tuple[tuple[str, ...], ...]

    def target(self, diagnosis: str) -> int | None:
        """Return the class index of a diagnosis (or of a class of this view), or None if left out.

        AKIEC is in the class that joins AK and SCC, and left out where they are apart.
        """
        codes = _JOINED.get(diagnosis, {diagnosis})
        for index, members in enumerate(self.members):
            if codes.issubset(members) or diagnosis == self.classes[index]:
                return index
        return None

    def label(self, diagnosis: str) -> str | None:
        """Return the class of a diagnosis, or None if it is left out."""
        index = self.target(diagnosis)
        return None if index is None else self.classes[index]


def _plain(name: str, *classes: str) -> View:
    return View(name, classes, tuple((code,) for code in classes))


NINE: Final = _plain("nine", *DIAGNOSES)
EIGHT: Final = _plain("isic2019", *DIAGNOSES[:8])
SEVEN: Final = View(
    "isic2018",
    ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC"),
    (("MEL",), ("NV",), ("BCC",), ("AK", "SCC"), ("BKL",), ("DF",), ("VASC",)),
)
VIEWS: Final = {view.name: view for view in (NINE, EIGHT, SEVEN)}
"""The views that `labels.view` may name."""

TWO: Final = View("siim2020", ("MEL", "OTHER"), (("MEL",), DIAGNOSES[1:]))
"""Melanoma or not: the target of ISIC 2020."""

FOUR: Final = View(
    "four",
    ("MEL", "NV", "BKL", "OTHER"),
    (("MEL",), ("NV",), ("BKL",), ("BCC", "AK", "DF", "VASC", "SCC", "UNK")),
)
"""The four classes of the 2020 winners' second target (arXiv:2010.05351)."""

PUBLISHED_VIEWS: Final = (TWO, FOUR, SEVEN, EIGHT, NINE)
"""What is written out beside a diagnosis. A model can't learn two or four: benign and malignant would share
a class, and the answer could no longer say how probably a lesion is malignant."""


def change_view(
    values: NDArray[np.floating], old: View, new: View, *, renormalise: bool = True
) -> NDArray[np.floating]:
    """Turn class values of one view into those of a coarser one by summing.

    This is the one definition of, say, the 7-class view of a 9-class answer: leave out UNK,
    AKIEC = AK + SCC, renormalise. For decision scores sum the probabilities (and the priors, with
    `renormalise=False`) before dividing.

    Args:
        values: shape (n, len(old.classes)), probabilities or priors.
        old: the view of `values`.
        new: the wanted view; each of its classes joins whole classes of `old`.
        renormalise: divide each row by its sum.

    Returns:
        Shape (n, len(new.classes)); a row whose mass lies outside the view is uniform.

    Raises:
        ValueError: a class of `new` can't be made from classes of `old`.
    """
    columns = []
    for members in new.members:
        parts = [i for i, old_members in enumerate(old.members) if set(old_members) <= set(members)]
        covered = {code for i in parts for code in old.members[i]}
        if covered != set(members):
            raise ValueError(f"view {new.name} can't be made from {old.name}: {members}")
        columns.append(values[:, parts].sum(axis=1))
    summed: NDArray[np.floating] = np.stack(columns, axis=1)
    if not renormalise:
        return summed
    total = summed.sum(axis=1, keepdims=True)
    uniform = np.full_like(summed, 1 / len(new.classes))
    return np.where(total > 0, summed / np.where(total > 0, total, 1), uniform)
