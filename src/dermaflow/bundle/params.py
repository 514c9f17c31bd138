"""What the bundle room may be told: the lineage, the serving budget, the gate's fixed limits."""

from typing import Annotated, ClassVar

from pydantic import Field

from dermaflow.params import Params, Share
from dermaflow.taxonomy import VIEWS, View


class LabelsParams(Params):
    """The labels that models learn and answers show."""

    section: ClassVar[str] = "labels"
    view: Annotated[str, Field(pattern="^(" + "|".join(VIEWS) + ")$")]

    @property
    def labels(self) -> View:
        """The view itself."""
        return VIEWS[self.view]


class RegistryParams(Params):
    """Whose champion a bundle may become."""

    section: ClassVar[str] = "registry"
    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]  # as BentoML's store asks
    notice: str  # stands beside every answer
    demo: bool = False  # drawn data: never takes the place of a real model in the service


class BundleParams(Params):
    """What may be served."""

    section: ClassVar[str] = "bundle"
    max_multiply_adds: Annotated[float, Field(gt=0)]  # members x views x one pass


class GateParams(Params):
    """Fixed limits on the hold-out and under stress; each alone can stop a promotion."""

    section: ClassVar[str] = "gate"
    min_balanced_accuracy: Share
    min_melanoma_auc: Share
    min_macro_auc: Share
    max_calibration_error: Share
    max_flipped: Share  # share of decisions that one kind of stress may flip
