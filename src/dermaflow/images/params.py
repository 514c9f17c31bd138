"""The section `images` of params.yaml."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from dermaflow.images.prepare import Recipe
from dermaflow.params import Params


class ImagesParams(Params):
    """How images are cropped, resized and stored."""

    section: ClassVar[str] = "images"

    crop: Literal["center", "border", "full", "squash"] = "center"
    colour_constancy: Literal["none", "shades_of_gray"] = "none"
    lossless_up_to_px: Annotated[int, Field(ge=0)] = 256  # stored as PNG up to this size, JPEG above
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95
    max_pixels: Annotated[int, Field(ge=1, le=2**30)] = 120_000_000  # width x height in the header
    max_unreadable: Annotated[int, Field(ge=0)] = 0  # files that may fail to decode before a stage stops

    def recipe(self, stored_px: int, input_px: int) -> Recipe:
        """Return the recipe of one stored size and one network size, pixels."""
        return Recipe(
            crop=self.crop,
            stored_px=stored_px,
            input_px=input_px,
            lossless_up_to_px=self.lossless_up_to_px,
            jpeg_quality=self.jpeg_quality,
            max_pixels=self.max_pixels,
            colour_constancy=self.colour_constancy,
        )
