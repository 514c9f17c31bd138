"""An entry script: one epoch of the real loop, of which each process writes its images and losses.

    [torchrun --nproc-per-node 2] two_processes.py FOLDER BACKBONE

Batch-norm statistics are frozen and dropout is off, because both depend on how a batch is shared out.
"""

import json
import sys
from pathlib import Path

import torch
from timm.layers import freeze_batch_norm_2d

from conftest import FakeReader, made_rows
from dermaflow.model.network import build
from dermaflow.model.params import ModelParams
from dermaflow.train import loop, machine
from dermaflow.train.params import AugmentParams, TrainParams

TRAINED = 128


class NotingReader(FakeReader):
    """Notes whose pixels it was asked for."""

    def __init__(self):
        self.asked = []

    def pixels(self, image_id, input_px):
        self.asked.append(image_id)
        return super().pixels(image_id, input_px)


def train(backbone):
    """Return this process' images and losses of one epoch, the history, and the weights' digest."""
    model = ModelParams(
        backbone=backbone, weights="none", stored_px=32, input_px=32, epochs=1, sampler_power=0,
        dropout=0, patient_drop=0, class_weights="balanced", lr=0.003, warmup_share=0,
    )  # fmt: skip
    train = TrainParams(batch=16, threads=1, precision="float32")
    with machine.reproducible(1):
        torch.manual_seed(7)
        network = build(model, 3)
    network.backbone = freeze_batch_norm_2d(network.backbone)
    reader, losses, told, real = NotingReader(), [], [], loop.Fitting.one_step

    def noted(self, batch):
        losses.append(real(self, batch))
        return losses[-1]

    loop.Fitting.one_step = noted
    try:
        fitted = loop.fit(
            network, made_rows(TRAINED), made_rows(13, TRAINED), reader, classes=("MEL", "NV", "BCC"),
            model=model, train=train, augment=AugmentParams(), workers=0, on_epoch=told.append,
        )  # fmt: skip
    finally:
        loop.Fitting.one_step = real
    weights = torch.cat([value.flatten().double() for value in fitted.network.state_dict().values()])
    seen = [image_id for image_id in reader.asked if int(image_id[1:]) < TRAINED]
    return {
        "seen": seen,
        "validated": sorted(set(reader.asked) - set(seen)),
        "losses": losses,
        "history": fitted.history,
        "told": len(told),
        "weights": float(weights.abs().sum()),
    }


if __name__ == "__main__":
    found = train(sys.argv[2])
    rank = 0 if machine.is_first() else 1
    (Path(sys.argv[1]) / f"{rank}.json").write_text(json.dumps(found))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
