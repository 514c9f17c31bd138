"""Stage locate: name, for each image, the one release whose shards store it."""

from dermaflow import outputs, params, releases, stage


def main() -> None:
    names = params.names("releases")
    facts = {name: outputs.facts.of(name).read(["image_id", "part", "readable"]) for name in names}
    trained_on = {name: table[table.part == "train"] for name, table in facts.items()}
    for name, image_ids in releases.locate(trained_on).items():
        outputs.write_lines(outputs.path(outputs.located.format(name)), image_ids)


if __name__ == "__main__":
    stage.run(main)
