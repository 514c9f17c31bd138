"""Where in the square that the networks see their evidence for each diagnosis lies.

Class activation maps (Zhou et al. 2016, arXiv:1512.04150): the head is linear, so the mean of class c's map
is its logit, but for constants. A logit alone says nothing, only differences between classes count; so a map
here is the evidence for one diagnosis against all others, the first-order change of its log-odds.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dermaflow.bundle.apply import Floats
from dermaflow.bundle.format import Bundle
from dermaflow.images.prepare import Recipe


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the networks saw, and where it speaks for which diagnosis.

    Attributes:
        seen: shape (side, side, 3), RGB: the image as the member with the largest input sees it.
        maps: one array (h, w) a class, over the whole of `seen`. Its mean is what the image adds to the
            log-odds of the class, to first order; above 0 a field speaks for the class.
    """

    seen: NDArray[np.uint8]
    maps: dict[str, Floats]

    def to_json(self, codes: Iterable[str]) -> dict[str, Any]:
        """Return the picture as PNG in base64, and the maps of some classes as rows of numbers."""
        png = bytes(cv2.imencode(".png", self.seen[..., ::-1])[1])
        return {
            "seen_png": base64.b64encode(png).decode(),
            "maps": {code: self.maps[code].round(4).tolist() for code in codes},
        }


def blended(
    pixels: Mapping[Recipe, NDArray[np.uint8]],
    cams: Sequence[NDArray[np.floating[Any]]],
    bundle: Bundle,
    probabilities: Floats,
) -> Evidence:
    """Blend the members' class activation maps of one image.

    Args:
        pixels: what each recipe made of it, (1, side, side, 3).
        cams: one array (1, classes, h, w) a member; the grids may differ, the finest is taken.
        bundle: its calibration says how members are blended.
        probabilities: shape (classes,), what the ensemble said.
    """
    height, width = max(cam.shape[2:] for cam in cams)
    logits = sum(
        weight * _resized(cam[0], width, height)
        for weight, cam in zip(bundle.calibration.weights, cams, strict=True)
    )
    odds = _against_others(probabilities) @ np.reshape(logits, (len(probabilities), -1))
    maps = bundle.calibration.beta * odds.reshape(-1, height, width)
    seen = pixels[max(pixels, key=lambda recipe: recipe.input_px)][0]
    return Evidence(seen, dict(zip(bundle.view.classes, maps, strict=True)))


def _resized(cam: NDArray[np.floating[Any]], width: int, height: int) -> Floats:
    return np.stack([cv2.resize(np.float64(one), (width, height)) for one in cam])


def _against_others(probabilities: Floats) -> Floats:
    """Derivative of each class's log-odds by the logits, shape (classes, classes); rows sum to 0."""
    others = np.where(np.eye(len(probabilities), dtype=bool), 0.0, probabilities)
    total = np.maximum(others.sum(axis=1, keepdims=True), np.finfo(float).tiny)  # 0: one class is certain
    return np.asarray(np.eye(len(probabilities)) - others / total)
