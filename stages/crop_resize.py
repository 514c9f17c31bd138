"""Stage crop_resize@{release}-{size}: each image cropped, resized and stored once; a sheet to look at."""

import sys

from dermaflow import outputs, params, sources, stage, tracking
from dermaflow.images import contact, store
from dermaflow.images.params import ImagesParams

SHOWN = 12


def main(release: str, size_px: str) -> None:
    size = params.whole(size_px, "sizes")
    images = params.load(ImagesParams)
    facts = outputs.facts.of(release).read(["image_id", "part", "file"])
    source = sources.listed(params.root() / "data" / release, facts.image_id, facts.part, facts.file)
    image_ids = outputs.read_lines(outputs.path(outputs.located.format(release)))
    recipe = images.recipe(size, size)
    outputs.require_space(store.estimated_bytes(len(image_ids), recipe), f"crop_resize@{release}-{size}")
    sheets = outputs.sheets_dir(size, release)
    with outputs.replacing(outputs.images_dir(size, release), folder=True) as folder:
        store.write_shards(
            source, image_ids, recipe, folder, workers=params.workers(), max_unreadable=images.max_unreadable
        )
    with outputs.replacing(sheets, folder=True) as folder:
        reader = store.ShardReader(outputs.images_dir(size), [release])
        if len(reader):
            chosen = contact.telling(reader, SHOWN)
            sheet = folder / "before_after.png"
            contact.before_after(chosen, [source], reader, sheet, max_pixels=images.max_pixels)
    shown = {sheets.relative_to(params.root()).as_posix(): ""}
    tracking.stage(
        f"crop_resize {release} {size} px",
        metrics={"images": len(reader)},
        params={"images": images.model_dump()},
        artifacts=shown,
        later=True,
    )


if __name__ == "__main__":
    stage.run(main, sys.argv[1], sys.argv[2])
