"""Section `impute` of params.yaml."""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from dermaflow.params import Params, Share
from dermaflow.taxonomy import SEXES, SITES

Column = Literal["age", "sex", "site"]


class Constants(BaseModel):
    """What the rule `constant` fills in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    age: Annotated[float, Field(ge=0, le=120)] = 50
    """Years."""
    sex: Annotated[str, Field(pattern=f"^({'|'.join([*SEXES, 'unknown'])})$")] = "unknown"
    site: Annotated[str, Field(pattern=f"^({'|'.join([*SITES, 'unknown'])})$")] = "unknown"


class ImputeParams(Params):
    """What stands in for a missing patient field."""

    section: ClassVar[str] = "impute"

    age: Literal["mean", "median", "constant", "knn"] = "mean"
    sex: Literal["most_common", "constant", "knn"] = "most_common"
    site: Literal["most_common", "constant", "knn"] = "most_common"
    constants: Constants = Constants()
    neighbours: Annotated[int, Field(ge=1, le=1000)] = 15
    """Of `knn`: patients at least; all that are equally near count."""
    max_missing: Share = 0.05
    """Share of one release's training rows: a column with more gaps stops the stage."""
    exceptions: dict[Column, dict[str, Share]] = Field(default_factory=dict)
    """Column -> release -> the share that is allowed there instead."""

    def by_neighbours(self) -> tuple[str, ...]:
        """Return the columns that are filled from alike patients."""
        return tuple(name for name in ("age", "sex", "site") if getattr(self, name) == "knn")
