"""Logits and features of images, as the service takes them: means over the test-time views, but `middle`."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dermaflow.bundle.apply import dihedral_views
from dermaflow.model.network import Network
from dermaflow.train.batches import Reader, plain_batches
from dermaflow.train.sampling import Rows

Floats = NDArray[np.float32]

KEPT: Final = ("logits", "plain_logits", "features", "middle")


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
        logits and plain_logits (n, classes), features (n, width), each the mean over the views; middle (n,
        channels), of the untouched view.
    """
    unknown = np.full(len(image_ids), -1, np.int64)
    rows = Rows(tuple(image_ids), patients, unknown, centres=unknown)
    was_training = network.training
    network.eval()
    parts: list[list[Tensor]] = [[] for _ in KEPT]
    with (
        torch.inference_mode(),
        torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False),
    ):
        for image, patient, *_ in plain_batches(rows, reader, input_px, batch, workers):
            for part, said in zip(parts, _over_views(network, image, patient, views), strict=True):
                part.append(said)
        if not len(rows):  # no case, but all columns
            blank = (
                torch.zeros(1, input_px, input_px, 3, dtype=torch.uint8),
                torch.zeros(1, patients.shape[1]),
            )
            parts = [[said[:0]] for said in _over_views(network, *blank, views=1)]
    network.train(was_training)
    return {name: torch.cat(part).numpy() for name, part in zip(KEPT, parts, strict=True)}


def _over_views(network: Network, image: Tensor, patient: Tensor, views: int) -> list[Tensor]:
    device = network.head.weight.device
    known = patient.to(device)
    outputs = [
        network(torch.from_numpy(view).to(device), known) for view in dihedral_views(image.numpy(), views)
    ]
    means = [torch.stack([getattr(out, name) for out in outputs]).mean(dim=0) for name in KEPT[:-1]]
    return [said.float().cpu() for said in (*means, outputs[0].middle)]
