"""Evaluate one model: its folds' predictions in, metrics.json, plots and report.html out.

Called by stage evaluate@{model}; `assess` and `pictures` by the ensemble too, so that both are measured
alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from dermaflow import outputs
from dermaflow.bundle.apply import Calibration
from dermaflow.evaluate import figures, members, plots, report
from dermaflow.evaluate.answers import Answers
from dermaflow.evaluate.members import Member
from dermaflow.evaluate.params import EvaluateParams
from dermaflow.evaluate.shortcuts import source_probe
from dermaflow.evaluate.subgroups import official_views, subgroups

NOTE: Final = "epoch chosen on the same fold"


@dataclass(frozen=True)
class Evaluation:
    """What is written of a model to outputs/evaluation/{model}/, of people's own images where they want it.

    Attributes:
        metrics: metrics.json.
        plots: PNG bytes by name.
        report_html: report.html.
    """

    metrics: dict[str, Any]
    plots: dict[str, bytes]
    report_html: str

    def write(self, folder: Path) -> None:
        """Write all files into a folder that is put in its place whole."""
        (folder / "metrics.json").write_text(outputs.json_text(self.metrics), encoding="utf-8")
        write_report(folder, self.plots, self.report_html)


@dataclass(frozen=True, eq=False)
class Scored:
    """Answers on both splits, and the hold-out's without patient data.

    Those of each named centre also told that they are from there.
    """

    hold_out: Answers
    plain: Answers
    out_of_fold: Answers
    hold_out_told: dict[str, Answers]
    out_of_fold_told: dict[str, Answers]


def read_funnel(file: Path) -> pd.DataFrame:
    """Read splits/funnel.csv; a collection may be called 212 or NA."""
    return pd.read_csv(file, dtype={"release": "str"}, keep_default_na=False)


def evaluate_model(
    name: str,
    found: Sequence[Member],
    cases: pd.DataFrame,
    holdout: pd.DataFrame,
    params: EvaluateParams,
    *,
    funnel: pd.DataFrame,
    notice: str,
) -> Evaluation:
    """Score one model: out of fold by the fold's own member, on the hold-out by the mean of all.

    The logits' prior shift is undone, no temperature is fitted: that is the ensemble's.

    Args:
        name: the model.
        found: its members, one a fold.
        cases: outputs.cases.
        holdout: outputs.holdout.
        params: section `evaluate`.
        funnel: splits/funnel.csv.
        notice: registry.notice.

    Raises:
        DataError: predictions and cases do not belong together.
    """
    view = found[0].view
    calibration = members.calibration(
        found,
        np.full(len(found), 1 / len(found)),
        members.natural_prior(cases, view),
        centres=members.priors_by_centre(cases, view),
    )
    scored = score(found, calibration, cases, holdout)
    metrics = assess(scored, cases, params)
    pictures = draw(scored, metrics, params)
    lead = (
        f"{len(found)} members, one a fold, {len(view.classes)} diagnoses ({', '.join(view.classes)}). "
        "Hold-out: the mean of all members' logits; out of fold: the member that did not train on the "
        "case. Before temperature, which is fitted for the ensemble."
    )
    content = report.Content(
        title=f"Model {name}",
        notice=notice,
        lead=lead,
        metrics=metrics,
        plots=pictures,
        funnel=funnel,
        scored=f"This page is one scoring of the hold-out, by model {name}; each other model and the "
        "ensemble score it, too.",
    )
    return Evaluation(metrics, pictures, report.render(content))


def score(
    found: Sequence[Member], calibration: Calibration, cases: pd.DataFrame, holdout: pd.DataFrame
) -> Scored:
    """Join what the members say with the truth.

    Args:
        found: in the order of the calibration's rows.
        calibration: with the frequencies of each centre that answers are told.
        cases: outputs.cases.
        holdout: outputs.holdout.
    """
    truth = members.labelled(cases, holdout, "hold_out")
    train = members.labelled(cases, holdout, "out_of_fold")
    train = train[train.fold.isin([member.fold for member in found])]  # not every fold need have a member
    answer = partial(_answer, found, calibration)
    told = partial(_told, found, calibration)
    return Scored(
        answer("hold_out", truth),
        answer("hold_out", truth, "plain"),
        answer("out_of_fold", train),
        hold_out_told=told("hold_out", truth),
        out_of_fold_told=told("out_of_fold", train),
    )


def _answer(
    found: Sequence[Member],
    calibration: Calibration,
    split: members.Split,
    truth: pd.DataFrame,
    kind: members.Kind = "logit",
) -> Answers:
    table = members.predict(found, calibration, split, kind)
    return Answers.of(table, found[0].view, calibration.prior, truth)


def _told(
    found: Sequence[Member], calibration: Calibration, split: members.Split, truth: pd.DataFrame
) -> dict[str, Answers]:
    """Answer each centre's cases in the knowledge that they are from there."""
    return {
        name: _answer(found, calibration.told(name), split, truth[truth.centre == name])
        for name in calibration.centres
        if (truth.centre == name).any()
    }


def assess(scored: Scored, cases: pd.DataFrame, params: EvaluateParams) -> dict[str, Any]:
    """Return metrics.json: the hold-out in full, out of fold the headline."""
    hold_out, out_of_fold = scored.hold_out, scored.out_of_fold
    weights = figures.weights_of(hold_out, params)
    kinds = {"balanced_accuracy": figures.balanced_accuracy, "melanoma_auc": figures.melanoma_auc}
    train = members.labelled(cases, pd.DataFrame(), "out_of_fold")
    return {
        "hold_out": {
            **figures.headline(hold_out, params),
            "outside_view": int((cases.split == "hold_out").sum()) - len(hold_out),
            "per_class": figures.per_class(hold_out),
            **official_views(hold_out, scored.hold_out_told, params),
            **subgroups(hold_out, params),
            "without_patient_data": {
                name: figures.figure(kind(scored.plain), weights) for name, kind in kinds.items()
            },
            "gain_of_patient_data": {
                name: figures.difference(kind(hold_out), kind(scored.plain), weights)
                for name, kind in kinds.items()
            },
            "source_probe": source_probe(hold_out, train, params),
        },
        "out_of_fold": {
            **figures.headline(out_of_fold, params),
            "per_class": figures.per_class(out_of_fold),
            **official_views(out_of_fold, scored.out_of_fold_told, params),
            "note": NOTE,
        },
    }


def draw(scored: Scored, metrics: Mapping[str, Any], params: EvaluateParams) -> dict[str, bytes]:
    """Return the plots by their names in `report.PICTURES`."""
    hold_out = metrics["hold_out"]
    groups = {name: value for name, value in hold_out.items() if name.startswith("by_")}
    return {
        "roc": plots.roc({"out of fold": scored.out_of_fold, "hold-out": scored.hold_out}),
        "confusion": plots.confusion(scored.hold_out),
        "reliability": plots.reliability(scored.hold_out, params.bins),
        "subgroups": plots.forest(groups, hold_out),
    }


def write_report(folder: Path, pictures: Mapping[str, bytes], report_html: str) -> None:
    """Write report.html and plots/<name>.png into a folder that is put in its place whole."""
    (folder / "report.html").write_text(report_html, encoding="utf-8")
    (folder / "plots").mkdir(exist_ok=True)
    for name, png in pictures.items():
        (folder / "plots" / f"{name}.png").write_bytes(png)
