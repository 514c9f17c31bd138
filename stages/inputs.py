"""Stage inputs@{model}: name a model's shards and their recipe, so that another size re-trains nothing."""

import sys

from dermaflow import outputs, params, stage
from dermaflow.images import store


def main(model: str) -> None:
    size = params.value(f"models.{model}.stored_px", int)
    folder, releases = outputs.images_dir(size), params.names("releases")
    found = {"recipe": store.stored_recipe(folder, releases), "shards": store.shard_digests(folder, releases)}
    outputs.write_json(outputs.inputs(model), found)


if __name__ == "__main__":
    stage.run(main, sys.argv[1])
