"""Where each image is stored: under the first release whose folder holds a file of it that decodes."""

from collections.abc import Mapping

import pandas as pd


def locate(facts: Mapping[str, pd.DataFrame]) -> dict[str, list[str]]:
    """Give each image of some facts to one release: of several files the first that can be read.

    Args:
        facts: rows of outputs.facts, a release, in the order of params.yaml.

    Returns:
        For each release the sorted ids that its shards store; no id stands twice.
    """
    stacked = pd.concat(
        [table[["image_id", "readable"]].assign(release=release) for release, table in facts.items()]
    )
    best = stacked.sort_values("readable", ascending=False, kind="stable").drop_duplicates("image_id")
    return {release: sorted(best.loc[best["release"] == release, "image_id"]) for release in facts}
