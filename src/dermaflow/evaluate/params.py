"""Sections `evaluate` and `stress` of params.yaml."""

from typing import Annotated, ClassVar

from pydantic import Field

from dermaflow.params import Params, Seed


class EvaluateParams(Params):
    """How figures are computed; none of it changes a model."""

    section: ClassVar[str] = "evaluate"

    bootstrap: Annotated[int, Field(ge=100)] = 500  # resamples of whole groups behind each 95 % interval
    seed: Seed = 2018  # of the resamples
    min_cases: Annotated[int, Field(ge=1)] = 20  # a subgroup with fewer is listed without figures
    bins: Annotated[int, Field(ge=2, le=100)] = 15  # of confidence, for the expected calibration error


class StressParams(Params):
    """On what the bundle's answers are put under stress."""

    section: ClassVar[str] = "stress"

    images: Annotated[int, Field(ge=1, le=300)] = 300  # hold-out images at most, one a group first
    seed: Seed = 2018  # of their choice
    max_px: Annotated[int, Field(ge=64)] = 1024  # larger images are first reduced to this shorter side
