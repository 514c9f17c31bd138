"""Groups of images that must never be separated: patient, lesion, duplicate, look-alike.

In: columns of ids and pairs of positions. Out: one group number an image. Knows no labels.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

Edges = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Two arrays of positions: each first image is joined with its second."""


def same(ids: "pd.Series[str]") -> Edges:
    """Join each image with the first that has the same id; a missing id joins nobody."""
    known = np.flatnonzero(ids.notna().to_numpy())
    codes, _ = pd.factorize(ids.to_numpy()[known])
    _, first = np.unique(codes, return_index=True)
    start = known[first][codes]
    other = start != known
    return start[other].astype(np.int64), known[other].astype(np.int64)


def join(size: int, edges: Iterable[Edges]) -> NDArray[np.int64]:
    """Return the connected components.

    Args:
        size: number of images.
        edges: pairs of positions.

    Returns:
        Shape (size,): group numbers in the order of each group's first image.
    """
    parts = [*edges, (np.zeros(0, np.int64), np.zeros(0, np.int64))]
    first = np.concatenate([one for one, _ in parts])
    second = np.concatenate([other for _, other in parts])
    graph = coo_matrix((np.ones(len(first), np.int8), (first, second)), shape=(size, size))
    labels = connected_components(graph, directed=False)[1]
    return renumber(labels)


def renumber(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Number groups 0, 1, ... in the order of their first image."""
    codes, _ = pd.factorize(labels)
    numbered: NDArray[np.int64] = codes.astype(np.int64)
    return numbered
