"""The columns in which each challenge wants its answers, made from calibrated probabilities.

Sources: challenge.isic-archive.com (2018 task 3, 2019: mean sensitivity, so decision scores; 2020: area
under the ROC curve for melanoma, so its probability).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from dermaflow.bundle.apply import Floats, decision_scores
from dermaflow.errors import BundleError, DataError
from dermaflow.taxonomy import EIGHT, MALIGNANT, SEVEN, View, change_view

CENTRES: Final = {"isic2018": "HAM"}
"""Where the training images of a challenge are from, by its format, if they are of one centre: its entries
answer with the frequencies of that one (docs/decisions/0014)."""

Line = list[str]


@dataclass(frozen=True)
class Scored:
    """What the ensemble said of n images.

    Attributes:
        images: n image ids.
        probabilities: shape (n, classes), calibrated.
        imputed: the missing patient fields of each image.
        ood_scores: shape (n,), as in `bundle.run.Outputs`.
        view: the classes.
        prior: shape (classes,), natural class frequencies of the training rows.
    """

    images: Sequence[str]
    probabilities: Floats
    imputed: Sequence[tuple[str, ...]]
    ood_scores: Floats | None
    view: View
    prior: Floats

    def decision_scores(self, view: View) -> Floats:
        """Scores for balanced accuracy in a coarser view: sum probabilities and priors, then divide.

        Returns:
            Shape (n, len(view.classes)); each row sums to 1.
        """
        probabilities = change_view(self.probabilities, self.view, view).astype(np.float64)
        prior = change_view(self.prior[None], self.view, view, renormalise=False)[0].astype(np.float64)
        return decision_scores(probabilities, prior)


def of_release(release: str, view: View) -> tuple[str, str | None]:
    """Return the format of a release's challenge, or `full` and why: unknown, or too few diagnoses."""
    layout = {"isic2020": "siim2020"}.get(release, release)
    try:
        check(layout, view)
    except (DataError, BundleError) as error:
        return "full", str(error)
    return layout, None


def check(layout: str, view: View) -> None:
    """Make sure, before hours of work, that a format is known and can be made from a view.

    Raises:
        DataError: no such format.
        BundleError: the bundle knows too few diagnoses for it.
    """
    if layout not in FORMATS:
        raise DataError(f"no such format: {layout!r}", "format", f"Take one of: {', '.join(FORMATS)}.")
    wanted = {"isic2018": SEVEN, "isic2019": EIGHT}.get(layout)
    if wanted is None:
        return
    try:
        change_view(np.ones((1, len(view.classes))), view, wanted)
    except ValueError as error:
        raise BundleError(
            f"the format {layout} can't be made from this bundle: {error}",
            f"view {view.name}",
            "Take the format full, or a bundle trained with labels.view: nine.",
        ) from None


def lines(scored: Scored, layout: str) -> Iterator[Line]:
    """Give the header and one line an image, as text cells.

    Raises:
        DataError, BundleError: as `check`.
    """
    check(layout, scored.view)
    yield from FORMATS[layout](scored)


def _isic2018(scored: Scored) -> Iterator[Line]:
    yield ["image", *SEVEN.classes]
    for image, row in zip(scored.images, scored.decision_scores(SEVEN), strict=True):
        yield [image, *map(_number, row)]


def _isic2019(scored: Scored) -> Iterator[Line]:
    """UNK of 2019 is a diagnosis outside the eight, which no release of ours holds: always 0."""
    yield ["image", *EIGHT.classes, "UNK"]
    for image, row in zip(scored.images, scored.decision_scores(EIGHT), strict=True):
        yield [image, *map(_number, row), "0"]


def _siim2020(scored: Scored) -> Iterator[Line]:
    yield ["image_name", "target"]
    melanoma = scored.view.classes.index("MEL")
    for image, row in zip(scored.images, scored.probabilities, strict=True):
        yield [image, _number(row[melanoma])]


def _full(scored: Scored) -> Iterator[Line]:
    """All that is known.

    `imputed` names the missing patient fields, separated by spaces; an image whose `ood_score` is above 1
    shows something else than the training images do, and the service would give no answer. It is empty where
    the bundle can't tell.
    """
    classes = scored.view.classes
    malignant = [code in MALIGNANT for code in classes]
    own = [f"probability_{code}" for code in classes]
    yield ["image", *own, "malignant_probability", "imputed", "ood_score"]
    ood = (
        [""] * len(scored.images)
        if scored.ood_scores is None
        else [_nine_digits(s) for s in scored.ood_scores]
    )
    rows = zip(scored.images, scored.probabilities, scored.imputed, ood, strict=True)
    for image, row, imputed, score in rows:
        yield [image, *map(_number, row), _number(row[malignant].sum()), " ".join(imputed), score]


def _number(value: float) -> str:
    """Nine digits keep the order of scores and the sum of a row; never above 1."""
    return _nine_digits(min(float(value), 1.0))


def _nine_digits(value: float) -> str:
    return format(float(value), ".9g")


FORMATS: Final[dict[str, Callable[[Scored], Iterator[Line]]]] = {
    "isic2018": _isic2018,
    "isic2019": _isic2019,
    "siim2020": _siim2020,
    "full": _full,
}
