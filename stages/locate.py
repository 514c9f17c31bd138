"""Stage locate: name, for each image, the one release whose shards store it."""

from dermaflow import outputs, params, releases


def main() -> None:
    names = params.names("releases")
    facts = {name: outputs.facts.of(name).read(["image_id", "part", "readable"]) for name in names}
    for name, image_ids in releases.locate(facts).items():
        outputs.write_lines(outputs.path(outputs.located.format(name)), image_ids)


if __name__ == "__main__":
    main()
