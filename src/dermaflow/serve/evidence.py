"""Where in the square that the networks see their evidence for each diagnosis lies.

Occlusion (Zeiler and Fergus 2014, arXiv:1311.2901): each tile is painted over in turn and the networks are
asked again. A class activation map would cost nothing, but it hardly tells what the answer hangs on
(docs/decisions/0013).
"""

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from dermaflow.bundle.apply import Floats
from dermaflow.bundle.run import Outputs, Runner
from dermaflow.images.prepare import Recipe
from dermaflow.impute.apply import Patient, vectors
from dermaflow.serve.inference import abstention, with_notice

Pixels = NDArray[np.uint8]

TILES: Final = 5
"""Tiles along a side."""
WINDOW: Final = 1.5
"""Side of what is painted over, in tiles: a lesion's border that runs between two is still covered."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Where in one image the evidence for each diagnosis lies.

    Attributes:
        seen: shape (side, side, 3), RGB: the image as the member with the largest input sees it.
        maps: one array (TILES, TILES) a class, over the whole of `seen`: by how much the log-odds of the
            class (natural logarithm) fall when a tile is painted over. Above 0 it speaks for the class.
        abstained: why the model gives no answer for this image; None if it gives one.
        forced: whether the maps were asked for whatever the image shows.
        notice: the bundle's sentence that stands beside each answer.
        model: provenance, as in an answer.
        elapsed_ms: from the file's bytes to the maps.
    """

    seen: Pixels
    maps: dict[str, Floats]
    abstained: str | None = None
    forced: bool = False
    notice: str = ""
    model: Mapping[str, str] = field(default_factory=dict)
    elapsed_ms: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the body of `POST /explain`; the maps of an answer that is withheld are left out."""
        shown = self.forced or self.abstained is None
        png = bytes(cv2.imencode(".png", self.seen[..., ::-1])[1])
        return {
            "seen_png": base64.b64encode(png).decode(),
            "maps": {code: one.round(4).tolist() for code, one in self.maps.items()} if shown else {},
            "abstained": self.abstained,
            "model": dict(self.model),
            "notice": with_notice(self.notice),
            "elapsed_ms": round(self.elapsed_ms, 1),
        }


def explain(
    file: bytes,
    patient: Patient,
    runner: Runner,
    model: Mapping[str, str] | None = None,
    *,
    force: bool = False,
) -> Evidence:
    """Tell where in one image the evidence for each diagnosis lies.

    Args:
        file: a JPEG or PNG file.
        patient: what is known; missing fields are filled.
        runner: the open networks.
        model: provenance to hand on.
        force: tell it whatever the image shows.

    Raises:
        DataError: the file is no image, damaged or too large.
    """
    start = time.perf_counter()
    bundle = runner.bundle
    pixels = runner.pixels([file])
    maps, said = occlusion(pixels, vectors([bundle.imputer.fill(patient)]), runner)
    return Evidence(
        seen=pixels[max(pixels, key=lambda recipe: recipe.input_px)][0],
        maps=dict(zip(bundle.view.classes, maps, strict=True)),
        abstained=None if said.ood_scores is None else abstention(float(said.ood_scores[0])),
        forced=force,
        notice=bundle.notice,
        model=model or {},
        elapsed_ms=(time.perf_counter() - start) * 1000,
    )


def occlusion(
    pixels: Mapping[Recipe, Pixels], patient: NDArray[np.float32], runner: Runner
) -> tuple[Floats, Outputs]:
    """Paint each tile of one image over and ask the members again, of the untouched view alone.

    Args:
        pixels: what each recipe made of it, (1, side, side, 3).
        patient: shape (1, 11), from `impute.apply`.
        runner: the open networks.

    Returns:
        Maps (classes, TILES, TILES) as in `Evidence`, and what the members said: of the whole image first.
    """
    cases = {recipe: np.concatenate([one, without_tiles(one[0])]) for recipe, one in pixels.items()}
    said = runner(cases, np.repeat(patient, 1 + TILES**2, axis=0), views=1)
    odds = log_odds(runner.bundle.calibration.probabilities(said.logits))  # (1 + tiles, classes)
    return (odds[0] - odds[1:]).T.reshape(-1, TILES, TILES), said


def without_tiles(image: Pixels) -> Pixels:
    """Return one copy a tile, rows from the top, its window painted with the mean colour of the rest.

    Args:
        image: shape (side, side, 3).

    Returns:
        Shape (TILES**2, side, side, 3).
    """
    side = len(image)
    middles = (np.arange(TILES) + 0.5) * side / TILES
    reach = WINDOW * side / TILES / 2
    spans = [
        slice(max(0, round(middle - reach)), min(side, round(middle + reach))) for middle in middles.tolist()
    ]
    total, copies = image.sum(axis=(0, 1), dtype=np.int64), np.repeat(image[None], TILES**2, axis=0)
    for copy, (rows, columns) in zip(copies, ((r, c) for r in spans for c in spans), strict=True):
        window = image[rows, columns]
        rest = total - window.sum(axis=(0, 1), dtype=np.int64)
        copy[rows, columns] = np.rint(rest / (side**2 - window.shape[0] * window.shape[1]))
    return copies


def log_odds(probabilities: Floats) -> Floats:
    """Natural logarithm of each class's odds against all others.

    Args:
        probabilities: shape (..., classes), rows sum to 1.
    """
    own = np.eye(probabilities.shape[-1], dtype=bool)
    others = np.where(own, 0.0, probabilities[..., None, :]).sum(axis=-1)  # 1 - p would lose a small rest
    tiny = np.finfo(float).tiny  # 0: one class is certain
    return np.asarray(np.log(np.maximum(probabilities, tiny)) - np.log(np.maximum(others, tiny)))
