"""Stage bundle: export each member to ONNX and ship it with the ensemble's calibration and the imputer."""

import csv

from dermaflow import outputs, params, stage
from dermaflow.bundle import build, ood
from dermaflow.bundle.params import BundleParams, LabelsParams, RegistryParams
from dermaflow.files import digest
from dermaflow.images.params import ImagesParams
from dermaflow.train.ship import ship


def main() -> None:
    recipe = params.load(ImagesParams).recipe
    ensemble, imputer = outputs.path("ensemble"), outputs.path(outputs.imputer)
    calibration = outputs.read_json(ensemble / "calibration.json")
    made_from = {
        "ensemble_predictions": outputs.ensemble_predictions.content(),
        "holdout": outputs.holdout.content(),
        "imputer": digest(imputer),
    }
    with outputs.replacing(outputs.path("bundle"), folder=True) as folder:
        members = [
            ship(outputs.member_dir(row["model"], row["fold"]), folder, recipe, row["model"], row["fold"])
            for row in calibration["members"]  # in this order; DVC does not see that of params.yaml's models
        ]
        build.assemble(
            folder,
            members,
            registry=params.load(RegistryParams),
            budget=params.load(BundleParams),
            view=params.load(LabelsParams).labels,
            views=params.value("train.views", int),
            calibration=calibration,
            detector=ensemble / ood.FILE,
            imputer=outputs.read_json(imputer),
            metrics=outputs.read_json(ensemble / "metrics.json"),
            inputs=made_from,
            funnel=csv.DictReader(outputs.read_lines(outputs.path(outputs.funnel))),
        )


if __name__ == "__main__":
    stage.run(main)
