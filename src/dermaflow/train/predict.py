"""Logits and features of images, each the mean over the test-time views, as the service takes them."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dermaflow.bundle.apply import dihedral_views
from dermaflow.model.network import Network
from dermaflow.train.batches import Reader, Rows, plain_batches

Floats = NDArray[np.float32]

KEPT: Final = ("logits", "plain_logits", "features")


def predict(
    network: Network,
    reader: Reader,
    image_ids: Sequence[str],
    patients: Floats,
    *,
    input_px: int,
    views: int,
    batch: int,
    workers: int = 0,
) -> dict[str, Floats]:
    """Run the network in float32, whatever precision it was trained in.

    Args:
        network: left in the mode in which it comes.
        reader: pixels by id.
        image_ids: n ids.
        patients: shape (n, 11).
        input_px: side of the images.
        views: 1, 4 or 8, as in `bundle.apply.dihedral_views`.
        batch: images at a time, each in all its views.
        workers: processes that load.

    Returns:
        logits and plain_logits (n, classes), features (n, width).
    """
    unknown = np.full(len(image_ids), -1, np.int64)
    rows = Rows(tuple(image_ids), patients, unknown, centres=unknown)
    classes = network.head.out_features
    if not len(rows):
        widths = (classes, classes, network.width)
        return {name: np.zeros((0, width), np.float32) for name, width in zip(KEPT, widths, strict=True)}
    was_training = network.training
    network.eval()
    parts: list[list[Tensor]] = [[] for _ in KEPT]
    with (
        torch.inference_mode(),
        torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False),
    ):
        for image, patient, *_ in plain_batches(rows, reader, input_px, batch, workers):
            for part, mean in zip(parts, _mean_over_views(network, image, patient, views), strict=True):
                part.append(mean)
    network.train(was_training)
    return {name: torch.cat(part).numpy() for name, part in zip(KEPT, parts, strict=True)}


def _mean_over_views(network: Network, image: Tensor, patient: Tensor, views: int) -> list[Tensor]:
    device = network.head.weight.device
    known = patient.to(device)
    outputs = [
        network(torch.from_numpy(view).to(device), known) for view in dihedral_views(image.numpy(), views)
    ]
    return [torch.stack([getattr(out, name) for out in outputs]).mean(dim=0).float().cpu() for name in KEPT]
