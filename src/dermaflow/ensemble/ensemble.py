"""All members to one answer: weights, temperature, thresholds, figures and report. Called by stage ensemble.

Everything is chosen on out-of-fold predictions. There a case is answered by one member a model, on the
hold-out and in the service by all of them, which are a little surer together than the temperature, fitted on
fewer, supposes: the reliability on the hold-out shows what is left of that.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from dermaflow import outputs
from dermaflow.bundle.ood import FILE, OodDetector
from dermaflow.ensemble import blend, calibrate, conformal, ood, sections
from dermaflow.ensemble.params import EnsembleParams
from dermaflow.evaluate import evaluation, figures, members, report
from dermaflow.evaluate.answers import Answers
from dermaflow.evaluate.members import Member
from dermaflow.evaluate.params import EvaluateParams

SPLITS: Final = {"hold-out": "hold_out", "out of fold": "out_of_fold"}
"""Columns of the report's tables, and their keys in metrics.json."""


@dataclass(frozen=True, eq=False)
class Ensemble:
    """What is written to outputs/ensemble/.

    Attributes:
        blend: blend.json: each member's weight.
        calibration: calibration.json: `Calibration.to_json()`, `decision` (what the bundle ships) and how
            the rows are ordered.
        detector: ood.npz, what images of other things are told by; None for too few images to promise.
        metrics: metrics.json.
        predictions: as outputs.ensemble_predictions, both splits.
        report_html: report.html.
        plots: PNG bytes by name.
    """

    blend: dict[str, Any]
    calibration: dict[str, Any]
    detector: OodDetector | None
    metrics: dict[str, Any]
    predictions: pd.DataFrame
    report_html: str
    plots: dict[str, bytes]

    def write(self, folder: Path) -> None:
        """Write all files into a folder (see `outputs.replacing`)."""
        for name in ("blend", "calibration", "metrics"):
            outputs.write_json(folder / f"{name}.json", getattr(self, name))
        if self.detector is not None:
            self.detector.write(folder / FILE)
        table = outputs.ensemble_predictions
        table.check(self.predictions).to_parquet(
            folder / Path(table.file).name, index=False, compression="zstd"
        )
        outputs.write_json(folder / "headline.json", headline(self.metrics))
        evaluation.write_report(folder, self.plots, self.report_html)


def headline(metrics: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """Return the few figures that `dvc metrics show` and `diff` have room for, of either split.

    Args:
        metrics: as in metrics.json.
    """
    names = ("balanced_accuracy", "melanoma_auc", "macro_auc", "log_loss")
    return {
        split: {name: metrics[split][name]["value"] for name in names}
        for split in ("out_of_fold", "hold_out")
    }


def ensemble(
    found: Sequence[Member],
    cases: pd.DataFrame,
    holdout: pd.DataFrame,
    params: EnsembleParams,
    evaluate: EvaluateParams,
    *,
    funnel: pd.DataFrame,
    notice: str,
) -> Ensemble:
    """Blend, calibrate and measure.

    Args:
        found: all members, models in the order of params.yaml, folds within (`members.read`).
        cases: outputs.cases.
        holdout: outputs.holdout.
        params: section `ensemble`.
        evaluate: section `evaluate`.
        funnel: splits/funnel.csv.
        notice: registry.notice.

    Raises:
        DataError: predictions and cases do not belong together.
    """
    view, prior = found[0].view, members.natural_prior(cases, found[0].view)
    centres = members.priors_by_centre(cases, view)
    train = members.labelled(cases, holdout, "out_of_fold")
    weights = blend.weigh(found, params.weights, prior, train)
    calibration = members.calibration(found, weights, prior, centres)  # refuses different views
    beta = calibrate.fit_beta(*blend.blended(found, weights, prior, train))
    calibration = replace(calibration, beta=beta)
    scored = evaluation.score(found, calibration, cases, holdout)

    decision = decide(scored.out_of_fold, params)
    metrics = evaluation.assess(scored, cases, evaluate)
    for name, answers in (("hold_out", scored.hold_out), ("out_of_fold", scored.out_of_fold)):
        metrics[name]["operating_point"] = figures.operating_point(
            answers, decision["malignant_threshold"], evaluate
        )
        metrics[name]["prediction_sets"] = conformal.coverage(answers, np.array(decision["set_thresholds"]))
    detector = ood.fit(found, cases, params.false_alarms)
    if detector is not None:
        metrics["hold_out"]["out_of_distribution"] = ood.on_hold_out(
            detector, found, scored.hold_out, evaluate
        )
    plots = evaluation.draw(scored, metrics, evaluate)

    rows = [
        {"model": member.model, "fold": member.fold, "weight": float(weight)}
        for member, weight in zip(found, weights, strict=True)
    ]
    order = [{"model": row["model"], "fold": row["fold"]} for row in rows]
    counts = Counter(member.model for member in found)
    members_of = ", ".join(f"{count} of {model}" for model, count in counts.items())
    lead = (
        f"Members: {members_of}; weights {params.weights}, "
        f"temperature {1 / beta:.3f} fitted out of fold, {len(view.classes)} diagnoses."
    )
    content = report.Content(
        title="Ensemble",
        notice=notice,
        lead=lead,
        metrics=metrics,
        plots=plots,
        funnel=funnel,
        scored=f"In this run of the pipeline the hold-out was scored {len(counts) + 1} times: "
        f"{', '.join(f'by model {model}' for model in counts)}, by the ensemble.",
        extra=[
            ("When to refer", _operating_point(metrics, params)),
            ("Prediction sets", _sets(metrics, decision, params)),
            ("Images of other things", _out_of_distribution(metrics, params)),
            ("Members", _members(rows)),
        ],
    )
    return Ensemble(
        blend={"how": params.weights, "members": rows},
        calibration={
            **calibration.to_json(),
            "classes": list(view.classes),
            "decision": decision,
            "members": order,
        },
        detector=detector,
        metrics=metrics,
        predictions=pd.concat(
            [members.predict(found, calibration, split) for split in ("out_of_fold", "hold_out")],
            ignore_index=True,
        ),
        report_html=report.render(content),
        plots=plots,
    )


def decide(out_of_fold: Answers, params: EnsembleParams) -> dict[str, Any]:
    """Choose the thresholds out of fold.

    Returns:
        `malignant_threshold` (refer from this malignant probability up) for the wanted `sensitivity`;
        `set_thresholds` (one a class: in the set from this probability up) for the wanted `set_coverage`.
    """
    threshold = conformal.refer_threshold(
        out_of_fold.malignant, out_of_fold.malignant_probability, params.sensitivity
    )
    found = conformal.thresholds(out_of_fold.target, out_of_fold.probability, params.coverage)
    return {
        "malignant_threshold": threshold,
        "sensitivity": params.sensitivity,
        "set_thresholds": found.tolist(),
        "set_coverage": params.coverage,
    }


def _operating_point(metrics: dict[str, Any], params: EnsembleParams) -> str:
    point = {name: metrics[key]["operating_point"] for name, key in SPLITS.items()}
    text = (
        f"{sections.refer_rule(point['hold-out'])} The threshold was chosen out of fold for a "
        f"sensitivity of {report.percent(params.sensitivity)}; the hold-out shows what it gives on new cases."
    )
    return sections.referred(point) + report.paragraph(text)


def _sets(metrics: dict[str, Any], decision: dict[str, Any], params: EnsembleParams) -> str:
    found = metrics["hold_out"]["prediction_sets"]
    text = (
        f"Sets that should hold the diagnosis of {report.percent(params.coverage)} of each class' cases. "
        f"On the hold-out {sections.held(found)} A threshold of 0 means too few out-of-fold cases: the class "
        "is in every set."
    )
    return sections.sets(found, decision["set_thresholds"], "hold-out cases") + report.paragraph(text)


def _out_of_distribution(metrics: dict[str, Any], params: EnsembleParams) -> str:
    found = metrics["hold_out"].get("out_of_distribution")
    if found is None:
        return report.paragraph(
            "There are too few out-of-fold images to promise that only "
            f"{report.percent(params.false_alarms)} of them would be taken for images of other things; "
            "the service answers whatever it is shown."
        )
    rows = [
        (name, centre["cases"], report.number(centre["false_alarms"]))
        for name, centre in found["centres"].items()
    ]
    text = (
        "The service gives no answer to an image that is unlike those it learned from. The border was chosen "
        f"out of fold so that {report.percent(params.false_alarms)} of images like them lie beyond it; "
        f"on the hold-out {report.interval(found['false_alarms'])} do."
    )
    heads = ("centre", "hold-out cases", "share without an answer")
    return report.table(heads, rows) + report.paragraph(text)


def _members(rows: Sequence[dict[str, Any]]) -> str:
    return report.table(
        ("model", "fold", "weight"), [(row["model"], row["fold"], f"{row['weight']:.4f}") for row in rows]
    )
