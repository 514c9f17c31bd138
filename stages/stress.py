"""Stage stress@{release}: what ink, hair, blur and the like change in the bundle's answers."""

import sys

from dermaflow import datadir, outputs, params, sources, stage
from dermaflow.bundle import format as bundle_format
from dermaflow.bundle.run import Runner
from dermaflow.evaluate import stress
from dermaflow.evaluate.params import StressParams
from dermaflow.train.member import as_rows


def main(release: str) -> None:
    datadir.verify_declared()  # the masks, which no earlier stage reads
    settings = params.load(StressParams)
    cases, patients = outputs.cases.read(), outputs.patients.read()
    chosen = cases[cases.image_id.isin(stress.choose(cases, settings.images, settings.seed))]
    chosen = chosen[chosen.store == release]
    rows = as_rows(chosen, patients, None)
    facts = outputs.facts.of(release).read(["image_id", "part", "file"])
    source = sources.listed(params.root() / "data" / release, facts.image_id, facts.part, facts.file)
    masks = {name: params.root() / "data/masks" / f"{name}_segmentation.png" for name in chosen.image_id}
    bundle = bundle_format.read(outputs.path("bundle"))
    found = stress.stress(
        Runner(bundle),
        {name: source.read(name) for name in chosen.image_id},
        {name: file.read_bytes() for name, file in masks.items() if file.exists()},
        dict(zip(rows.image_ids, rows.patients, strict=True)),
        bundle,
        max_px=settings.max_px,
    )
    outputs.write_json(outputs.path(f"stress/{release}.json"), found)


if __name__ == "__main__":
    stage.run(main, sys.argv[1])
