"""One member from tables to folder: train a model on all folds but one, predict that one and the hold-out.

Called by stage train@{model}-{fold}; `load_member` by stage bundle. The hold-out's diagnoses are not in
`cases` and not needed here.

The folder holds weights.safetensors, config.json (all that rebuilds the network), history.csv, curves.png,
metrics.json and predictions.parquet. None of it holds a time, a speed or a path.
"""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from dermaflow import outputs
from dermaflow.errors import DataError, TrainingError, first_ten
from dermaflow.impute.apply import Filled, vectors
from dermaflow.model.network import Network, build
from dermaflow.model.params import ModelParams
from dermaflow.taxonomy import VIEWS, View
from dermaflow.train.batches import Reader, telling_lost_workers
from dermaflow.train.curves import plot
from dermaflow.train.loop import Fitted, fit
from dermaflow.train.machine import is_first, reproducible
from dermaflow.train.params import AugmentParams, TrainParams
from dermaflow.train.predict import predict
from dermaflow.train.sampling import Rows

WEIGHTS = "weights.safetensors"
CONFIG = "config.json"


@dataclass(frozen=True)
class Trained:
    """One trained member, before it is written.

    Attributes:
        fitted: network, history, priors.
        config: all that rebuilds it.
        predictions: as outputs.predictions.
    """

    fitted: Fitted
    config: dict[str, Any]
    predictions: pd.DataFrame

    @property
    def metrics(self) -> dict[str, Any]:
        """Figures of the best epoch, chosen on the same fold that they are taken from."""
        best = self.fitted.history[self.fitted.best_epoch - 1]
        kept = {name: value for name, value in best.items() if name not in ("epoch", "lr")}
        return {
            "best_epoch": self.fitted.best_epoch,
            "epochs": len(self.fitted.history),
            "note": "out of fold, one view; the epoch was chosen on the same fold",
            "best": kept,
        }


@telling_lost_workers()
def train_member(
    *,
    cases: pd.DataFrame,
    patients: pd.DataFrame,
    reader: Reader,
    view: View,
    model: ModelParams,
    train: TrainParams,
    augment: AugmentParams,
    fold: int,
    workers: int = 2,
    checkpoint_dir: Path | None = None,
    on_epoch: Callable[[dict[str, Any]], None] = lambda _record: None,
) -> Trained:
    """Train one model on all folds but `fold`, with early stopping on `fold`.

    Args:
        cases: outputs.cases.
        patients: outputs.patients.
        reader: pixels by id, of `model.stored_px`.
        view: the labels to learn; images whose diagnosis it leaves out are not used.
        model: one entry of `models`.
        train: section `train`.
        augment: section `augment`.
        fold: the one that is not trained on.
        workers: processes that load and augment; any number gives the same bytes.
        checkpoint_dir: keyed by the caller with `resume.key`, who removes it when it is needed no more.
        on_epoch: told each epoch's record.

    Returns:
        The member with its predictions of every labelled image of the fold and of every hold-out image; of
        none in torchrun's further processes, which only train along.

    Raises:
        TrainingError: see `loop.fit`; or a loading process is gone.
        DataError: a case has no patient row.
    """
    learned = labelled(cases, view)
    in_fold = learned.fold == fold
    training, validation = (as_rows(learned[mask], patients, view) for mask in (~in_fold, in_fold))
    with reproducible(train.threads):
        torch.manual_seed(train.seed)
        network = build(model, len(view.classes))
    fitted = fit(
        network,
        training,
        validation,
        reader,
        classes=view.classes,
        model=model,
        train=train,
        augment=augment,
        workers=workers,
        checkpoint_dir=checkpoint_dir,
        on_epoch=on_epoch,
    )
    hold_out = as_rows(cases[cases.split == "hold_out"], patients, None)
    part = slice(None) if is_first() else slice(0)
    frames = [
        predictions(
            fitted.network,
            rows.take(part),
            split,
            reader,
            view=view,
            model=model,
            train=train,
            workers=workers,
        )
        for split, rows in (("out_of_fold", validation), ("hold_out", hold_out))
    ]
    return Trained(fitted, config(fitted, view, model, train, fold), pd.concat(frames, ignore_index=True))


def labelled(cases: pd.DataFrame, view: View) -> pd.DataFrame:
    """Training rows whose diagnosis is in the view."""
    train = cases[cases.split == "train"]
    known = [isinstance(code, str) and view.target(code) is not None for code in train.diagnosis]
    return train[np.array(known, bool)]


def as_rows(cases: pd.DataFrame, patients: pd.DataFrame, view: View | None) -> Rows:
    """Cases and their filled patient data as arrays; without a view the targets are -1.

    Raises:
        DataError: a case has no patient row.
    """
    filled = patients.set_index("image_id").reindex(cases.image_id)
    absent = filled.index[filled.age_missing.isna()]
    if len(absent):
        raise DataError(
            f"{len(absent)} cases have no patient row: {first_ten(absent)}",
            outputs.patients.file,
            "Run `dvc repro impute`.",
        )
    fields = zip(filled.age_years, filled.sex, filled.site, strict=True)
    flags = filled[["age_missing", "sex_missing", "site_missing"]].to_numpy(bool)
    names = np.array(["age", "sex", "site"])
    vector = vectors(
        [
            Filled(float(age), str(sex), str(site), tuple(names[missing]))
            for (age, sex, site), missing in zip(fields, flags, strict=True)
        ]
    )
    targets = [-1 if view is None else view.target(code) for code in cases.diagnosis]
    centres, names = pd.factorize(np.asarray(cases.centre, object), sort=True)
    numbers = np.array(targets, np.int64), centres.astype(np.int64)
    return Rows(tuple(cases.image_id), vector, *numbers, centre_names=tuple(names))


def predictions(
    network: Network,
    rows: Rows,
    split: str,
    reader: Reader,
    *,
    view: View,
    model: ModelParams,
    train: TrainParams,
    workers: int = 2,
) -> pd.DataFrame:
    """Predict rows in all test-time views: a frame as outputs.predictions declares it."""
    with reproducible(train.threads):
        found = predict(
            network,
            reader,
            rows.image_ids,
            rows.patients,
            input_px=model.input_px,
            views=train.views,
            batch=train.batch,
            workers=workers,
        )
    columns: dict[str, Any] = {
        "image_id": list(rows.image_ids),
        "split": split,
        "features": list(found["features"]),
        "middle": list(found["middle"]),
    }
    for prefix, name in (("logit", "logits"), ("plain", "plain_logits")):
        columns |= {f"{prefix}_{code}": found[name][:, index] for index, code in enumerate(view.classes)}
    return pd.DataFrame(columns)


def config(fitted: Fitted, view: View, model: ModelParams, train: TrainParams, fold: int) -> dict[str, Any]:
    """Return all that rebuilds the member and makes probabilities of its logits."""
    return {
        "model": model.model_dump(mode="json"),
        "view": view.name,
        "classes": list(view.classes),
        "fold": fold,
        "views": train.views,
        "best_epoch": fitted.best_epoch,
        "natural_prior": shares(fitted.natural),
        "learned_prior": shares(fitted.learned),
        "learned_by_centre": {name: shares(learned) for name, learned in fitted.by_centre.items()},
    }


def shares(prior: NDArray[np.float64]) -> list[float]:
    """A prior as plain numbers."""
    return [float(share) for share in prior]


def write_member(trained: Trained, folder: Path) -> None:
    """Write all files of a member into an empty folder (see `outputs.replacing`)."""
    state = {name: value.cpu().contiguous() for name, value in trained.fitted.network.state_dict().items()}
    save_file(state, folder / WEIGHTS)
    _json(folder / CONFIG, trained.config)
    _json(folder / "metrics.json", trained.metrics)
    history = trained.fitted.history
    with (folder / "history.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, fieldnames=list(history[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(history)
    plot(history, trained.fitted.best_epoch, folder / "curves.png")
    frame = outputs.predictions.check(trained.predictions)
    frame.to_parquet(folder / "predictions.parquet", index=False, compression="zstd")


def load_member(folder: Path) -> tuple[Network, dict[str, Any]]:
    """Read a member: its network in eval mode, and config.json.

    Raises:
        TrainingError: a file is missing or does not fit.
    """
    remedy = "Run `dvc repro`, which makes the folder."
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).exists():
            raise TrainingError(f"no {name} there", f"{folder.parent.name}/{folder.name}", remedy)
    try:
        found: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        model, classes = ModelParams.model_validate(found["model"]), len(VIEWS[found["view"]].classes)
    except (ValueError, KeyError, TypeError) as error:  # pydantic's are ValueErrors
        why = f"{CONFIG} is damaged, or of another version ({type(error).__name__})"
        raise TrainingError(why, folder.name, remedy) from None
    network = build(model, classes, pretrained=False)
    try:
        network.load_state_dict(load_file(folder / WEIGHTS), strict=True)
    except (RuntimeError, SafetensorError) as error:
        raise TrainingError(f"{WEIGHTS} does not fit {CONFIG}: {error}", folder.name, remedy) from None
    return network.eval(), found


def _json(target: Path, value: dict[str, Any]) -> None:
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    target.write_text(text + "\n", encoding="utf-8")
