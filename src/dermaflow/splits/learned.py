"""Which of somebody's images training has learned from: figures on them would flatter.

Called by the command line.
"""

from collections.abc import Mapping

import pandas as pd


def learned_from(
    cases: pd.DataFrame, pairs: pd.DataFrame, facts: pd.DataFrame, digests: Mapping[str, str]
) -> list[str]:
    """Return the ids of those that are training images, by name or by content.

    Images that the split found to show the same picture as one of them count as well: repeats are dropped,
    but a network has learned from the one that was kept.

    Args:
        cases: rows of outputs.cases.
        pairs: rows of outputs.pairs.
        facts: image_id and sha256 of all releases, as in outputs.facts.
        digests: image id to the sha256 of the file, hex.
    """
    names = set(cases.image_id[cases.split == "train"])
    same = pairs[pairs.joined]
    names |= set(same.image_b[same.image_a.isin(names)]) | set(same.image_a[same.image_b.isin(names)])
    contents = set(facts.sha256[facts.image_id.isin(names)])
    return [image for image, digest in digests.items() if image in names or digest in contents]
