"""Stage predict@{release}: score the release's test images in its challenge's columns."""

import sys
from functools import partial

import pandas as pd

from dermaflow import outputs, params, sources
from dermaflow.bundle import format as bundle_format
from dermaflow.bundle.run import Runner
from dermaflow.errors import BundleError
from dermaflow.impute.apply import Patient
from dermaflow.serve import formats, predict_folder

FORMATS = {"isic2018": "isic2018", "isic2019": "isic2019", "isic2020": "siim2020"}


def main(release: str) -> None:
    bundle = bundle_format.read(outputs.path("bundle"))
    layout = FORMATS.get(release, "full")
    try:
        formats.check(layout, bundle.view)
    except BundleError as error:
        print(f"{error} Written in the format full instead.")
        layout = "full"
    facts = outputs.facts.of(release).read(["image_id", "part", "file"])
    facts = facts[facts.part == "test"]
    source = sources.listed(params.root() / "data" / release, facts.image_id, facts.part, facts.file)
    images = {entry.image_id: partial(source.read, entry.image_id) for entry in source.entries}
    rows = outputs.releases.of(release).read(["image_id", "age_years", "sex", "site"])
    patients = {
        row.image_id: Patient(
            *(None if pd.isna(cell) else cell for cell in (row.age_years, row.sex, row.site))
        )
        for row in rows.itertuples()
        if row.image_id in images
    }
    scored, problems = predict_folder.predict_folder(Runner(bundle), images, patients)
    with outputs.replacing(outputs.path(f"predictions/{release}.csv")) as scratch:
        predict_folder.write_csv(scored, layout, scratch)
    for image_id, reason in problems:
        print(f"not read: {image_id}: {reason}")


if __name__ == "__main__":
    main(sys.argv[1])
