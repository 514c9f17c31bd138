"""Stage inputs@{model}: name the shards that a model reads, so that another size re-trains nothing."""

import sys

from dermaflow import outputs, params
from dermaflow.images import store
from dermaflow.model.params import StoredSize


def main(model: str) -> None:
    size = params.load(StoredSize, model).stored_px
    digests = store.shard_digests(outputs.images_dir(size), params.names("releases"))
    outputs.write_json(outputs.inputs(model), {"stored_px": size, "shards": digests})


if __name__ == "__main__":
    main(sys.argv[1])
