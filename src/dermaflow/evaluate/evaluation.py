"""Evaluate one model: its folds' predictions in, metrics.json, plots and report.html out.

Called by stage evaluate@{model}; `assess` and `pictures` by the ensemble too, so that both are measured
alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from dermaflow import outputs
from dermaflow.evaluate import figures, members, plots, report
from dermaflow.evaluate.answers import Answers
from dermaflow.evaluate.members import Member
from dermaflow.evaluate.metrics import Floats
from dermaflow.evaluate.params import EvaluateParams
from dermaflow.evaluate.shortcuts import source_probe
from dermaflow.evaluate.subgroups import official_views, subgroups
from dermaflow.taxonomy import View

NOTE: Final = "epoch chosen on the same fold"


@dataclass(frozen=True)
class Evaluation:
    """What is written to outputs/evaluation/{model}/.

    Attributes:
        metrics: metrics.json.
        plots: PNG bytes by name.
        report_html: report.html.
    """

    metrics: dict[str, Any]
    plots: dict[str, bytes]
    report_html: str

    def write(self, folder: Path) -> None:
        """Write all files into a folder (see `outputs.replacing`)."""
        outputs.write_json(folder / "metrics.json", self.metrics)
        write_report(folder, self.plots, self.report_html)


@dataclass(frozen=True, eq=False)
class Scored:
    """Answers on both splits, and the hold-out's without patient data."""

    hold_out: Answers
    plain: Answers
    out_of_fold: Answers


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
    prior = members.natural_prior(cases, view)
    calibration = members.calibration(found, np.full(len(found), 1 / len(found)), prior)
    scored = score(
        {
            "hold_out": members.predict(found, calibration, "hold_out"),
            "out_of_fold": members.predict(found, calibration, "out_of_fold"),
        },
        plain=members.predict(found, calibration, "hold_out", "plain"),
        view=view,
        prior=prior,
        cases=cases,
        holdout=holdout,
    )
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
        scored=[f"by model {name}"],
    )
    return Evaluation(metrics, pictures, report.render(content))


def score(
    predictions: Mapping[str, pd.DataFrame],
    *,
    plain: pd.DataFrame,
    view: View,
    prior: Floats,
    cases: pd.DataFrame,
    holdout: pd.DataFrame,
) -> Scored:
    """Join predictions with the truth.

    Args:
        predictions: hold_out and out_of_fold, from `members.predict`.
        plain: hold_out without patient data.
        view: the members' labels.
        prior: shape (k,).
        cases: outputs.cases.
        holdout: outputs.holdout.
    """
    truth = members.labelled(cases, holdout, "hold_out")
    train = members.labelled(cases, holdout, "out_of_fold")
    train = train[train.image_id.isin(predictions["out_of_fold"].image_id)]
    return Scored(
        Answers.of(predictions["hold_out"], view, prior, truth),
        Answers.of(plain, view, prior, truth),
        Answers.of(predictions["out_of_fold"], view, prior, train),
    )


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
            **official_views(hold_out, params),
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
            **official_views(out_of_fold, params),
            "note": NOTE,
        },
    }


def draw(scored: Scored, metrics: Mapping[str, Any], params: EvaluateParams) -> dict[str, bytes]:
    """Return the plots by their names in `report.PICTURES`."""
    hold_out = metrics["hold_out"]
    groups = {name: value for name, value in hold_out.items() if name.startswith("by_")}
    return {
        "roc": plots.roc(scored.hold_out, scored.out_of_fold),
        "confusion": plots.confusion(scored.hold_out),
        "reliability": plots.reliability(scored.hold_out, params.bins),
        "subgroups": plots.forest(groups, hold_out),
    }


def write_report(folder: Path, pictures: Mapping[str, bytes], report_html: str) -> None:
    """Write report.html and plots/<name>.png."""
    outputs.write_text(folder / "report.html", report_html)
    (folder / "plots").mkdir(exist_ok=True)
    for name, png in pictures.items():
        (folder / "plots" / f"{name}.png").write_bytes(png)
