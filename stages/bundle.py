"""Stage bundle: export each member to ONNX and ship it with the ensemble's calibration and the imputer."""

from pathlib import Path

from dermaflow import outputs, params
from dermaflow.bundle import build
from dermaflow.bundle.format import Member
from dermaflow.bundle.params import BundleParams, LabelsParams, RegistryParams
from dermaflow.files import digest
from dermaflow.images.params import ImagesParams
from dermaflow.model import export
from dermaflow.train.member import load_member


def exported(model: str, fold: int, folder: Path, images: ImagesParams) -> Member:
    network, config = load_member(outputs.member_dir(model, fold))
    stored_px, input_px = config["model"]["stored_px"], config["model"]["input_px"]
    file = folder / f"{model}-{fold}.onnx"
    export.export(network, input_px, file)
    return Member(
        model=model,
        fold=fold,
        file=file.name,
        sha256=digest(file),
        recipe=images.recipe(stored_px, input_px),
        multiply_adds=export.multiply_adds(network, input_px),
        parameters=export.parameters(network),
    )


def main() -> None:
    images, folds = params.load(ImagesParams), [int(fold) for fold in params.names("folds")]
    ensemble = outputs.path("ensemble")
    with outputs.replacing(outputs.path("bundle"), folder=True) as folder:
        members = [
            exported(model, fold, folder, images) for model in params.names("models") for fold in folds
        ]
        build.assemble(
            folder,
            members,
            registry=params.load(RegistryParams),
            budget=params.load(BundleParams),
            view=params.load(LabelsParams).labels,
            views=params.value("train.views", int),
            calibration=outputs.read_json(ensemble / "calibration.json"),
            imputer=outputs.read_json(outputs.path(outputs.imputer)),
            metrics=outputs.read_json(ensemble / "metrics.json"),
            inputs={
                "ensemble_predictions": digest(outputs.ensemble_predictions.path),
                "holdout": digest(outputs.holdout.path),
                "imputer": digest(outputs.path(outputs.imputer)),
            },
        )


if __name__ == "__main__":
    main()
