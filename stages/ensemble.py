"""Stage ensemble: blend the members, calibrate out of fold, report on the hold-out."""

from dermaflow import outputs, params, stage, tracking
from dermaflow.bundle.params import RegistryParams
from dermaflow.ensemble.ensemble import ensemble
from dermaflow.ensemble.params import EnsembleParams
from dermaflow.evaluate import evaluation, members, openings
from dermaflow.evaluate.params import EvaluateParams


def main() -> None:
    settings, evaluated = params.load(EnsembleParams), params.load(EvaluateParams)
    result = ensemble(
        members.read(params.names("models"), params.names("folds")),
        outputs.cases.read(),
        outputs.holdout.read(),
        settings,
        evaluated,
        funnel=evaluation.read_funnel(outputs.path(outputs.funnel)),
        notice=params.load(RegistryParams).notice,
    )
    with outputs.replacing(outputs.path("ensemble"), folder=True) as folder:
        result.write(folder)
    scored = openings.note(outputs.reports_dir(""), outputs.holdout.content(), "ensemble", result.metrics)
    tracking.stage(
        "ensemble",
        metrics=result.metrics,
        tags={"hold_out_scored": str(scored)},
        params={
            "models": members.settings(params.names("models"), params.names("folds")),
            "blend": result.blend,
            "ensemble": settings.model_dump(),
            "evaluate": evaluated.model_dump(),
        },
        artifacts={"outputs/ensemble": ""},
    )


if __name__ == "__main__":
    stage.run(main)
