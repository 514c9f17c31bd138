"""Stage split: reconcile the releases, drop repeats, set the hold-out aside, then fold."""

from functools import partial

import pandas as pd

from dermaflow import outputs, params, releases, stage, tracking
from dermaflow.bundle.params import LabelsParams
from dermaflow.errors import first_ten
from dermaflow.files import digest
from dermaflow.splits import legacy, own, sheet
from dermaflow.splits.params import SplitParams
from dermaflow.splits.split import split

FACTS = ["image_id", "width", "height", "sha256", "readable"]
LARGE_GROUP = "large_group.csv"


def keep(pairs: pd.DataFrame) -> str:
    """Write the pairs of too large a group beside the sheet of look-alikes."""
    file = outputs.reports_dir("splits") / LARGE_GROUP
    outputs.write_text(file, pairs.to_csv(index=False))
    return file.relative_to(params.root()).as_posix()


def main() -> None:
    names, settings = params.names("releases"), params.load(SplitParams)
    view = params.load(LabelsParams).labels
    folds = settings.dealt(params.names("folds"))
    tables = {name: outputs.releases.of(name).read() for name in names}
    facts = {name: outputs.facts.of(name).read(FACTS) for name in names}
    thumbnails = {name: partial(outputs.facts.of(name).blocks, "thumbnail") for name in names}
    merged = releases.merge(tables)
    if unlisted := settings.unlisted(merged["image_id"]):
        print(f"split.same_picture: {first_ten(unlisted)} of no named release; their pairs are left out")
    result = split(
        merged,
        facts,
        located={name: outputs.read_lines(outputs.path(outputs.located.format(name))) for name in names},
        params=settings,
        folds=folds,
        view=view,
        own=own.read(params.root() / "splits" / settings.file, folds) if settings.file else None,
        thumbnails=thumbnails,
        report=keep,
    )
    outputs.cases.write(result.cases)
    outputs.holdout.write(result.holdout)
    outputs.pairs.write(result.pairs)
    written = {"cases": digest(outputs.cases.path), "pairs": digest(outputs.pairs.path)}
    ledger = {**result.ledger, **legacy.shown(tables), "tables": written}
    outputs.write_json(outputs.path(outputs.ledger), ledger)
    outputs.write_text(outputs.path(outputs.funnel), result.funnel.to_csv(index=False))
    shown = outputs.reports_dir("splits")
    (shown / LARGE_GROUP).unlink(missing_ok=True)  # of an earlier run
    sheet.near_duplicates(result.pairs, result.cases, facts, thumbnails, shown / "near_duplicates.png")
    tracking.stage(
        "split",
        metrics=ledger,
        artifacts={"outputs/splits": "splits", "reports/splits": "splits"},
        later=True,
    )


if __name__ == "__main__":
    stage.run(main)
