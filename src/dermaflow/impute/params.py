"""Section `impute` of params.yaml."""

from typing import ClassVar, Literal

from dermaflow.params import Params, Share


class ImputeParams(Params):
    """What stands in for a missing patient field."""

    section: ClassVar[str] = "impute"

    age: Literal["mean", "median"] = "mean"
    sex: Literal["most_common", "unknown"] = "most_common"
    site: Literal["most_common", "unknown"] = "most_common"
    max_missing: Share = 0.05
    """Share of training rows: with more gaps sex or site is left "unknown" (age is filled all the same)."""
