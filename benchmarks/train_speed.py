"""Our training loop beside the bare step and beside the common recipe, in one run on the same images.

    python benchmarks/train_speed.py [--isic ../shared/isic] [--images 192] [--rounds 3] [--json FILE]

Lite0 at 160 px, all sixteen augmentations with the chances of presets/paper.yaml. Ours is `TrainBatches` and
`Fitting.one_epoch`: Arrow shards, augmentation in processes, clipping, weight averaging, progress. The bare
step is forward, backward and update of the same network on one batch that never changes. The common recipe
decodes the JPEG files with Pillow, augments with torchvision, and trains in float32 with torch's DataLoader
and as many processes (common_recipe.py). Each is a process of its own, so that what `dermaflow.train` sets
for torch's threads and memory does not help the common recipe; they take turns, and whoever waits is idle.
Figures are medians over the rounds, ratios are taken within a round.
`of_bare_step` and `times_common_recipe` are those of the worse batch size.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import albumentations
import cv2
import numpy as np
import torch
from torch.nn.functional import cross_entropy

from dermaflow import params
from dermaflow.images import store
from dermaflow.images.prepare import Recipe
from dermaflow.model.network import build
from dermaflow.model.params import ModelParams
from dermaflow.sources import Source, open_source
from dermaflow.train import loop, machine
from dermaflow.train.augment import Augment
from dermaflow.train.batches import TrainBatches
from dermaflow.train.params import AugmentParams
from dermaflow.train.sampling import Rows, Sampling, natural_prior
from turns import Turns, take

PART = ("2018", {"train": ["ISIC2018_Task3_Training_Input"]})
BACKBONE, CLASSES, PX = "tf_efficientnet_lite0", 7, 160
SIXTEEN = params.load(AugmentParams, file=Path(__file__).parents[1] / "presets" / "paper.yaml")


def ours(asked: argparse.Namespace, batch: int) -> Callable[[], int]:
    """Return a function that takes one epoch with our loop."""
    batches = our_batches(asked, batch, asked.workers)
    model = ModelParams(backbone=BACKBONE, stored_px=PX, input_px=PX, epochs=1000)
    network = build(model, CLASSES)
    even, nothing = np.ones(CLASSES), np.zeros((1, CLASSES))
    fitting = loop.Fitting.start(network, machine.accelerate("auto"), model, batches.steps, even, nothing)

    def epoch() -> int:
        with machine.reproducible(asked.threads):
            fitting.one_epoch(batches, progress="")
        fitting.epoch += 1
        return batches.steps * batch

    return epoch


def our_batches(asked: argparse.Namespace, batch: int, workers: int) -> TrainBatches:
    """Return batches of the shards that the first process wrote."""
    reader = store.ShardReader(asked.shards, ["2018"])
    ids = tuple(reader.ids)
    targets, centres = np.arange(len(ids)) % CLASSES, np.zeros(len(ids), np.int64)
    rows = Rows(ids, np.zeros((len(ids), 11), np.float32), targets, centres)
    augment = Augment(SIXTEEN)
    return TrainBatches(
        rows,
        reader,
        augment,
        drawn_images=len(ids),
        batch=batch,
        sampling=Sampling(targets, natural_prior(targets, CLASSES)),
        seed=7,
        workers=workers,
        px_in=lambda _epoch: PX,
    )


def bare(asked: argparse.Namespace, batch: int) -> Callable[[], int]:
    """Return a function that takes as many steps on one batch and does nothing else."""
    accelerator = machine.accelerate("auto")
    network = build(ModelParams(backbone=BACKBONE, stored_px=PX, input_px=PX), CLASSES)
    network = network.to(accelerator.device, memory_format=torch.channels_last).train()
    batches = our_batches(asked, batch, workers=0)
    image, patient, target, _ = (part.to(accelerator.device) for part in next(batches.epoch(0)))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5)

    def epoch() -> int:
        for _ in range(batches.steps):
            with accelerator.autocast():
                loss = cross_entropy(network(image, patient).logits, target)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        loss.item()
        return batches.steps * batch

    return epoch


OURS = {"ours": ours, "bare": bare}


def alone(settings: AugmentParams, images: list[np.ndarray]) -> float:
    """Return milliseconds of one core an image."""
    augment = Augment(settings)
    augment(images[0], 1, 0, 0)
    start = time.process_time()
    for draw, pixels in enumerate(images):
        augment(pixels, 1, 0, draw)
    return 1000 * (time.process_time() - start) / len(images)


def augmentations(images: list[np.ndarray]) -> Iterator[tuple[str, float]]:
    """Yield each augmentation's own cost: ms an image where it is applied, beyond none at all."""
    names = list(AugmentParams.model_fields)
    off = {name: {**getattr(SIXTEEN, name).model_dump(), "p": 0.0} for name in names}
    nothing = alone(AugmentParams.model_validate(off), images)
    yield "(none: seeding and call)", nothing
    for name in names:
        always = {**off, name: {**off[name], "p": 1.0}}
        yield name, alone(AugmentParams.model_validate(always), images) - nothing


def elastic_forms(images: list[np.ndarray]) -> Iterator[tuple[str, float, float, float]]:
    """Yield of the exact and the fast form its name, ms, and means of grey levels and of pixels moved."""
    given = {
        "alpha": SIXTEEN.elastic.alpha,
        "sigma": SIXTEEN.elastic.sigma,
        "border_mode": cv2.BORDER_REFLECT_101,
    }
    coords = np.meshgrid(np.arange(PX), np.arange(PX))[0]
    for name, fast in (("exact", False), ("fast", True)):
        form = albumentations.ElasticTransform(**given, approximate=fast, same_dxdy=fast, p=1)
        form.set_random_seed(1)
        start = time.process_time()
        changed = [np.abs(form(image=pixels)["image"].astype(int) - pixels).mean() for pixels in images]
        spent = 1000 * (time.process_time() - start) / len(images)
        field = form.get_params_dependent_on_data({"shape": images[0].shape}, {})["map_x"] - coords
        yield name, spent, float(np.mean(changed)), float(np.abs(field).mean())


def arguments(asked: argparse.Namespace, batch: int) -> list[str]:
    """Return what a process of our own is asked for."""
    same = [f"--{key}={getattr(asked, key)}" for key in ("isic", "images", "workers", "threads", "shards")]
    return [*same, f"--batches={batch}"]


def common_recipe(asked: argparse.Namespace, batch: int) -> list[str]:
    """Return the command of the common recipe on the same images."""
    source, files = listed(asked), asked.shards / "files.txt"
    files.write_text("".join(f"{source.root / entry.file}\n" for entry in source.entries), encoding="utf-8")
    return [
        str(Path(__file__).with_name("common_recipe.py")),
        *(f"--files={files}", f"--backbone={BACKBONE}", f"--classes={CLASSES}", f"--px={PX}"),
        *(f"--batch={batch}", f"--workers={asked.workers}", f"--threads={asked.threads}"),
    ]


def measure(asked: argparse.Namespace) -> dict[str, float]:
    figures: dict[str, float] = {}
    plain = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"}
    for batch in asked.batches:
        how = {name: ([__file__, f"--only={name}", *arguments(asked, batch)], os.environ) for name in OURS}
        how["common"] = (common_recipe(asked, batch), plain)
        with ExitStack() as running:
            variants = {name: running.enter_context(Turns(*start)) for name, start in how.items()}
            found = [{name: one.rate() for name, one in variants.items()} for _ in range(asked.rounds)]
        rates = {name: np.array([one[name] for one in found]) for name in variants}
        figures |= {f"{name}_images_per_s_{batch}": float(np.median(rate)) for name, rate in rates.items()}
        figures[f"of_bare_step_{batch}"] = float(np.median(rates["ours"] / rates["bare"]))
        figures[f"times_common_recipe_{batch}"] = float(np.median(rates["ours"] / rates["common"]))
    for name in ("of_bare_step", "times_common_recipe"):
        figures[name] = min(figures[f"{name}_{batch}"] for batch in asked.batches)
    return figures


def listed(asked: argparse.Namespace) -> Source:
    """Return some of the training images of 2018, evenly chosen."""
    published = open_source(asked.isic / PART[0], PART[1])
    chosen = published.entries[:: max(1, len(published) // asked.images)][: asked.images]
    return Source(published.root, chosen)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--isic", type=Path, default=Path("../shared/isic"))
    parser.add_argument("--images", type=int, default=192, help="of a round and variant")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, nargs="+", default=(32, 64))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", choices=OURS, help=argparse.SUPPRESS)
    parser.add_argument("--shards", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.only:
        torch.set_num_threads(asked.threads)
        torch.manual_seed(7)
        take(OURS[asked.only](asked, asked.batches[0]))
        return

    with tempfile.TemporaryDirectory() as home:
        asked.shards = Path(home) / str(PX)
        source, recipe = listed(asked), Recipe("center", PX, PX, 256, 95, 10**9)
        ids = [entry.image_id for entry in source.entries]
        (asked.shards / "2018").mkdir(parents=True)
        store.write_shards(source, ids, recipe, asked.shards / "2018", workers=asked.workers, progress=False)
        computed = machine.described("auto", asked.threads)
        print(", ".join(f"{key} {value}" for key, value in computed.items()), flush=True)
        figures = measure(asked)

        cv2.setNumThreads(0)
        reader = store.ShardReader(asked.shards, ["2018"])
        images = [reader.pixels(image_id, PX) for image_id in ids[:200]]
    print("ms of one core an image, where applied:")
    for name, cost in augmentations(images):
        print(f"  {name:28}{cost:8.2f}")
    print("elastic: ms, grey levels changed, pixels moved (means)")
    for form, *told in elastic_forms(images):
        print(f"  {form:28}" + "".join(f"{value:8.3f}" for value in told))
    figures["augmentations_images_per_s"] = 1000 / alone(SIXTEEN, images)
    for name, value in figures.items():
        print(f"{name:34}{value:10.3f}")
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
