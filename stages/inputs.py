"""Stage inputs@{model}: name the shards that a model reads, so that another size re-trains nothing."""

import sys

from dermaflow import outputs, params
from dermaflow.errors import tell_errors
from dermaflow.images import store


def main(model: str) -> None:
    size = params.value(f"models.{model}.stored_px", int)
    digests = store.shard_digests(outputs.images_dir(size), params.names("releases"))
    outputs.write_json(outputs.inputs(model), {"stored_px": size, "shards": digests})


if __name__ == "__main__":
    tell_errors(main, sys.argv[1])
