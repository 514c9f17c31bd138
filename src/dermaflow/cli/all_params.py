"""All of params.yaml, read before anything runs: a slip must not show after hours of training."""

from typing import Final

from dermaflow import params
from dermaflow.bundle.params import BundleParams, GateParams, LabelsParams, RegistryParams
from dermaflow.ensemble.params import EnsembleParams
from dermaflow.errors import ParamsError, first_ten
from dermaflow.evaluate.params import EvaluateParams, StressParams
from dermaflow.images.params import ImagesParams
from dermaflow.impute.params import ImputeParams
from dermaflow.model.params import ModelParams
from dermaflow.releases.params import IngestParams
from dermaflow.splits.params import SplitParams
from dermaflow.train.params import AugmentParams, TrainParams

SECTIONS: Final = (
    RegistryParams, LabelsParams, IngestParams, SplitParams, ImputeParams, ImagesParams, AugmentParams,
    TrainParams, EvaluateParams, EnsembleParams, BundleParams, StressParams, GateParams,
)  # fmt: skip
"""What the stages open, but for `models`, each entry of which is a section of its own."""


def check() -> None:
    """Read every section, and hold against each other what DVC makes stages of.

    Raises:
        ParamsError: a key is absent, unknown or wrong, or names what is not there.
    """
    releases, sizes, folds, models = map(params.names, ("releases", "sizes", "folds", "models"))
    for kind in SECTIONS:
        params.load(kind)
    for key, numbers in (("sizes", sizes), ("folds", folds)):
        for number in numbers:
            params.whole(number, key)
    params.load(SplitParams).dealt(folds)
    for name in models:
        stored_px = params.load(ModelParams, name).stored_px
        if str(stored_px) not in sizes:
            raise ParamsError(
                f"models.{name}.stored_px is {stored_px}, sizes holds {first_ten(sizes)}",
                params.FILE,
                "Name one of sizes, or add it there.",
            )
    data = params.root() / "data"
    absent = [name for name in releases if not (data / name).is_dir()]
    if data.is_dir() and absent:
        raise ParamsError(
            f"releases names {first_ten(absent)}, which data/ does not hold",
            params.FILE,
            "Remove it there, or link data that hold it: make data ISIC=DIR",
        )
