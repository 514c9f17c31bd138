"""The common recipe: files, Pillow, torchvision, torch's DataLoader, float32. Run by train_speed.py.

It imports nothing of dermaflow, so that what `dermaflow.train` sets for torch doesn't help it.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import timm
import torch
from PIL import Image
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

import turns


class Files(Dataset[tuple[torch.Tensor, int]]):
    """What everyone writes first: a file a case, Pillow, a list of transforms."""

    def __init__(self, files: list[Path], targets: list[int], px: int) -> None:
        self.files, self.targets, self.transform = files, targets, common_transforms(px)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.open(self.files[row]).convert("RGB")), self.targets[row]


def common_transforms(px: int) -> transforms.Compose:
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
            kinds.Resize(px),
            kinds.CenterCrop(px),
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


def common(asked: argparse.Namespace) -> Callable[[], int]:
    """Return a function that takes one epoch and returns the number of its images."""
    files = [Path(line) for line in asked.files.read_text(encoding="utf-8").splitlines()]
    network = timm.create_model(asked.backbone, num_classes=asked.classes)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5)
    batches = DataLoader(
        Files(files, [row % asked.classes for row in range(len(files))], asked.px),
        batch_size=asked.batch,
        shuffle=True,
        num_workers=asked.workers,
        drop_last=True,
        persistent_workers=asked.workers > 0,
    )

    def epoch() -> int:
        network.train()
        for image, target in batches:
            optimizer.zero_grad()
            loss = cross_entropy(network(image), target)
            loss.backward()
            optimizer.step()
            loss.item()
        return len(batches) * asked.batch

    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=Path, required=True, help="a file of image files, one a line")
    parser.add_argument("--backbone", required=True)
    for name in ("classes", "px", "batch", "workers", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(7)
    turns.take(common(asked))


if __name__ == "__main__":
    main()
