"""A contact sheet of what the network is shown: training images before and after augmentation."""

from pathlib import Path
from typing import Final

import pandas as pd

from dermaflow.images.contact import contact_sheet
from dermaflow.taxonomy import View
from dermaflow.train.augment import Augment
from dermaflow.train.batches import Reader
from dermaflow.train.loop import require_images
from dermaflow.train.member import labelled

IMAGES: Final = 6
DRAWS: Final = 6


def augmented(
    reader: Reader,
    cases: pd.DataFrame,
    view: View,
    fold: int,
    augment: Augment,
    *,
    input_px: int,
    seed: int,
    out: Path,
) -> None:
    """Write the sheet: an image a line, as stored and in its draws of the first epochs.

    Args:
        reader: the stored images.
        cases: outputs.cases.
        view: the labels to learn.
        fold: the one that is not trained on; of the other images some, evenly chosen, are shown.
        augment: as in training.
        input_px: side of the images.
        seed: train.seed.
        out: a .png file.

    Raises:
        TrainingError: there are no images to train on.
    """
    learned = labelled(cases, view)
    image_ids = list(learned.image_id[learned.fold != fold])
    require_images("training", len(image_ids))
    step = max(1, len(image_ids) // IMAGES)
    rows, titles = [], []
    for place, image_id in enumerate(image_ids[::step][:IMAGES]):
        pixels = reader.pixels(image_id, input_px)
        rows.append([pixels, *(augment(pixels, seed, epoch, place) for epoch in range(DRAWS))])
        titles.append(f"{image_id}: as stored, and in {DRAWS} draws")
    contact_sheet(rows, titles, out)
