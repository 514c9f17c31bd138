"""Fit one network: draw, step, average, validate, keep the best, stop early, resume.

Reads top to bottom: `fit` is the story, `Fitting` holds what an epoch changes, `check` says beforehand what
can't be trained. Called by `train.member`.

With several processes (torchrun) each takes its share of every batch. They hold the same weights, and the
gradient is that of the whole batch; so the losses are those of one process, but for what each draws or takes
for its own share: dropout, left-out patient data, batch-norm statistics.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, broadcast_object_list
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from dermaflow.errors import TrainingError
from dermaflow.model.network import Network, stages
from dermaflow.model.params import ModelParams
from dermaflow.train import monitor, resume
from dermaflow.train.augment import Augment
from dermaflow.train.batches import Batch, Reader, TrainBatches
from dermaflow.train.machine import accelerate, epoch_seed, precision_name, reproducible
from dermaflow.train.params import AugmentParams, TrainParams
from dermaflow.train.predict import predict
from dermaflow.train.sampling import (
    Rows,
    Sampling,
    class_weights,
    learned_by_centre,
    learned_prior,
    log_priors,
    natural_prior,
)

Record = dict[str, float | int | None]
"""One epoch: epoch (from 1), lr, train_loss and the figures of `monitor`."""

_CALM: Final = "Lower models.<name>.lr, set clip_grad, or train in float32."


@dataclass
class Fitted:
    """What training found.

    Attributes:
        network: with the best weights, where it was trained (the GPU, if there is one), in eval mode.
        history: a record an epoch, without timings.
        best_epoch: from 1.
        natural: class shares of the training rows.
        learned: class shares that the logits carry, by sampler and class weights.
        by_centre: the same on images of one centre, by its name.
    """

    network: Network
    history: list[Record]
    best_epoch: int
    natural: monitor.Floats
    learned: monitor.Floats
    by_centre: dict[str, monitor.Floats]


def fit(
    network: Network,
    training: Rows,
    validation: Rows,
    reader: Reader,
    *,
    classes: tuple[str, ...],
    model: ModelParams,
    train: TrainParams,
    augment: AugmentParams,
    workers: int = 2,
    checkpoint_dir: Path | None = None,
    on_epoch: Callable[[dict[str, Any]], None] = lambda _record: None,
) -> Fitted:
    """Train until the epochs are done or the monitored figure has not risen for `patience` epochs.

    Args:
        network: freshly built.
        training: rows to learn from, all with a target.
        validation: the fold that says when to stop, all with a target.
        reader: pixels by id.
        classes: codes in the order of the logits.
        model: length, rates, sampler.
        train: seed, batch, precision, monitor.
        augment: the sixteen.
        workers: processes that load and augment; any number gives the same batches, 0 stays in this one.
        checkpoint_dir: keyed by the caller (`resume.key`); None keeps no state.
        on_epoch: told each epoch's record, with `images_per_second` and `precision` added.

    Raises:
        TrainingError: nothing to learn from, a loss that is no number, processes that don't know each other.
    """
    check(training, validation, classes, train.monitor)
    natural = natural_prior(training.targets, len(classes))
    sampling = Sampling.of(training, model)
    shares = sampling.table(training, len(classes))
    drawn = shares.sum(axis=0)
    weights = class_weights(drawn, model.class_weights)
    if model.loss == "logit_adjusted":
        added = log_priors(shares, len(training), model.sampler_counts)
        learned = np.full_like(drawn, 1 / len(drawn))
    else:
        added = np.zeros_like(shares)
        learned = learned_prior(drawn, weights)
    by_centre = learned_by_centre(shares, weights, added, training.centre_names)

    with reproducible(train.threads):
        accelerator = accelerate(train.precision)
        batches = TrainBatches(
            training,
            reader,
            Augment(augment),
            drawn_images=model.drawn_images or len(training),
            batch=train.batch,
            sampling=sampling,
            seed=train.seed,
            workers=workers,
            px_in=model.px_in,
            part=(accelerator.process_index, accelerator.num_processes),
        )
        fitting = Fitting.start(network, accelerator, model, batches.steps, weights, added)
        if checkpoint_dir is not None:
            kept = resume.load(checkpoint_dir) if accelerator.is_main_process else None
            fitting.restore(broadcast_object_list([kept])[0])  # hosts need not share the folder

        while fitting.epoch < model.epochs and fitting.waited < train.patience:
            torch.manual_seed(epoch_seed(train.seed, fitting.epoch, accelerator.process_index))  # dropout's
            began = time.perf_counter()
            loss = fitting.one_epoch(batches, progress=f"epoch {fitting.epoch + 1}/{model.epochs}")
            seconds = time.perf_counter() - began

            logits = validate(
                fitting.average.module,
                validation,
                reader,
                accelerator,
                model=model,
                train=train,
                workers=workers,
            )
            if not np.isfinite(logits).all():
                raise TrainingError(
                    "an answer is no number", f"validation after epoch {fitting.epoch + 1}", _CALM
                )
            figures = monitor.figures(logits, validation.targets, natural, learned, classes.index("MEL"))
            fitting.finish_epoch(loss, figures, train.monitor)

            if accelerator.is_main_process:
                if checkpoint_dir is not None:
                    resume.save(checkpoint_dir, fitting.state())
                speed = batches.steps * train.batch / seconds
                extra = {"images_per_second": speed, "precision": precision_name(accelerator)}
                on_epoch({**fitting.history[-1], **extra})

        best = fitting.average.module
        best.load_state_dict(fitting.best)
        return Fitted(best.eval(), fitting.history, fitting.best_epoch, natural, learned, by_centre)


@dataclass
class Fitting:
    """All that changes while a network is fitted, and how an epoch changes it."""

    accelerator: Accelerator
    model: ModelParams
    network: nn.Module  # as wrapped by accelerate
    plain: Network  # the same weights, unwrapped
    average: ModelEmaV3
    optimizer: Any
    schedule: CosineLRScheduler
    steps: int  # an epoch
    weights: Tensor  # of each class in the loss, shape (classes,)
    added: Tensor  # to the logits in the loss, shape (centres, classes)
    epoch: int = 0  # finished
    best_epoch: int = 0
    best_figure: float = -math.inf
    best: dict[str, Tensor] = field(default_factory=dict)
    history: list[Record] = field(default_factory=list)

    @classmethod
    def start(
        cls,
        network: Network,
        accelerator: Accelerator,
        model: ModelParams,
        steps: int,
        weights: monitor.Floats,
        added: monitor.Floats,
    ) -> "Fitting":
        """Bring network, averaged copy, optimiser and schedule to the device.

        Args:
            network: freshly built.
            accelerator: device, precision and processes.
            model: rates and schedule.
            steps: an epoch.
            weights: of each class in the loss, shape (classes,).
            added: to the logits in the loss, by centre: shape (centres, classes).
        """
        network = network.to(accelerator.device)
        network.to(memory_format=torch.channels_last)
        average = ModelEmaV3(network, decay=model.ema, use_warmup=True, warmup_power=0.75)
        optimizer = create_optimizer_v2(groups(network, model), opt="adamw", lr=model.lr)
        total = steps * model.epochs
        warmup = round(model.warmup_share * total)
        schedule = CosineLRScheduler(
            optimizer,
            t_initial=max(1, total - warmup),
            warmup_t=warmup,
            warmup_prefix=True,
            t_in_epochs=False,
        )
        wrapped, prepared = accelerator.prepare(network, optimizer)
        on_device = partial(torch.tensor, dtype=torch.float32, device=accelerator.device)
        state = (accelerator, model, wrapped, network, average, prepared, schedule, steps)
        return cls(*state, weights=on_device(weights), added=on_device(added))

    @property
    def waited(self) -> int:
        """Epochs since the best one."""
        return self.epoch - self.best_epoch

    def one_epoch(self, batches: TrainBatches, progress: str) -> float:
        """Take all steps of the next epoch; return the mean loss of all processes.

        Args:
            batches: of the training rows.
            progress: stands before the bar of images a second and remaining time; only a terminal sees it.

        Raises:
            TrainingError: the loss is no number.
        """
        self.network.train()
        quiet = None if self.accelerator.is_main_process else True  # None: quiet unless on a terminal
        told = {"unit": " images", "unit_scale": batches.batch, "leave": False, "disable": quiet}
        bar = tqdm(batches.epoch(self.epoch), progress, self.steps, **told)
        total = 0.0
        for step, batch in enumerate(bar, start=self.epoch * self.steps):
            self.schedule.step_update(step + 1)  # from 1: the first step's rate is not 0, the last one's is
            loss = self.one_step(batch)
            self.average.update(self.plain, step + 1)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss is {loss} at step {step + 1}",
                    f"epoch {self.epoch + 1}",
                    _CALM,
                )
            total += loss
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        share_buffers(self.average.module, self.accelerator)
        summed = torch.tensor(total, dtype=torch.float64, device=self.accelerator.device)
        return float(self.accelerator.reduce(summed, reduction="mean")) / self.steps

    def one_step(self, batch: Batch) -> float:
        """One forward, backward and update; return the loss of this process' share of the batch."""
        image, patient, target, centre = (
            part.to(self.accelerator.device, non_blocking=True) for part in batch
        )
        logits = self.network(image, patient).logits.float() + self.added[centre]
        losses = cross_entropy(logits, target, label_smoothing=self.model.label_smoothing, reduction="none")
        loss = (losses * self.weights[target]).mean()  # not over the weights' sum, which is the batch's luck
        self.accelerator.backward(loss)
        if self.model.clip_grad is not None:
            self.accelerator.clip_grad_norm_(self.network.parameters(), self.model.clip_grad)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    def finish_epoch(self, loss: float, figures: dict[str, float | None], monitored: str) -> None:
        """Note the epoch, and keep its averaged weights if it is the best so far."""
        self.epoch += 1
        rate = max(group["lr"] for group in self.optimizer.param_groups)
        self.history.append({"epoch": self.epoch, "lr": rate, "train_loss": loss, **figures})
        figure = figures[monitored]
        if figure is not None and figure > self.best_figure:
            self.best_figure, self.best_epoch = figure, self.epoch
            state = self.average.module.state_dict()
            self.best = {name: value.detach().cpu().clone() for name, value in state.items()}

    def state(self) -> dict[str, Any]:
        """All of it, as plain values and tensors."""
        return {
            "network": self.plain.state_dict(),
            "average": self.average.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else {},
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_figure": self.best_figure,
            "best": self.best,
            "history": self.history,
        }

    def restore(self, state: dict[str, Any] | None) -> None:
        """Go back to what `state` returned; the schedule follows from the step's number."""
        if state is None:
            return
        self.plain.load_state_dict(state["network"])
        self.average.module.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.epoch, self.best_epoch = state["epoch"], state["best_epoch"]
        self.best_figure, self.best, self.history = state["best_figure"], state["best"], state["history"]


def groups(network: Network, model: ModelParams) -> list[dict[str, Any]]:
    """Parameters by rate and decay.

    New layers learn faster, a stage slower than the one above it, biases and normalisations don't decay.
    """
    new = {id(parameter) for parameter in network.new_layers()}
    named = stages(network.backbone) if model.layer_decay < 1 else {}
    stage = {id(network.backbone.get_parameter(name)): n for name, n in named.items()}
    last = max(stage.values(), default=0)
    found: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        if parameter.requires_grad:
            slower = model.layer_decay ** (last - stage.get(id(parameter), last))
            factor = model.head_lr_factor if id(parameter) in new else slower
            found.setdefault((factor, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": model.lr * factor,
            "weight_decay": model.weight_decay if decays else 0.0,
        }
        for (factor, decays), parameters in found.items()
    ]


def share_buffers(network: nn.Module, accelerator: Accelerator) -> None:
    """Give all processes the first one's batch-norm statistics: then all hold, and validate, one network."""
    if accelerator.num_processes > 1:
        for buffer in network.buffers():
            buffer.copy_(broadcast(buffer.clone()))


def validate(
    network: Network,
    rows: Rows,
    reader: Reader,
    accelerator: Accelerator,
    *,
    model: ModelParams,
    train: TrainParams,
    workers: int,
) -> monitor.Floats:
    """Logits of the untouched view, shape (n, classes); each process does its share, all get all."""
    count, rank, processes = len(rows), accelerator.process_index, accelerator.num_processes
    mine = np.minimum(np.arange(rank, math.ceil(count / processes) * processes, processes), count - 1)
    share = rows.take(mine)
    found = predict(
        network,
        reader,
        share.image_ids,
        share.patients,
        input_px=model.input_px,
        views=1,
        batch=train.batch,
        workers=workers,
    )["logits"]
    if processes == 1:
        return found.astype(np.float64)
    parts = accelerator.gather(torch.from_numpy(found)[None].to(accelerator.device)).cpu().numpy()
    return np.asarray(parts.swapaxes(0, 1).reshape(-1, found.shape[1])[:count], np.float64)


def require_images(name: str, count: int) -> None:
    """Refuse a side, `training` or `validation`, that no image is left on.

    Raises:
        TrainingError: none is.
    """
    if not count:
        raise TrainingError(
            f"no {name} image is left",
            "cases.parquet",
            "Look at outputs/splits/funnel.csv; use fewer folds.",
        )


def check(training: Rows, validation: Rows, classes: tuple[str, ...], monitored: str) -> None:
    """Refuse what can't be trained on, or can't be monitored.

    Raises:
        TrainingError: no rows, a class without a training case, or a validation fold without what
            `monitored` is about.
    """
    for name, rows in (("training", training), ("validation", validation)):
        require_images(name, len(rows))
    untaught = absent(training, classes)
    if untaught:
        raise TrainingError(
            f"no training image has diagnosis {', '.join(untaught)}",
            "cases.parquet",
            "Set labels.view to a view whose classes the releases hold, or use fewer folds.",
        )
    unseen = absent(validation, classes)
    if monitored == "balanced_accuracy" and unseen:
        raise TrainingError(
            f"no validation image has diagnosis {', '.join(unseen)}",
            "params.yaml, train.monitor",
            "Set train.monitor to accuracy, or use fewer folds.",
        )
    melanomas = int((validation.targets == classes.index("MEL")).sum())
    if monitored == "melanoma_auc" and melanomas in (0, len(validation)):
        raise TrainingError(
            f"{melanomas} of {len(validation)} validation images are melanoma",
            "params.yaml, train.monitor",
            "Set train.monitor to accuracy, or use fewer folds.",
        )


def absent(rows: Rows, classes: tuple[str, ...]) -> list[str]:
    """Return the classes that no row has."""
    return [code for index, code in enumerate(classes) if index not in rows.targets]
