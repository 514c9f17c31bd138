"""Our training loop beside the bare step and beside the common recipe, in one run on the same images.

    python benchmarks/train_speed.py [--isic ../shared/isic] [--images 384] [--rounds 5] [--json FILE]

Lite0 at 160 px, all sixteen augmentations with the chances of presets/paper.yaml. Ours is `TrainBatches` and
`Fitting.one_epoch`: Arrow shards, augmentation in processes, clipping, weight averaging, progress. The bare
step is forward, backward and update of the same network on one batch that never changes. The common recipe
decodes the JPEG files with Pillow, augments with torchvision, and trains in float32 with torch's DataLoader
and as many processes. All three take turns; figures are medians over the rounds, ratios are taken within a
round. `of_bare_step` and `times_common_recipe` are those of the worse batch size.
"""

import argparse
import copy
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import albumentations
import cv2
import numpy as np
import timm
import torch
from PIL import Image
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from dermaflow import params
from dermaflow.images import store
from dermaflow.images.prepare import Recipe
from dermaflow.model.network import Network, build
from dermaflow.model.params import ModelParams
from dermaflow.sources import Source, open_source
from dermaflow.train import loop, machine
from dermaflow.train.augment import Augment
from dermaflow.train.batches import Batch, Rows, TrainBatches
from dermaflow.train.params import AugmentParams

PART = ("2018", {"train": ["ISIC2018_Task3_Training_Input"]})
BACKBONE, CLASSES, PX = "tf_efficientnet_lite0", 7, 160
SIXTEEN = params.load(AugmentParams, file=Path(__file__).parents[1] / "presets" / "paper.yaml")


def ours(rows: Rows, reader: store.ShardReader, network: Network, asked: argparse.Namespace, batch: int):
    """Return a function that takes one epoch with our loop, and a batch as it comes."""
    model = ModelParams(backbone=BACKBONE, stored_px=PX, input_px=PX, epochs=1000, sampler_power=0)
    batches = TrainBatches(
        rows,
        reader,
        Augment(SIXTEEN, PX),
        drawn_images=len(rows),
        batch=batch,
        power=0,
        seed=7,
        workers=asked.workers,
    )
    accelerator = machine.accelerate("auto")
    fitting = loop.Fitting.start(copy.deepcopy(network), accelerator, model, batches.steps, np.ones(CLASSES))

    def epoch() -> int:
        fitting.one_epoch(batches, progress="")
        fitting.epoch += 1
        return batches.steps * batch

    epoch()  # starts the processes
    return epoch, next(batches.epoch(0))


def bare(network: Network, fixed: Batch, images: int) -> Callable[[], int]:
    """Return a function that takes as many steps on one batch and does nothing else."""
    accelerator = machine.accelerate("auto")
    network = copy.deepcopy(network).to(accelerator.device, memory_format=torch.channels_last).train()
    image, patient, target = (part.to(accelerator.device) for part in fixed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5)

    def epoch() -> int:
        steps = images // len(target)
        for _ in range(steps):
            with accelerator.autocast():
                loss = cross_entropy(network(image, patient).logits, target)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        loss.item()
        return steps * len(target)

    return epoch


class Files(Dataset[tuple[torch.Tensor, int]]):
    """What everyone writes first: a file a case, Pillow, a list of transforms."""

    def __init__(self, files: list[Path], targets: list[int]) -> None:
        self.files, self.targets, self.transform = files, targets, common_transforms()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.open(self.files[row]).convert("RGB")), self.targets[row]


def common_transforms() -> transforms.Compose:
    """Return torchvision's nearest to our sixteen, with the same chances.

    Elastic deformation has torchvision's own smoothing of 5 pixels: with our 50 it takes far longer.
    """
    some, kinds = transforms.RandomApply, transforms
    blurs = kinds.RandomChoice([kinds.GaussianBlur(3), kinds.GaussianBlur(5)])
    warps = kinds.RandomChoice(
        [kinds.RandomPerspective(0.2, p=1), kinds.RandomPerspective(0.4, p=1), kinds.ElasticTransform(50.0)]
    )
    return kinds.Compose(
        [
            kinds.Resize(PX),
            kinds.CenterCrop(PX),
            some([kinds.RandomRotation((90, 90))], p=0.5),
            kinds.RandomHorizontalFlip(),
            kinds.RandomVerticalFlip(),
            some([kinds.RandomRotation(90)], p=0.5),
            some([kinds.ColorJitter(brightness=0.2)], p=0.75),
            some([kinds.ColorJitter(contrast=0.2)], p=0.75),
            some([blurs], p=0.7),
            some([warps], p=0.7),
            kinds.RandomEqualize(p=0.7),
            some([kinds.ColorJitter(hue=0.05, saturation=0.08)], p=0.5),
            some([kinds.RandomAffine(15, translate=(0.1, 0.1), scale=(0.9, 1.1))], p=0.85),
            kinds.ToTensor(),
            kinds.Normalize([0.5] * 3, [0.5] * 3),
            kinds.RandomErasing(p=0.7, scale=(0.14, 0.14), ratio=(1, 1)),
        ]
    )


def common(files: list[Path], targets: list[int], workers: int, batch: int) -> Callable[[], int]:
    """Return a function that takes one epoch of the common recipe."""
    network = timm.create_model(BACKBONE, num_classes=CLASSES)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5)
    batches = DataLoader(
        Files(files, targets),
        batch_size=batch,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        persistent_workers=workers > 0,
    )

    def epoch() -> int:
        network.train()
        for image, target in batches:
            optimizer.zero_grad()
            loss = cross_entropy(network(image), target)
            loss.backward()
            optimizer.step()
            loss.item()
        return len(batches) * batch

    epoch()
    return epoch


def take_turns(variants: dict[str, Callable[[], int]], rounds: int) -> dict[str, np.ndarray]:
    """Return images/s of each variant in each round."""
    rates: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, run in variants.items():
            start = time.perf_counter()
            images = run()
            rates[name].append(images / (time.perf_counter() - start))
    return {name: np.array(found) for name, found in rates.items()}


def alone(settings: AugmentParams, images: list[np.ndarray]) -> float:
    """Return milliseconds of one core an image."""
    augment = Augment(settings, PX)
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


def measure(asked: argparse.Namespace, source: Source, reader: store.ShardReader) -> dict[str, float]:
    chance = np.random.default_rng(0)
    ids = tuple(entry.image_id for entry in source.entries)
    targets = chance.integers(0, CLASSES, len(ids))
    rows = Rows(ids, np.zeros((len(ids), 11), np.float32), targets)
    files = [source.root / entry.file for entry in source.entries]
    torch.manual_seed(7)
    network = build(ModelParams(backbone=BACKBONE, stored_px=PX, input_px=PX), CLASSES)

    figures: dict[str, float] = {}
    for batch in asked.batches:
        epoch, fixed = ours(rows, reader, network, asked, batch)
        variants = {
            "ours": epoch,
            "bare": bare(network, fixed, len(rows)),
            "common": common(files, targets.tolist(), asked.workers, batch),
        }
        rates = take_turns(variants, asked.rounds)
        figures |= {f"{name}_images_per_s_{batch}": float(np.median(rate)) for name, rate in rates.items()}
        figures[f"of_bare_step_{batch}"] = float(np.median(rates["ours"] / rates["bare"]))
        figures[f"times_common_recipe_{batch}"] = float(np.median(rates["ours"] / rates["common"]))
    for name in ("of_bare_step", "times_common_recipe"):
        figures[name] = min(figures[f"{name}_{batch}"] for batch in asked.batches)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--isic", type=Path, default=Path("../shared/isic"))
    parser.add_argument("--images", type=int, default=384, help="of a round and variant")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=(32, 64))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()

    published = open_source(asked.isic / PART[0], PART[1])
    source = Source(
        published.root, published.entries[:: max(1, len(published) // asked.images)][: asked.images]
    )
    with tempfile.TemporaryDirectory() as home, machine.reproducible(asked.threads):
        folder = Path(home) / str(PX) / "2018"
        folder.mkdir(parents=True)
        ids = [entry.image_id for entry in source.entries]
        recipe = Recipe("center", PX, PX, 256, 95, 10**9)
        store.write_shards(source, ids, recipe, folder, workers=asked.workers, progress=False)
        reader = store.ShardReader(folder.parent, ["2018"])
        computed = machine.described("auto", asked.threads)
        print(", ".join(f"{key} {value}" for key, value in computed.items()))
        figures = measure(asked, source, reader)

        threads = cv2.getNumThreads()
        cv2.setNumThreads(0)
        images = [reader.pixels(image_id, PX) for image_id in ids[:200]]
        print("\nms of one core an image, where applied:")
        for name, cost in augmentations(images):
            print(f"  {name:28}{cost:8.2f}")
        print("elastic: ms, grey levels changed, pixels moved")
        for form, *found in elastic_forms(images):
            print(f"  {form:28}" + "".join(f"{value:8.3f}" for value in found))
        figures["augmentations_images_per_s"] = 1000 / alone(SIXTEEN, images)
        cv2.setNumThreads(threads)
    for name, value in figures.items():
        print(f"{name:34}{value:10.3f}")
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
