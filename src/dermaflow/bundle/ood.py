"""Tell images of other things apart (out-of-distribution detection). Numpy only, as `bundle.apply`.

The score is Mahalanobis' distance (Lee et al. 2018, arXiv:1807.03888), taken half-way through the network:
the last features of one that was trained on skin alone hardly tell a cat from a nevus (docs/decisions/0011).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from dermaflow.bundle.apply import Floats

FILE: Final = "ood.npz"
BORDER: Final = 1.0
"""An image whose score is above it is out of distribution."""


@dataclass(frozen=True, eq=False)
class OodDetector:
    """How images like the training ones look to each member, half-way through its network.

    Attributes:
        means: one array (channels,) a member, float32.
        scales: one array (channels, channels) a member, float32: the length of `(middle - mean) @ scale` is
            that member's distance, in units of the border.
    """

    means: tuple[NDArray[np.float32], ...]
    scales: tuple[NDArray[np.float32], ...]

    def scores(self, middle: Sequence[NDArray[np.floating[Any]]]) -> Floats:
        """Mean of the members' distances, shape (n,).

        Args:
            middle: one array (n, channels) a member, as `bundle.run.Outputs`.
        """
        distances = [
            np.linalg.norm((np.asarray(seen, np.float64) - mean) @ scale, axis=1)
            for seen, mean, scale in zip(middle, self.means, self.scales, strict=True)
        ]
        return np.asarray(np.mean(distances, axis=0))

    def write(self, file: Path) -> None:
        """Write an .npz file; the same figures give the same bytes."""
        pairs = enumerate(zip(self.means, self.scales, strict=True))
        named = {
            f"{name}_{index}": array
            for index, pair in pairs
            for name, array in zip(_NAMES, pair, strict=True)
        }
        with file.open("wb") as opened:
            np.savez(opened, allow_pickle=False, **named)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read what `write` wrote.

        Raises:
            KeyError, ValueError: it did not.
        """
        with np.load(file, allow_pickle=False) as found:
            members = range(len(found.files) // len(_NAMES))
            return cls(*(tuple(found[f"{name}_{index}"] for index in members) for name in _NAMES))


_NAMES = ("mean", "scale")
