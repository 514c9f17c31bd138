"""What a shipped bundle does on labelled images of people's own: another clinic's, or those that came after.

In: its answers beside the confirmed diagnoses. Out: figures with intervals and a report, beside what it did
on the hold-out of its training. Nothing is chosen here: temperature, thresholds and border are the bundle's.
Called by `dermaflow assess`.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from dermaflow.bundle.format import Bundle
from dermaflow.bundle.ood import BORDER
from dermaflow.ensemble import conformal, sections
from dermaflow.errors import DataError, first_ten
from dermaflow.evaluate import figures, intervals, plots, report
from dermaflow.evaluate.answers import Answers
from dermaflow.evaluate.evaluation import Evaluation
from dermaflow.evaluate.params import EvaluateParams
from dermaflow.evaluate.subgroups import subgroups

HERE: Final = "these images"
BEFORE: Final = "hold-out of its training"


def assess(
    bundle: Bundle,
    answers: Answers,
    params: EvaluateParams,
    *,
    title: str,
    told: str | None,
    outside_view: int,
    compared: bool,
) -> Evaluation:
    """Measure a bundle's answers.

    Args:
        bundle: who answered.
        answers: their cases have the columns age_years, sex, site, group, and `ood_score` (NaN where the
            bundle can't tell images of other things).
        params: section `evaluate`.
        title: of the report.
        told: the centre that the answers were told, if they were.
        outside_view: images whose diagnosis the bundle does not know, which are left out.
        compared: whether it was made sure that training held none of the images, under their names or as
            the same files.

    Raises:
        DataError: no case.
    """
    if not len(answers):
        raise DataError(
            f"none of its {outside_view} diagnoses is among the bundle's: {first_ten(bundle.view.classes)}",
            "the diagnoses",
            "Take a bundle of another view (labels.view).",
        )
    metrics: dict[str, Any] = {
        "bundle": {"name": bundle.name, "digest": bundle.digest},
        "told": told,
        "compared_with_training": compared,
        **figures.headline(answers, params),
        "outside_view": outside_view,
        "per_class": figures.per_class(answers),
        **subgroups(answers, params),
        "operating_point": figures.operating_point(answers, bundle.decision["malignant_threshold"], params),
        "prediction_sets": conformal.coverage(answers, np.array(bundle.decision["set_thresholds"])),
        "out_of_distribution": _unlike(bundle, answers, params),
    }
    groups = {name: value for name, value in metrics.items() if name.startswith("by_")}
    pictures = {
        "roc": plots.roc({HERE: answers}),
        "confusion": plots.confusion(answers),
        "reliability": plots.reliability(answers, params.bins),
        "subgroups": plots.forest(groups, metrics),
    }
    return Evaluation(metrics, pictures, _report(bundle, metrics, pictures, _missed(bundle, answers), title))


def _unlike(bundle: Bundle, answers: Answers, params: EvaluateParams) -> dict[str, Any] | None:
    """Return the share of the images that the service would give no answer to; None: it answers all."""
    if bundle.ood_sha256 is None:
        return None
    above = answers.cases.ood_score.to_numpy() > BORDER
    return {"unlike": figures.figure(intervals.share(above), figures.weights_of(answers, params))}


def _missed(bundle: Bundle, answers: Answers) -> str:
    """Return a table of the malignant cases that would not be referred, the least suspected first."""
    answers = answers.for_malignancy()
    probability = answers.malignant_probability
    rows = np.flatnonzero(answers.malignant & (probability < bundle.decision["malignant_threshold"]))
    if not rows.size:
        return report.paragraph("None.")
    shown = [
        (answers.cases.image_id[row], answers.cases.diagnosis[row], f"{probability[row]:.4f}")
        for row in rows[np.argsort(probability[rows], kind="stable")]
    ]
    return report.table(("image", "diagnosis", "malignant probability"), shown)


def _report(
    bundle: Bundle, metrics: Mapping[str, Any], pictures: Mapping[str, bytes], missed: str, title: str
) -> str:
    before = bundle.metrics
    told = f" It was told that all are from the centre {metrics['told']}." if metrics["told"] else ""
    compared = (
        "None of them is a training image of this project by its name or as the same file (the same "
        "picture saved anew is not noticed)"
        if metrics["compared_with_training"]
        else "Whether its training held any of them could not be looked up: outputs/cases.parquet is not "
        "here, or is of another split"
    )
    lead = (
        f"{metrics['cases']} labelled images of {metrics['groups']} groups (patients, lesions, identical "
        f"files), answered by the bundle {bundle.name} {bundle.digest[:12]}. Nothing was chosen on them: "
        f"temperature, thresholds and border are the bundle's.{told} {compared}."
    )
    parts = [
        ("Headline", report.headline({HERE: metrics, BEFORE: before}) + report.paragraph(_headline(metrics))),
        ("When to refer", _referred(bundle, metrics)),
        ("Malignant cases that would not be referred", missed),
        ("Prediction sets", _sets(bundle, metrics)),
        ("Images of other things", report.paragraph(_told_unlike(bundle, metrics))),
        ("ROC curves", report.picture(pictures["roc"], "ROC curves")),
        ("Diagnoses", report.per_class(metrics["per_class"])),
        (
            "Confusion matrix, by decision score",
            report.picture(pictures["confusion"], "Confusion matrix"),
        ),
        ("Reliability", report.picture(pictures["reliability"], "Reliability") + report.reliability(metrics)),
        (
            "Subgroups, 95 % intervals",
            report.picture(pictures["subgroups"], "Subgroups") + report.subgroups(metrics),
        ),
    ]
    return report.page(title, lead, bundle.notice, report.cards(metrics, HERE), parts)


def _headline(metrics: Mapping[str, Any]) -> str:
    learned = f"in training at {metrics['told']}" if metrics["told"] else "in training"
    text = (
        f"Brackets: 95 % intervals over resampled groups, {intervals.FEW}; that of balanced accuracy is too "
        "narrow where a diagnosis has a handful of images. Balanced accuracy goes by decision score "
        f"(probability divided by the diagnosis' frequency {learned}), accuracy by probability; a tie for "
        f"the highest counts as wrong. Probabilities suppose the frequencies {learned}: where diagnoses "
        "are more or less frequent, accuracy, log loss, Brier score and calibration error suffer from that "
        "alone."
    )
    if metrics["absent_classes"]:
        text += (
            f" No image has {', '.join(metrics['absent_classes'])}: balanced accuracy is over the others, so "
            f"it does not compare with that of the {BEFORE}."
        )
    if metrics["outside_view"]:
        text += (
            f" {metrics['outside_view']} images have a diagnosis that it does not know, and are left out "
            "(AKIEC where it tells AK from SCC counts as malignant under When to refer)."
        )
    return text


def _referred(bundle: Bundle, metrics: Mapping[str, Any]) -> str:
    columns = {HERE: metrics["operating_point"], BEFORE: bundle.metrics["operating_point"]}
    text = (
        f"{sections.refer_rule(columns[HERE])} The threshold was chosen in training for a sensitivity of "
        f"{report.percent(bundle.decision['sensitivity'])}.{_unpromised(metrics)}"
    )
    return sections.referred(columns) + report.paragraph(text)


def _sets(bundle: Bundle, metrics: Mapping[str, Any]) -> str:
    found = metrics["prediction_sets"]
    text = (
        f"Sets that should hold the diagnosis of {report.percent(bundle.decision['set_coverage'])} of each "
        f"class' cases.{_unpromised(metrics)} On these images {sections.held(found)}"
    )
    return sections.sets(found, bundle.decision["set_thresholds"], "cases here") + report.paragraph(text)


def _unpromised(metrics: Mapping[str, Any]) -> str:
    """Say what becomes of a promise where answers were told the centre."""
    if not metrics["told"]:
        return ""
    return (
        " That was on answers that are told no centre, as the service's and those in the other column are "
        "not; on told ones it need not hold."
    )


def _told_unlike(bundle: Bundle, metrics: Mapping[str, Any]) -> str:
    found = metrics["out_of_distribution"]
    if found is None:
        return "The bundle has no border to images of other things: the service answers whatever it is shown."
    before = bundle.metrics.get("out_of_distribution", {}).get("false_alarms")
    held = "" if before is None else f"; of the {BEFORE}, {report.interval(before)}"
    return (
        f"The service would give no answer to {report.interval(found['unlike'])} of these images, which are "
        f"unlike those that it learned from{held}. The other figures count their answers all the same."
    )
