"""Stage ensemble: blend the members, calibrate out of fold, report on the hold-out."""

from dermaflow import outputs, params, tracking
from dermaflow.bundle.params import RegistryParams
from dermaflow.ensemble.ensemble import ensemble
from dermaflow.ensemble.params import EnsembleParams
from dermaflow.evaluate import members
from dermaflow.evaluate.params import EvaluateParams


def main() -> None:
    result = ensemble(
        members.read(params.names("models"), params.names("folds")),
        outputs.cases.read(),
        outputs.holdout.read(),
        params.load(EnsembleParams),
        params.load(EvaluateParams),
        notice=params.load(RegistryParams).notice,
    )
    with outputs.replacing(outputs.path("ensemble"), folder=True) as folder:
        result.write(folder)
    tracking.stage(
        "ensemble", metrics=result.metrics, params=result.blend, artifacts={"outputs/ensemble": ""}
    )


if __name__ == "__main__":
    main()
