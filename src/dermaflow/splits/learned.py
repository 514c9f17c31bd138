"""Which of somebody's images training has learned from: figures on them would flatter.

Called by the command line.
"""

from collections.abc import Mapping

import pandas as pd


def learned_from(cases: pd.DataFrame, facts: pd.DataFrame, digests: Mapping[str, str]) -> list[str]:
    """Return the ids of those that are training images, by name or by content.

    Args:
        cases: rows of outputs.cases.
        facts: image_id and sha256 of all releases, as in outputs.facts.
        digests: image id to the sha256 of the file, hex.
    """
    trained = cases.image_id[cases.split == "train"]
    names, contents = set(trained), set(facts.sha256[facts.image_id.isin(trained)])
    return [image for image, digest in digests.items() if image in names or digest in contents]
