"""Stage ingest@{release}: published files -> one table of rows and one of image facts."""

import sys

import pandas as pd

from dermaflow import datadir, outputs, params, releases, sources, stage
from dermaflow.images import facts


def main(release: str) -> None:
    datadir.verify_declared()
    folder = params.root() / "data" / release
    outputs.releases.of(release).write(releases.read(release, folder))
    source = sources.open_source(folder, releases.image_folders(release))
    most = params.value("images.max_pixels", int)
    found = facts.all_facts(source, workers=params.workers(), max_pixels=most)
    outputs.facts.of(release).write(pd.DataFrame(found, columns=list(outputs.facts.columns)))


if __name__ == "__main__":
    stage.run(main, sys.argv[1])
