"""Members' logits to probabilities: out of fold by the case's own member, on the hold-out by all.

Every probability goes through `bundle.apply.Calibration`, as in the service. Out of fold only the members
of the case's fold (one a model) did not train on it: they answer alone, their weights scaled to sum 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Self

import numpy as np
import pandas as pd

from dermaflow import outputs
from dermaflow.bundle.apply import Calibration, Frequencies, decision_scores
from dermaflow.errors import DataError, first_ten
from dermaflow.evaluate.metrics import Floats
from dermaflow.taxonomy import VIEWS, View

Split = Literal["out_of_fold", "hold_out"]
Kind = Literal["logit", "plain"]
"""With or without patient data."""

UNKNOWN: Final = "unknown"
"""What takes the place of a name that is not known, a centre's for one."""

NEVER: Final = -30.0
"""Added to the logit of a class that a member never trained on, in place of log 0."""


@dataclass(frozen=True, eq=False)
class Member:
    """What one trained member said.

    Attributes:
        model: key of `models`.
        fold: the one that it did not train on.
        view: its labels.
        learned: shape (k,), class frequencies that its logits carry, by its sampler and its loss.
        by_centre: the same on images of one centre, by its name.
        frame: as outputs.predictions.
    """

    model: str
    fold: int
    view: View
    learned: Floats
    by_centre: Mapping[str, Floats]
    frame: pd.DataFrame

    @classmethod
    def of(cls, model: str, config: Mapping[str, Any], frame: pd.DataFrame) -> Self:
        """Make one of its config.json and predictions."""
        learned = np.array(config["learned_prior"], np.float64)
        of_centres = config["learned_by_centre"].items()
        by_centre = {name: np.array(shares, np.float64) for name, shares in of_centres}
        return cls(model, int(config["fold"]), VIEWS[config["view"]], learned, by_centre, frame)


def read(models: Sequence[str], folds: Sequence[str | int]) -> list[Member]:
    """Read all members, models first, folds within: the order of a calibration's rows.

    Raises:
        DataError: a file is absent.
    """
    return [
        Member.of(
            model,
            outputs.read_json(outputs.member_dir(model, fold) / "config.json"),
            outputs.predictions.of(model, fold).read(),
        )
        for model in models
        for fold in folds
    ]


def settings(models: Sequence[str], folds: Sequence[str | int]) -> dict[str, Any]:
    """Return what each model was trained with, as its first member's config.json has it."""
    return {
        model: outputs.read_json(outputs.member_dir(model, folds[0]) / "config.json")["model"]
        for model in models
    }


def natural_prior(cases: pd.DataFrame, view: View) -> Floats:
    """Class frequencies of the training rows, shape (k,), sum 1.

    Raises:
        DataError: no training row has a diagnosis of the view.
    """
    train = cases[cases.split == "train"]
    targets = [view.target(code) for code in train.diagnosis if isinstance(code, str)]
    counts = np.bincount([t for t in targets if t is not None], minlength=len(view.classes))
    if not counts.sum():
        raise DataError(
            f"no training row has a diagnosis of view {view.name}",
            outputs.cases.file,
            "Set labels.view to a view whose classes the releases hold.",
        )
    return np.asarray(counts / counts.sum())


def priors_by_centre(cases: pd.DataFrame, view: View) -> dict[str, Floats]:
    """`natural_prior` of each named centre's training rows; one without a diagnosis of the view is left out.

    `UNKNOWN` is no place that one could know an image to be from.
    """
    known = labelled(cases, pd.DataFrame(), "out_of_fold")
    known = known[known.centre != UNKNOWN]
    seen = [view.target(code) is not None for code in known.diagnosis]
    return {
        str(centre): natural_prior(rows, view)
        for centre, rows in known[np.array(seen, bool)].groupby("centre")
    }


def calibration(
    members: Sequence[Member],
    weights: Floats,
    prior: Floats,
    centres: Mapping[str, Floats] | None = None,
) -> Calibration:
    """Return how the members' logits become probabilities for the natural class frequencies.

    The temperature is 1; the ensemble fits another.

    Args:
        members: of one view.
        weights: shape (members,), sum 1.
        prior: shape (k,), natural class frequencies.
        centres: from `priors_by_centre`; one that a member has not learned from is left out.

    Raises:
        DataError: the members have different views.
    """
    views = {member.view.name for member in members}
    if len(views) != 1:
        raise DataError(
            f"the members answer in {len(views)} views: {', '.join(sorted(views))}",
            "models",
            "Run `dvc repro`, which trains all with the same labels.view.",
        )
    shifts = np.stack([_shift(prior, member.learned) for member in members])
    told = {}
    for name, natural in (centres or {}).items():
        if all(name in member.by_centre for member in members):
            rows = [_shift(natural, m.by_centre[name], row) for m, row in zip(members, shifts, strict=True)]
            told[name] = Frequencies(np.stack(rows), natural)
    return Calibration(weights, shifts, 1.0, prior, told)


def _shift(prior: Floats, learned: Floats, unlearned: Floats | float = NEVER) -> Floats:
    """log(`prior` / `learned`), shape (k,).

    Args:
        prior: shape (k,), natural class frequencies; `NEVER` where they are 0.
        learned: shape (k,), what the member's logits carry.
        unlearned: what stands where the member saw none of a class that there is: of a centre with few
            images of it, what its sampler did to the class in all centres together.
    """
    known = (prior > 0) & (learned > 0)
    ratio = np.log(np.where(known, prior, 1) / np.where(known, learned, 1))
    return np.where(known, ratio, np.where(prior > 0, unlearned, NEVER))


def logits(members: Sequence[Member], split: Split, kind: Kind = "logit") -> tuple[list[str], Floats]:
    """Stack the members' logits on the same images.

    Returns:
        The image ids (n), and logits of shape (n, members, k).

    Raises:
        DataError: the members were not asked about the same images, or one's answer is not finite.
    """
    parts, ids = [], None
    for member in members:
        frame = member.frame[member.frame.split == split].set_index("image_id")
        ids = list(frame.index) if ids is None else ids
        if frame.index.has_duplicates or set(ids) != set(frame.index):
            different = sorted(set(ids) ^ set(frame.index))
            raise DataError(
                f"{len(different)} images are not in all members' {split} rows: {first_ten(different)}",
                outputs.predictions.of(member.model, member.fold).file,
                "Run `dvc repro`, which predicts the same images with all members.",
            )
        columns = [f"{kind}_{code}" for code in member.view.classes]
        parts.append(frame.loc[ids, columns].to_numpy(np.float64))
        require_finite(member, parts[-1], ids)
    if ids is None:
        raise DataError("no members", "models", "Name at least one model and one fold in params.yaml.")
    return ids, np.stack(parts, axis=1)


def require_finite(member: Member, said: Floats, ids: Sequence[str]) -> None:
    """Refuse a member's answers that are no numbers: one of them would spoil every figure and threshold.

    Args:
        member: who answered.
        said: shape (n, ...).
        ids: of the n images.

    Raises:
        DataError: one is NaN or infinite.
    """
    wrong = ~np.isfinite(said).reshape(len(ids), -1).all(axis=1)
    if wrong.any():
        named = first_ten(np.array(ids)[wrong].tolist())
        raise DataError(
            f"{wrong.sum()} answers of the network are not finite: {named}",
            outputs.predictions.of(member.model, member.fold).file,
            f"Train it anew with a lower rate (params.yaml: models.{member.model}.lr).",
        )


def knowable(members: Sequence[Member], targets: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return the cases whose diagnosis each of these members has learned.

    What a member never saw it can't answer, and how sure it is then says nothing of how sure it should be.

    Args:
        members: of one view.
        targets: class index by image id.
    """
    learned = np.all([member.learned > 0 for member in members], axis=0)
    kept: pd.Series[Any] = targets[learned[targets.to_numpy(np.int64)]]
    return kept


def by_fold(members: Sequence[Member], weights: Floats) -> list[tuple[list[int], Floats]]:
    """For each fold its members' places and their weights, scaled to sum 1; equal ones if all are 0."""
    found = []
    for fold in sorted({member.fold for member in members}):
        chosen = [index for index, member in enumerate(members) if member.fold == fold]
        part = weights[chosen]
        part = part / part.sum() if part.sum() > 0 else np.full(len(chosen), 1 / len(chosen))
        found.append((chosen, part))
    return found


def predict(
    members: Sequence[Member], found: Calibration, split: Split, kind: Kind = "logit"
) -> pd.DataFrame:
    """Probabilities and decision scores, as outputs.ensemble_predictions.

    Args:
        members: in the order of the calibration's rows.
        found: the calibration.
        split: out_of_fold or hold_out.
        kind: with or without patient data.
    """
    if split == "hold_out":
        ids, stacked = logits(members, split, kind)
        return _frame(ids, split, members[0].view, found.probabilities(stacked), found.prior)
    parts = []
    for chosen, weights in by_fold(members, found.weights):
        ids, stacked = logits([members[index] for index in chosen], split, kind)
        part = replace(found, weights=weights, shifts=found.shifts[chosen])
        parts.append(_frame(ids, split, members[0].view, part.probabilities(stacked), found.prior))
    return pd.concat(parts, ignore_index=True)


def _frame(ids: list[str], split: Split, view: View, probability: Floats, prior: Floats) -> pd.DataFrame:
    columns: dict[str, Any] = {"image_id": ids, "split": split}
    values = {"probability": probability, "decision": decision_scores(probability, prior)}
    for name, value in values.items():
        columns |= {f"{name}_{code}": value[:, index] for index, code in enumerate(view.classes)}
    return pd.DataFrame(columns)


def labelled(cases: pd.DataFrame, holdout: pd.DataFrame, split: Split) -> pd.DataFrame:
    """The cases of one split with their diagnoses, those of the hold-out taken from `holdout`.

    Raises:
        DataError: a hold-out case has no diagnosis there.
    """
    if split == "out_of_fold":
        train = cases[cases.split == "train"]
        return train[train.diagnosis.notna()].reset_index(drop=True)
    rows = cases[cases.split == "hold_out"].drop(columns="diagnosis")
    joined = rows.merge(holdout, on="image_id", how="left", validate="one_to_one")
    bad = joined.image_id[joined.diagnosis.isna()]
    if len(bad):
        raise DataError(
            f"{len(bad)} hold-out cases have no diagnosis: {first_ten(bad)}",
            outputs.holdout.file,
            "Run `dvc repro split`.",
        )
    return joined
