"""Compare configurations on inner folds, never on the hold-out: what a default is chosen by.

    python benchmarks/inner_folds.py benchmarks/searches/crop.yaml [--project DIR] [--json FILE] [--keep DIR]

Runs in a project whose stages up to `certify` have run on real data (`make data`, a preset, `dvc repro
certify`). A search is a file with `view`, `stores` (whose images), `folds` (validated on, one after the
other), `base` (changes to params.yaml, by section; `model` for the entry of models, `centres` to train on
these alone and validate on all) and `tries` (a name and its further changes each). Each try trains one member
a fold and is scored by decision score on the fold that it did not train on, over all its cases and by centre.
Printed beside it: the difference to the first try, with the interval of the paired
bootstrap over groups. What overlaps 0 is a tie, and the cheaper or simpler wins. `stress` names edits (see
evaluate.perturbations): the share of decisions that each flips is told too, over STRESSED images a fold.
`training` is a fold's work in drawn images of a plain Lite0 at 160 px: pixels, backbone and frozen stages
counted. `--keep DIR` keeps each try's answers a fold, and a later run takes them from there.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from numpy.typing import NDArray
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dermaflow import outputs, params, sources
from dermaflow.evaluate import figures, intervals, members, metrics, report, stress, subgroups
from dermaflow.evaluate.answers import Answers
from dermaflow.evaluate.intervals import Weighted
from dermaflow.evaluate.params import EvaluateParams
from dermaflow.evaluate.perturbations import PERTURBATIONS, Edit
from dermaflow.images import store
from dermaflow.images.params import ImagesParams
from dermaflow.images.prepare import Recipe, prepare
from dermaflow.impute.apply import FEATURES
from dermaflow.model.network import build
from dermaflow.model.params import ModelParams
from dermaflow.taxonomy import VIEWS
from dermaflow.train import member
from dermaflow.train.params import AugmentParams, TrainParams

EVALUATE = EvaluateParams(bootstrap=1000)
FIGURES: dict[str, Callable[[Answers], Weighted]] = {
    "balanced_accuracy": figures.balanced_accuracy,
    "melanoma_auc": figures.melanoma_auc,
    "macro_auc": lambda one: intervals.macro_auc(one.target, one.probability),
    "log_loss": lambda one: intervals.mean(metrics.log_losses(one.target, one.probability)),
}
STRESSED = 300
"""Validated images of a fold whose decisions are put under stress, at most."""


@dataclass(frozen=True)
class Edited:
    """Pixels of files that were edited before they took the way of any file."""

    releases: list[sources.Source]
    recipe: Recipe
    edit: Edit

    def pixels(self, image_id: str, _input_px: int) -> NDArray[np.uint8]:
        encoded = next(files for files in self.releases if image_id in files).read(image_id)
        rgb = stress.reduced(stress.decode(encoded, image_id), 1024)
        return prepare(stress.encode(self.edit(rgb, None)), self.recipe, image_id)


def merged(*changes: dict[str, Any]) -> dict[str, Any]:
    """Put tables of changes into each other, the last first."""
    result: dict[str, Any] = {}
    for table in changes:
        for key, value in table.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else value
    return result


def files_of(release: str) -> sources.Source:
    """Open the release's image files."""
    facts = outputs.facts.of(release).read(["image_id", "part", "file"])
    return sources.listed(params.root() / "data" / release, facts.image_id, facts.part, facts.file)


def shards(recipe: Recipe, cases: pd.DataFrame, home: Path) -> store.ShardReader:
    """Store the images of one recipe, once in this run."""
    size = home / "-".join(str(part) for part in recipe.to_json().values())
    releases = sorted(cases.store.unique())
    for release in releases:
        if not (size / release).exists():
            (size / release).mkdir(parents=True)
            image_ids = list(cases.image_id[cases.store == release])
            store.write_shards(files_of(release), image_ids, recipe, size / release, workers=2)
    return store.ShardReader(size, releases)


def score(
    settings: dict[str, Any], search: dict[str, Any], cases: pd.DataFrame, home: Path, keep: Path
) -> tuple[Answers, dict[str, float]]:
    """Train a try on each of the search's folds; return its answers to the validated cases, and flips."""
    view = VIEWS[search["view"]]
    prior, frames = members.natural_prior(cases, view), []
    flips: dict[str, list[float]] = {edit: [] for edit in search.get("stress", [])}
    for fold in search["folds"]:
        kept = keep / f"{fold}.parquet"
        if not kept.exists():
            frame, shares = fold_score(settings, search, cases, fold, home)
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.with_suffix(".json").write_text(json.dumps(shares), encoding="utf-8")
            frame.to_parquet(kept)
        frames.append(pd.read_parquet(kept))
        for edit, share in json.loads(kept.with_suffix(".json").read_text(encoding="utf-8")).items():
            flips[edit].append(share)
    truth = cases[cases.fold.isin(search["folds"])]
    answers = Answers.of(pd.concat(frames, ignore_index=True), view, prior, truth)
    return answers, {edit: float(np.mean(shares)) for edit, shares in flips.items()}


def of_its_centres(settings: dict[str, Any], cases: pd.DataFrame) -> "pd.Series[bool]":
    """Tell which cases are of the centres that a try learns from."""
    return cases.centre.isin(settings.get("centres", list(cases.centre.unique())))


def fold_score(
    settings: dict[str, Any], search: dict[str, Any], cases: pd.DataFrame, fold: int, home: Path
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Train a try on one fold; return its probabilities there, and the share of flips by each edit."""
    view = VIEWS[search["view"]]
    model = ModelParams.model_validate(settings["model"])
    train = TrainParams.model_validate(settings.get("train", {}))
    augment = AugmentParams.model_validate(settings.get("augment", {}))
    recipe = ImagesParams.model_validate(settings.get("images", {})).recipe(model.stored_px, model.input_px)
    patients, prior = outputs.patients.read(), members.natural_prior(cases, view)
    trained = member.train_member(
        # No hold-out: it is not predicted.
        cases=cases[of_its_centres(settings, cases) | (cases.fold == fold)],
        patients=patients,
        reader=shards(recipe, cases, home),
        view=view,
        model=model,
        train=train,
        augment=augment,
        fold=fold,
    )
    one = members.Member.of("try", trained.config, trained.predictions)
    calibration = members.calibration([one], np.ones(1), prior)
    found = members.predict([one], calibration, "out_of_fold")
    validated = member.labelled(cases, view).query("fold == @fold")
    some = validated.sample(min(STRESSED, len(validated)), random_state=0)
    flips = {}
    for edit in search.get("stress", []):
        edited = member.predictions(
            trained.fitted.network,
            member.as_rows(some, patients, view),
            "out_of_fold",
            Edited([files_of(release) for release in search["stores"]], recipe, PERTURBATIONS[edit]),
            view=view,
            model=model,
            train=train,
        )
        under = members.predict([replace(one, frame=edited)], calibration, "out_of_fold")
        before, after = (Answers.of(frame, view, prior, some).decided for frame in (found, under))
        flips[edit] = float((before != after).mean())
    return found, flips


def training_work(settings: dict[str, Any], images: int) -> float:
    """Return a fold's work: drawn images of a plain Lite0 at 160 px that cost as many multiply-adds.

    A backward pass costs two forward ones, and none below the first stage that learns.
    """

    def an_image(model: ModelParams, px: int) -> int:
        network = build(model, 1, pretrained=False)
        learning = FlopCounterMode(display=False)
        example = torch.zeros((1, px, px, 3), dtype=torch.uint8), torch.zeros((1, len(FEATURES)))
        with torch.no_grad(), learning:
            network.eval()(*example)
        counts = {name: sum(kinds.values()) for name, kinds in learning.get_flop_counts().items()}
        frozen = sum(
            counts.get(f"Network.backbone.{name}", 0)
            for name, module in network.backbone.named_modules()
            if isinstance(module, nn.Conv2d | nn.Linear) and not module.weight.requires_grad
        )
        return 3 * counts["Global"] - 2 * frozen

    model = ModelParams.model_validate(settings["model"])
    drawn = model.drawn_images or images
    spent = sum(drawn * an_image(model, model.px_in(epoch)) for epoch in range(model.epochs))
    return spent / an_image(ModelParams(weights="none"), 160)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("search", type=Path)
    parser.add_argument("--project", type=Path, default=Path())
    parser.add_argument("--only", nargs="*", help="names of tries")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    os.environ["DERMAFLOW_ROOT"] = str(asked.project)
    search = yaml.safe_load(asked.search.read_text(encoding="utf-8"))
    strange = sorted({*(asked.only or [])} - {*search["tries"]})
    if strange:
        parser.error(f"{asked.search} has no try {', '.join(strange)}; it has {', '.join(search['tries'])}")
    cases = outputs.cases.read()
    cases = cases[(cases.split == "train") & cases.store.isin(search["stores"])].reset_index(drop=True)

    found: dict[str, dict[str, Any]] = {}
    first: Answers | None = None
    with tempfile.TemporaryDirectory() as home:
        for name, changes in search["tries"].items():
            if asked.only and name not in asked.only:
                continue
            settings = merged(search["base"], changes or {})
            began = time.perf_counter()
            answers, flips = score(settings, search, cases, Path(home), (asked.keep or Path(home)) / name)
            first = answers if first is None else first
            row = {"seconds": round(time.perf_counter() - began), **compared(answers, first, FIGURES)}
            rows = member.labelled(cases[of_its_centres(settings, cases)], VIEWS[search["view"]])
            learned = np.mean([(rows.fold != fold).sum() for fold in search["folds"]])
            row["training"] = round(training_work(settings, int(learned)))
            row["centres"] = by_centre(answers, first)
            row["cases"] = len(answers)
            row["flipped"] = flips
            found[name] = row
            tell(name, row)
            if asked.json:
                asked.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def compared(answers: Answers, first: Answers, names: Iterable[str]) -> dict[str, Any]:
    """Return figures, and their differences to the first try's on the same cases."""
    weights, row = figures.weights_of(answers, EVALUATE), {}
    for name in names:
        of = FIGURES[name]
        row[name] = figures.figure(of(answers), weights)
        row[f"{name}_to_first"] = figures.difference(of(answers), of(first), weights)
    return row


def by_centre(answers: Answers, first: Answers) -> dict[str, dict[str, Any]]:
    """Return cases and figures of each centre, over the classes that it holds."""
    rows: dict[str, dict[str, Any]] = {}
    for centre, mask in subgroups.masks(answers.cases.centre).items():
        one, other = answers.where(mask), first.where(mask)
        rows[centre] = {"cases": len(one), **compared(one, other, ("balanced_accuracy", "melanoma_auc"))}
    return rows


def tell(name: str, row: dict[str, Any]) -> None:
    def said(one: dict[str, Any], key: str) -> str:
        found, gained = (
            "-" if value["value"] is None else report.interval(value)
            for value in (one[key], one[f"{key}_to_first"])
        )
        return f"{key.replace('_', ' ')} {found}, to the first {gained}"

    print(
        f"{name:24} {said(row, 'balanced_accuracy')}; {said(row, 'melanoma_auc')}; {said(row, 'macro_auc')}; "
        f"{said(row, 'log_loss')}; training {row['training']}, {row['seconds']} s"
        + "".join(f", {edit} flips {share:.3f}" for edit, share in row["flipped"].items())
    )
    for centre, one in row["centres"].items():
        print(f"  {centre:10} {one['cases']:5} {said(one, 'balanced_accuracy')}; {said(one, 'melanoma_auc')}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
