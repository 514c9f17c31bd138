"""Section `ensemble` of params.yaml."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from dermaflow.params import Params

Inner = Annotated[float, Field(gt=0, lt=1)]


class EnsembleParams(Params):
    """How the members become one answer; all of it is chosen on out-of-fold predictions."""

    section: ClassVar[str] = "ensemble"

    weights: Literal["equal", "fitted"] = "equal"  # fitted: the models' weights of least out-of-fold log loss
    sensitivity: Inner = 0.95  # for malignant diagnoses, out of fold: sets the threshold to refer
    coverage: Inner = 0.9  # share of each class' cases whose prediction set holds the diagnosis
    false_alarms: Inner = 0.01  # share of images like the training ones that get no answer
