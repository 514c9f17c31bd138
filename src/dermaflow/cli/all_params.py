"""All of params.yaml, read before anything runs: a slip must not show after hours of training."""

import re
from typing import Final

from dermaflow import params
from dermaflow.bundle import build
from dermaflow.bundle.params import BundleParams, GateParams, LabelsParams, RegistryParams
from dermaflow.ensemble.params import EnsembleParams
from dermaflow.errors import ParamsError, TrainingError, first_ten
from dermaflow.evaluate.params import EvaluateParams, StressParams
from dermaflow.images.params import ImagesParams
from dermaflow.impute.params import ImputeParams
from dermaflow.model.params import LEAST_PX, MOST_PX, ModelParams
from dermaflow.splits.params import SplitParams
from dermaflow.train.params import AugmentParams, TrainParams

SECTIONS: Final = (
    RegistryParams, LabelsParams, SplitParams, ImputeParams, ImagesParams, AugmentParams,
    TrainParams, EvaluateParams, EnsembleParams, BundleParams, StressParams, GateParams,
)  # fmt: skip
"""What the stages open, but for `models`, each entry of which is a section of its own."""


def check() -> None:
    """Read every section, and hold against each other what DVC makes stages of.

    Raises:
        ParamsError: a key is absent, unknown or wrong, or names what is not there.
        BundleError: an answer would cost more than may be served.
    """
    known = {"releases", "sizes", "folds", "models", "workers", *(kind.section for kind in SECTIONS)}
    strange = [name for name in params.top() if name not in known]
    if strange:
        raise ParamsError(
            f"{first_ten(strange)} is no section",
            params.FILE,
            "Mend its spelling, indent it below the section that it belongs to, or remove it.",
        )
    releases, sizes, folds, models = map(params.names, ("releases", "sizes", "folds", "models"))
    for kind in SECTIONS:
        params.load(kind)
    for key, numbers in (("sizes", sizes), ("folds", folds)):
        for number in numbers:
            params.whole(number, key)
    far = [size for size in sizes if not LEAST_PX <= int(size) <= MOST_PX]
    if far:
        raise ParamsError(
            f"sizes names {first_ten(far)}", params.FILE, f"Write {LEAST_PX} to {MOST_PX} pixels."
        )
    params.load(SplitParams).dealt(folds)
    params.workers()
    bad = [name for name in models if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name)]
    if bad:
        raise ParamsError(
            f"models names {first_ten(bad)}",
            params.FILE,
            "Use letters, digits, - and _ alone: stages and folders bear these names.",
        )
    if "ensemble" in models:
        raise ParamsError("models names ensemble", params.FILE, "Name it otherwise: all models together are.")
    for name in models:
        stored_px = params.load(ModelParams, name).stored_px
        if str(stored_px) not in sizes:
            raise ParamsError(
                f"models.{name}.stored_px is {stored_px}, sizes holds {first_ten(sizes)}",
                params.FILE,
                "Name one of sizes, or add it there.",
            )
    _check_networks(models, folds)
    data = params.root() / "data"
    absent = [name for name in releases if not (data / name).is_dir()]
    if data.is_dir() and absent:
        raise ParamsError(
            f"releases names {first_ten(absent)}, which data/ does not hold",
            params.FILE,
            "Remove it there, or link data that hold it: make data ISIC=DIR",
        )


def _check_networks(models: list[str], folds: list[str]) -> None:
    """Make each network once, with its weights; those of the hub are left to the training.

    Raises:
        ParamsError: one can't be built.
        BundleError: together they would cost more than may be served, which their stage would say after all
            the training.
    """
    from dermaflow.model import export, network  # noqa: PLC0415 - torch and timm take seconds
    from dermaflow.train.batches import require_a_batch  # noqa: PLC0415

    passes: dict[str, int] = {}
    classes = len(params.load(LabelsParams).labels.classes)
    batch = params.load(TrainParams).batch
    for name in models:
        model = params.load(ModelParams, name)
        try:
            require_a_batch(model.drawn_images or batch, batch)
            built = network.build(model, classes, pretrained=model.weights != "hub")
        except TrainingError as error:
            where = error.where.removeprefix(f"{params.FILE}, ")
            at = f"models.{name}: {where}".replace(": models.<name>", "")
            remedy = error.remedy.replace("<name>", name)
            raise ParamsError(f"{at}: {error.what}", params.FILE, remedy) from None
        passes |= dict.fromkeys(
            (f"{name}-{fold}" for fold in folds), export.multiply_adds(built, model.input_px)
        )
    build.require_affordable(passes, params.value("train.views", int), params.load(BundleParams))
