"""Stage predict@{release}: score the release's test images in its challenge's columns."""

import sys
from functools import partial

from dermaflow import outputs, params, sources, stage
from dermaflow.bundle import format as bundle_format
from dermaflow.bundle.run import Runner
from dermaflow.impute.fitting import as_patients
from dermaflow.serve import formats, predict_folder


def main(release: str) -> None:
    bundle = bundle_format.read(outputs.path("bundle"))
    layout, why = formats.of_release(release, bundle.view)
    facts = outputs.facts.of(release).read(["image_id", "part", "file"])
    facts = facts[facts.part == "test"]
    source = sources.listed(params.root() / "data" / release, facts.image_id, facts.part, facts.file)
    images = {entry.image_id: partial(source.read, entry.image_id) for entry in source.entries}
    rows = outputs.releases.of(release).read(["image_id", "age_years", "sex", "site"])
    rows = rows[rows.image_id.isin(set(images))]
    patients = dict(zip(rows.image_id, as_patients(rows), strict=True))
    centre = formats.CENTRES.get(layout)
    centre = centre if centre in bundle.calibration.centres else None
    scored, problems = predict_folder.predict_folder(Runner(bundle), images, patients, centre)
    with outputs.replacing(outputs.path(f"predictions/{release}.csv")) as scratch:
        predict_folder.write_csv(scored, layout, scratch)
    for line in [why, *(f"not read: {image_id}: {reason}" for image_id, reason in problems)]:
        print(line or f"written in the format {layout}")


if __name__ == "__main__":
    stage.run(main, sys.argv[1])
