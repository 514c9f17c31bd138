"""Section `split` of params.yaml."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from dermaflow.params import Params


class SplitParams(Params):
    """How images are grouped, set aside and folded."""

    section: ClassVar[str] = "split"

    file: Annotated[str, Field(pattern=r"^[\w][\w.-]*\.csv$")] | None = None
    """A CSV in splits/ (image, split, fold) to take instead of dealing; certified like our own."""
    hold_out: Annotated[float, Field(gt=0, le=0.5)] = 0.15
    """Share of the groups, weighed by their images, that is set aside first and opened once."""
    seed: int = 2018
    """Another number deals the groups anew."""
    near_hamming: Annotated[int, Field(ge=0, le=10)] = 8
    """Bits: most that the hashes of a candidate pair may differ in; above 10 all skin looks alike."""
    near_correlation: Annotated[float, Field(gt=0, le=1)] = 0.84
    """Of the high-passed thumbnails: from here on a candidate is confirmed and the groups are joined."""
    max_group: Annotated[int, Field(ge=1)] = 200
    """Images: a larger group stops the stage (the largest patient of 2020 has 115)."""
    conflicts: Literal["drop", "error"] = "drop"
    """What to do about identical images with different diagnoses."""
