"""Does the evidence that the page draws lie on the lesion, and does the answer hang on it?

Runs in a project whose bundle is made and whose data/masks holds lesion masks (`make data`, a preset, `dvc
repro bundle`), over hold-out images that have one; no diagnosis is read. The map is that of the most probable
diagnosis, by occlusion (as the page draws it) and, as its peer, from the networks' class activation maps
(Zhou et al. 2016, arXiv:1512.04150). Two questions, each beside what a map that knows nothing would get
(mean, with the 95 % interval of the bootstrap over groups), for all images and for those whose answer is no
nevus:

- place: how much of the tile with most evidence is lesion by the experts' outline; beside it the middle
  tile, since lesions lie there, and any tile;
- removal: a quarter of the tiles is painted with the mean colour of the rest, and the log-odds of the
  diagnosis are asked again: of the tiles with most evidence, with least, in the middle, and drawn by lot.

    python benchmarks/evidence_masks.py [--project DIR] [--images 400] [--json FILE]
"""

import argparse
import json
import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dermaflow import outputs, params, sources
from dermaflow.bundle import format as bundle_format
from dermaflow.bundle.run import Runner, opened
from dermaflow.evaluate import intervals, stress
from dermaflow.images import crop
from dermaflow.images.decode import Decoded
from dermaflow.images.prepare import Recipe
from dermaflow.serve.evidence import TILES, log_odds, occlusion
from dermaflow.train.member import as_rows

Map = NDArray[np.float64]
Pixels = NDArray[np.uint8]

REMOVED = 0.25
"""Share of the tiles that is painted over."""
TILE_PX = 32
"""Side of a tile of the mask."""


def from_middle() -> Map:
    """Distance of each tile from the middle of the square."""
    places = np.arange(TILES) - (TILES - 1) / 2
    return np.asarray(np.hypot.outer(places, places))


class Activation:
    """Class activation maps, blended over the members, for one diagnosis against all others."""

    def __init__(self, runner: Runner) -> None:
        self._bundle = runner.bundle
        self._sessions = [opened(runner.bundle.folder / member.file) for member in runner.bundle.members]

    def __call__(
        self, pixels: dict[Recipe, Pixels], patient: NDArray[np.float32], probabilities: Map, best: int
    ) -> Map:
        """Return the first-order change of the log-odds by each tile's logits."""
        contrast = -probabilities / (1 - probabilities[best])
        contrast[best] = 1
        blended = np.zeros((TILES, TILES))
        weighted = zip(self._bundle.calibration.weights, self._bundle.members, self._sessions, strict=True)
        for weight, member, session in weighted:
            (maps,) = session.run(["cam"], {"image": pixels[member.recipe], "patient": patient})
            evidence = np.tensordot(contrast, maps[0].astype(float), axes=1)
            blended += weight * cv2.resize(evidence, (TILES, TILES), interpolation=cv2.INTER_AREA)
        return blended


def lesion_in(mask: Path, file: bytes, recipe: Recipe) -> Map:
    """Share of each tile of the square that is lesion, cut out as the image is."""
    pixels = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)
    size = pixels.shape[1::-1]
    lesion = cv2.resize(cv2.imread(str(mask)), size, interpolation=cv2.INTER_NEAREST)
    box = crop.find_box(recipe.crop, Decoded(pixels, *size, 1))
    square = crop.cut(recipe.crop, Decoded(lesion, *size, 1), box, TILE_PX * TILES)[..., 0] / 255.0
    return np.asarray(cv2.resize(square, (TILES, TILES), interpolation=cv2.INTER_AREA))


def without(pixels: Pixels, order: Map) -> Pixels:
    """Paint over the tiles where `order` is highest."""
    gone = np.zeros(order.size, np.uint8)
    gone[np.argsort(-order.ravel(), kind="stable")[: round(REMOVED * order.size)]] = 1
    side = pixels.shape[1]
    where = cv2.resize(gone.reshape(order.shape), (side, side), interpolation=cv2.INTER_NEAREST) > 0
    painted = pixels.copy()
    painted[0, where] = pixels[0, ~where].mean(axis=0).round()
    return painted


def measure(images: int) -> dict[str, dict[str, float]]:
    """Ask the project's bundle; return each figure's mean and interval."""
    bundle = bundle_format.read(outputs.path("bundle"))
    runner, recipe = Runner(bundle), bundle.members[0].recipe
    masks, cases = params.root() / "data/masks", outputs.cases.read()
    masked = cases[[(masks / f"{name}_segmentation.png").exists() for name in cases.image_id]]
    chosen = masked[masked.image_id.isin(stress.choose(masked, images, seed=0))]
    rows = as_rows(chosen, outputs.patients.read(), None)
    files = {}
    for release in chosen.store.unique():
        facts = outputs.facts.of(release).read(["image_id", "part", "file"])
        folder = params.root() / "data" / release
        source = sources.listed(folder, facts.image_id, facts.part, facts.file)
        files |= {name: source.read(name) for name in chosen.image_id[chosen.store == release]}

    lot, activation, found = np.random.default_rng(0), Activation(runner), []
    for name, patient in zip(tqdm(rows.image_ids), rows.patients, strict=True):
        pixels = runner.pixels([files[name]])

        def asked(pixels: dict[Recipe, Pixels], patient: NDArray[np.float32] = patient[None]) -> Map:
            return bundle.calibration.probabilities(runner(pixels, patient).logits)[0]

        said = asked(pixels)
        best = int(said.argmax())
        maps = {
            "occlusion": occlusion(pixels, patient[None], runner)[0][best],
            "activation": activation(pixels, patient[None], said, best),
        }
        lesion = lesion_in(masks / f"{name}_segmentation.png", files[name], recipe)
        figures = {
            f"lesion in the top tile, {how}": lesion.ravel()[one.argmax()] for how, one in maps.items()
        }
        figures["lesion in the middle tile"] = lesion[TILES // 2, TILES // 2]
        figures["lesion in any tile"] = lesion.mean()
        removed = {f"most evidence, {how}": one for how, one in maps.items()}
        removed |= {f"least evidence, {how}": -one for how, one in maps.items()}
        removed |= {"the middle": -from_middle(), "some by lot": lot.random((TILES, TILES))}
        for which, order in removed.items():
            after = asked({key: without(value, order) for key, value in pixels.items()})
            figures[f"log-odds without {which}"] = log_odds(after)[best] - log_odds(said)[best]
            figures[f"diagnosis changed without {which}"] = float(after.argmax() != best)
        found.append((bundle.view.classes[best], figures))

    groups, answers = chosen.group.to_numpy(), np.array([code for code, _ in found])
    summary = {}
    for title, kept in (("all", answers != ""), ("no nevus", answers != "NV")):
        weights = intervals.resample(groups[kept], 1000, seed=0)
        for figure in found[0][1]:
            values = np.array([figures[figure] for _, figures in found], float)[kept]
            low, high = intervals.interval(intervals.replicate(intervals.mean(values), weights))
            summary[f"{title}: {figure}"] = {
                "images": len(values), "mean": float(values.mean()), "low": low, "high": high
            }  # fmt: skip
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--project", type=Path, default=Path())
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    os.environ["DERMAFLOW_ROOT"] = str(asked.project)
    summary = measure(asked.images)
    for figure, row in summary.items():
        print(f"{figure:62}{row['mean']:8.3f} ({row['low']:.3f} to {row['high']:.3f})  n={row['images']}")
    if asked.json:
        asked.json.write_text(json.dumps(summary, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
