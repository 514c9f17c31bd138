"""Stage split: reconcile the releases, drop repeats, set the hold-out aside, then fold."""

from functools import partial

from dermaflow import outputs, params, releases, tracking
from dermaflow.splits.params import SplitParams
from dermaflow.splits.split import split
from dermaflow.taxonomy import VIEWS

FACTS = ["image_id", "width", "height", "sha256", "readable"]


def main() -> None:
    names = params.names("releases")
    merged = releases.merge({name: outputs.releases.of(name).read() for name in names})
    result = split(
        merged,
        facts={name: outputs.facts.of(name).read(FACTS) for name in names},
        located={name: outputs.read_lines(outputs.path(outputs.located.format(name))) for name in names},
        params=params.load(SplitParams),
        folds=len(params.names("folds")),
        missing_images=params.value("ingest.missing_images", str),
        view=VIEWS[params.value("labels.view", str)],
        thumbnails={name: partial(outputs.facts.of(name).blocks, "thumbnail") for name in names},
    )
    outputs.cases.write(result.cases)
    outputs.holdout.write(result.holdout)
    outputs.pairs.write(result.pairs)
    outputs.write_json(outputs.path(outputs.ledger), result.ledger)
    outputs.write_text(outputs.path(outputs.funnel), result.funnel.to_csv(index=False))
    tracking.stage("split", metrics=result.ledger, artifacts={"outputs/splits": "splits"})


if __name__ == "__main__":
    main()
