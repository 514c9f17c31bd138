"""Does the evidence that the page draws lie on the lesion, and does the answer hang on it?

Runs in a project whose bundle is made and whose data/masks holds lesion masks (`make data`, a preset, `dvc
repro bundle`), over hold-out images that have one; no diagnosis is read. The map is that of the most probable
diagnosis, its fields are those of the networks' last maps. Two questions, each beside what a map that knows
nothing would get (mean, with the 95 % interval of the bootstrap over groups):

- place: how much of the field with most evidence is lesion by the experts' outline, and which share of all
  evidence in favour lies on the lesion; beside it the middle field, since lesions lie there, and any field;
- removal: a quarter of the fields is painted with the mean colour of the rest, and the log-odds of the
  diagnosis are asked again: of the fields with most evidence, with least, in the middle, and drawn by lot.

    python benchmarks/evidence_masks.py [--project DIR] [--images 400] [--json FILE]
"""

import argparse
import json
import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dermaflow import outputs, params, sources
from dermaflow.bundle import format as bundle_format
from dermaflow.bundle.run import Runner
from dermaflow.evaluate import intervals, stress
from dermaflow.images import crop
from dermaflow.images.decode import Decoded
from dermaflow.images.prepare import Recipe
from dermaflow.serve.evidence import blended
from dermaflow.train.member import as_rows

Map = NDArray[np.float64]
Pixels = NDArray[np.uint8]

REMOVED = 0.25
"""Share of the fields that is painted over."""
FIELD_PX = 32
"""Side of a field of the mask."""
FIRST: dict[str, Callable[[Map, np.random.Generator], Map]] = {
    "most evidence": lambda evidence, _lot: evidence,
    "least evidence": lambda evidence, _lot: -evidence,
    "middle": lambda evidence, _lot: -from_middle(evidence.shape),
    "by lot": lambda evidence, lot: lot.random(evidence.shape),
}
"""Which fields are removed: those where this is highest."""


def from_middle(shape: tuple[int, ...]) -> Map:
    """Distance of each field from the middle of the square."""
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in shape)
    return np.asarray(np.hypot.outer(rows, columns))


def lesion_in(mask: Path, file: bytes, recipe: Recipe, shape: tuple[int, ...]) -> Map:
    """Share of each field of the square that is lesion, cut out as the image is."""
    pixels = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)
    size = pixels.shape[1::-1]
    lesion = cv2.resize(cv2.imread(str(mask)), size, interpolation=cv2.INTER_NEAREST)
    box = crop.find_box(recipe.crop, Decoded(pixels, *size, 1))
    side = FIELD_PX * max(shape)
    square = crop.cut(recipe.crop, Decoded(lesion, *size, 1), box, side)[..., 0] / 255.0
    return np.asarray(cv2.resize(square, shape[::-1], interpolation=cv2.INTER_AREA))


def place(evidence: Map, lesion: Map) -> dict[str, float]:
    top = np.unravel_index(evidence.argmax(), evidence.shape)
    middle = np.unravel_index(from_middle(evidence.shape).argmin(), evidence.shape)
    favour = np.maximum(evidence, 0)
    return {
        "lesion in the top field": float(lesion[top]),
        "lesion in the middle field": float(lesion[middle]),
        "lesion in any field": float(lesion.mean()),
        "evidence on the lesion": float((favour * lesion).sum() / favour.sum()),
    }


def without(pixels: Pixels, order: Map) -> Pixels:
    """Paint over the fields where `order` is highest."""
    gone = np.zeros(order.size, np.uint8)
    gone[np.argsort(-order.ravel(), kind="stable")[: round(REMOVED * order.size)]] = 1
    side = pixels.shape[1]
    where = cv2.resize(gone.reshape(order.shape), (side, side), interpolation=cv2.INTER_NEAREST) > 0
    painted = pixels.copy()
    painted[0, where] = pixels[0, ~where].mean(axis=0).round()
    return painted


def log_odds(probabilities: Map, index: int) -> float:
    rest = np.delete(probabilities, index).sum()
    return float(np.log(probabilities[index]) - np.log(rest))


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

    lot, found = np.random.default_rng(0), defaultdict(list)
    for name, patient in zip(tqdm(rows.image_ids), rows.patients, strict=True):
        pixels = runner.pixels([files[name]])
        said = runner(pixels, patient[None])
        probabilities = bundle.calibration.probabilities(said.logits)[0]
        best = int(probabilities.argmax())
        evidence = blended(pixels, said.cams, bundle, probabilities).maps[bundle.view.classes[best]]
        lesion = lesion_in(masks / f"{name}_segmentation.png", files[name], recipe, evidence.shape)
        figures = place(evidence, lesion)
        for which, first in FIRST.items():
            order = first(evidence, lot)
            painted = {key: without(value, order) for key, value in pixels.items()}
            after = bundle.calibration.probabilities(runner(painted, patient[None]).logits)[0]
            figures[f"log-odds without {which}"] = log_odds(after, best) - log_odds(probabilities, best)
            figures[f"diagnosis changed without {which}"] = float(after.argmax() != best)
        for figure, value in figures.items():
            found[figure].append(value)

    weights = intervals.resample(chosen.group.to_numpy(), 1000, seed=0)
    summary = {}
    for figure, values in found.items():
        of_each = np.array(values)
        low, high = intervals.interval(intervals.replicate(intervals.mean(of_each), weights))
        summary[figure] = {"images": len(values), "mean": float(of_each.mean()), "low": low, "high": high}
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
        print(f"{figure:42}{row['mean']:8.3f} ({row['low']:.3f} to {row['high']:.3f})  n={row['images']}")
    if asked.json:
        asked.json.write_text(json.dumps(summary, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
