"""Stage evaluate@{model}: figures with intervals, plots and a report of one model's folds."""

import sys

from dermaflow import outputs, params, tracking
from dermaflow.bundle.params import RegistryParams
from dermaflow.evaluate import evaluation, members
from dermaflow.evaluate.params import EvaluateParams


def main(model: str) -> None:
    result = evaluation.evaluate_model(
        model,
        members.read([model], params.names("folds")),
        outputs.cases.read(),
        outputs.holdout.read(),
        params.load(EvaluateParams),
        notice=params.load(RegistryParams).notice,
    )
    with outputs.replacing(outputs.path(f"evaluation/{model}"), folder=True) as folder:
        result.write(folder)
    tracking.stage(f"evaluate {model}", metrics=result.metrics, artifacts={f"outputs/evaluation/{model}": ""})


if __name__ == "__main__":
    main(sys.argv[1])
