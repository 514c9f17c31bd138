"""Section `split` of params.yaml."""

from collections.abc import Iterable, Sequence
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from dermaflow.errors import ParamsError, first_ten
from dermaflow.params import Params, Seed

MOST_FOLDS: Final = 128
"""The tables hold a fold in eight bits: 0 to 127."""


class SplitParams(Params):
    """How images are grouped, set aside and folded."""

    section: ClassVar[str] = "split"

    file: Annotated[str, Field(pattern=r"^[\w][\w.-]*\.csv$")] | None = None
    """A CSV in splits/ (image, split, fold) to take instead of dealing; certified like our own."""
    hold_out: Annotated[float, Field(gt=0, le=0.5)] = 0.15
    """Share of the groups, weighed by their images, that is set aside first and opened once."""
    folds: Annotated[int, Field(ge=2, le=MOST_FOLDS)] | None = None
    """How many folds to deal; null: as many as are trained (`folds`), two at least. With more, each member
    learns from a larger share of the images, and only the images of the trained folds are answered out of
    fold."""
    seed: Seed = 2018
    """Another number deals the groups anew."""
    near_hamming: Annotated[int, Field(ge=0, le=10)] = 8
    """Bits: most that the hashes of a candidate pair may differ in; above 10 all skin looks alike."""
    near_correlation: Annotated[float, Field(gt=0, le=1)] = 0.84
    """Of the high-passed thumbnails: from here on a candidate is confirmed and the groups are joined."""
    same_picture: tuple[tuple[str, str], ...] = ()
    """Pairs of image ids that people saw to be one picture: joined whatever they measure. One with an image
    of no named release is left out, and told."""
    max_group: Annotated[int, Field(ge=1)] = 200
    """Images: a larger group stops the stage (the largest patient of 2020 has 115)."""
    conflicts: Literal["drop", "error"] = "drop"
    """What to do about identical images with different diagnoses."""
    missing_images: Literal["drop", "error"] = "drop"
    """What to do about listed images without a file."""

    def unlisted(self, image_ids: Iterable[str]) -> list[str]:
        """Return the images of `same_picture` that are not among these.

        Args:
            image_ids: of all releases that are named.
        """
        return sorted({image for pair in self.same_picture for image in pair} - {*image_ids})

    def dealt(self, trained: Sequence[str]) -> int:
        """Return how many folds to deal.

        Args:
            trained: section `folds`, numbers as text.

        Raises:
            ParamsError: a fold is to be trained that is not dealt, or a lone fold or too many would be.
        """
        dealt = len(trained) if self.folds is None else self.folds
        if dealt < 2:  # noqa: PLR2004 - what validates a member is not what it learns from
            raise ParamsError(
                "folds names one fold and split.folds is null, so that no image would be left to learn from",
                "params.yaml",
                "Set split.folds to 2 or more.",
            )
        if dealt > MOST_FOLDS:
            raise ParamsError(
                f"folds names {dealt} folds and split.folds is null; at most {MOST_FOLDS} can be dealt",
                "params.yaml",
                f"Name {MOST_FOLDS} folds at most.",
            )
        strange = sorted(set(trained) - {str(number) for number in range(dealt)})
        if strange:
            raise ParamsError(
                f"folds names {first_ten(strange)}, but {dealt} folds are dealt",
                "params.yaml",
                f"Name folds of 0 to {dealt - 1}, or set split.folds to how many there shall be.",
            )
        return dealt
