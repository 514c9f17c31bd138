"""Stage evaluate@{model}: figures with intervals, plots and a report of one model's folds."""

import sys

from dermaflow import outputs, params, stage, tracking
from dermaflow.bundle.params import RegistryParams
from dermaflow.evaluate import evaluation, members, openings
from dermaflow.evaluate.params import EvaluateParams


def main(model: str) -> None:
    settings = params.load(EvaluateParams)
    result = evaluation.evaluate_model(
        model,
        members.read([model], params.names("folds")),
        outputs.cases.read(),
        outputs.holdout.read(),
        settings,
        funnel=evaluation.read_funnel(outputs.path(outputs.funnel)),
        notice=params.load(RegistryParams).notice,
    )
    with outputs.replacing(outputs.path(f"evaluation/{model}"), folder=True) as folder:
        result.write(folder)
    scored = openings.note(outputs.reports_dir(""), outputs.holdout.content(), model, result.metrics)
    tracking.stage(
        f"evaluate {model}",
        metrics=result.metrics,
        params={
            "models": members.settings([model], params.names("folds")),
            "evaluate": settings.model_dump(),
        },
        tags={"hold_out_scored": str(scored)},
        artifacts={f"outputs/evaluation/{model}": ""},
    )
    stage.drop_finished(model)


if __name__ == "__main__":
    stage.run(main, sys.argv[1])
