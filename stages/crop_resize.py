"""Stage crop_resize@{release}-{size}: each image cropped, resized and stored once."""

import sys

from dermaflow import outputs, params, sources
from dermaflow.images import store
from dermaflow.images.params import ImagesParams


def main(release: str, size: int) -> None:
    images = params.load(ImagesParams)
    facts = outputs.facts.of(release).read(["image_id", "part", "file"])
    source = sources.listed(params.root() / "data" / release, facts.image_id, facts.part, facts.file)
    image_ids = outputs.read_lines(outputs.path(outputs.located.format(release)))
    recipe = images.recipe(size, size)
    outputs.require_space(store.estimated_bytes(len(image_ids), recipe), f"crop_resize@{release}-{size}")
    with outputs.replacing(outputs.images_dir(size, release), folder=True) as folder:
        store.write_shards(
            source, image_ids, recipe, folder, workers=images.workers, max_unreadable=images.max_unreadable
        )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
