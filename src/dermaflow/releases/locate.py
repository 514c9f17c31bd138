"""Where each image is stored: under the first release whose folder holds its file."""

from collections.abc import Mapping

import pandas as pd


def locate(facts: Mapping[str, pd.DataFrame]) -> dict[str, list[str]]:
    """Give each image of some facts to one release.

    Args:
        facts: rows of outputs.facts, a release, in the order of params.yaml.

    Returns:
        For each release the sorted ids that its shards store; no id stands twice.
    """
    taken: set[str] = set()
    located = {}
    for release, table in facts.items():
        own = set(table["image_id"]) - taken
        taken |= own
        located[release] = sorted(own)
    return located
