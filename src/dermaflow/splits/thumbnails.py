"""Thumbnails that are read a block at a time, as often as asked: half a million weigh 2 GB.

In: an array, or the cells of the tables of facts and which of them are wanted. Out: blocks for `near`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

SIDE: Final = 64
BLOCK: Final = 8192

Block = tuple[NDArray[np.int64], NDArray[np.uint8]]
"""Positions, shape (k,), and their thumbnails, shape (k, 64, 64), grey."""

Cells = Callable[[], Iterable[list[bytes]]]
"""Reads the column of thumbnails of one table from its start, some rows at a time."""


class Blocks(Protocol):
    """Thumbnails as blocks; each iteration reads them anew. No position stands twice."""

    def __iter__(self) -> Iterator[Block]:
        """Yield all blocks, in any order."""
        ...


@dataclass(frozen=True)
class Held:
    """Thumbnails in memory, shape (n, 64, 64); their positions are 0 to n-1."""

    thumbnails: NDArray[np.uint8]

    def __iter__(self) -> Iterator[Block]:
        """Yield them in order."""
        for start in range(0, len(self.thumbnails), BLOCK):
            block = self.thumbnails[start : start + BLOCK]
            yield np.arange(start, start + len(block)), block


class Stored:
    """Thumbnails that stay in the tables of facts."""

    def __init__(self, cells: Mapping[str, Cells], wanted: pd.DataFrame) -> None:
        """Remember where each thumbnail lies.

        Args:
            cells: of each release.
            wanted: a row a thumbnail, in the order of the positions: `store`, the release, and `fact`, the
                row in its table of facts.
        """
        self._cells = cells
        self._store = wanted["store"].to_numpy()
        self._fact = wanted["fact"].to_numpy(np.int64)

    def __iter__(self) -> Iterator[Block]:
        """Yield them in the order of the tables."""
        for release, read in self._cells.items():
            own = np.flatnonzero(self._store == release)
            own = own[np.argsort(self._fact[own])]
            rows, start = self._fact[own], 0
            for cells in read():
                left, right = np.searchsorted(rows, (start, start + len(cells)))
                pixels = b"".join(cells[row - start] for row in rows[left:right])
                yield own[left:right], np.frombuffer(pixels, np.uint8).reshape(-1, SIDE, SIDE)
                start += len(cells)
