"""The model card that goes with a bundle (Mitchell et al., arXiv:1810.03993), in Markdown.

Made from what the bundle ships and from the funnel; no time, host or commit: the same training gives the
same card.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from dermaflow.bundle.format import Bundle
from dermaflow.taxonomy import NAMES

FILE: Final = "model_card.md"
_FIGURES: Final = {
    "balanced_accuracy": "Balanced accuracy",
    "melanoma_auc": "Melanoma AUC",
    "malignant_auc": "Malignant AUC",
    "macro_auc": "Macro AUC",
    "ece": "Calibration error",
}


def render(bundle: Bundle, funnel: Iterable[Mapping[str, str]]) -> str:
    """Return the card.

    Args:
        bundle: what is shipped.
        funnel: rows of splits/funnel.csv: step, release, diagnosis, images.
    """
    parameters = sum(member.parameters for member in bundle.members)
    models = sorted({member.model for member in bundle.members})
    answers = ", ".join(f"{code} ({NAMES[code]})" for code in bundle.view.classes)
    sections = [
        f"# Model card: {bundle.name}",
        f"**Not a medical device.** {bundle.notice}",
        "## Model",
        (
            f"{len(bundle.members)} networks ({', '.join(models)}), {parameters / 1e6:.1f} million "
            f"parameters, {bundle.multiply_adds / 1e9:.2f} billion multiply-adds an answer, views of each "
            f"image: {bundle.views}. Answers: {answers}. "
            "Input: one dermoscopic image; age, sex and body site may be missing and are then filled "
            f"({bundle.imputer.age_years:g} years, {bundle.imputer.sex}, {bundle.imputer.site}"
            + ("; some of them from alike patients)." if bundle.imputer.alike else ").")
        ),
        "## Use",
        (
            "For research on dermoscopic images, and as a second opinion in studies. Not for photographs of "
            "whole body parts, not for other skin conditions, not to rule out melanoma. Weights trained on "
            "ISIC data carry its CC BY-NC terms."
        ),
        "## Data",
        _funnel(list(funnel)),
        (
            "Images of one patient, lesion or group of look-alikes never stand on both sides of a split; a "
            "certificate proves it before training. Nothing was chosen on the hold-out."
        ),
        "## Figures on the hold-out",
        _figures(bundle.metrics),
        "## By group",
        _groups(bundle.metrics),
        "## Operating point",
        (
            f"Refer from a malignant probability of {bundle.decision['malignant_threshold']:.4f} up, chosen "
            f"out of fold for a sensitivity of {100 * bundle.decision['sensitivity']:.6g} %."
        ),
        "## Images of other things",
        _out_of_distribution(bundle),
        "## Limits",
        (
            "Source and diagnosis are tied in the public data: some diagnoses come from one clinic only, so "
            "the figures by centre matter more than the total. Skin tone is not published for most images; "
            "dark skin is rare among them. UNK is 2020's benign lesion without a further name, not a finding."
        ),
    ]
    return "\n\n".join(sections) + "\n"


def _funnel(rows: Sequence[Mapping[str, str]]) -> str:
    """Images at each step by release, then within each release by diagnosis."""
    releases = list(dict.fromkeys(row["release"] for row in rows))
    found = {row["diagnosis"] for row in rows}
    by_release = sorted(rows, key=lambda row: releases.index(row["release"]))
    trained = Counter[str]()
    for row in rows:
        if row["step"] == "train":
            trained[row["diagnosis"]] += int(row["images"])
    parts = [
        _counted([(row["step"], row["release"], row["images"]) for row in rows], releases),
        _counted(
            [(f"{row['release']}, {row['step']}", row["diagnosis"], row["images"]) for row in by_release],
            [code for code in NAMES if code in found],
        ),
        "Trained on: " + ", ".join(f"{code} {count:,}" for code, count in trained.most_common()) + ".",
    ]
    return "\n\n".join(parts)


def _counted(cells: Iterable[tuple[str, str, str]], columns: Sequence[str]) -> str:
    """A table of images; each cell is its line, its column and how many it adds."""
    counts: dict[str, dict[str, int]] = {}
    for line, column, images in cells:
        counts.setdefault(line, dict.fromkeys(columns, 0))[column] += int(images)
    rows = [(line, *(f"{count:,}" for count in own.values())) for line, own in counts.items()]
    return _table(("images", *columns), rows)


def _figures(metrics: Mapping[str, Any]) -> str:
    rows = [(name, interval(metrics[key])) for key, name in _FIGURES.items() if key in metrics]
    rows += [("Cases", f"{metrics['cases']:,}"), ("Groups", f"{metrics['groups']:,}")]
    table = _table(("", "value (95 % interval over groups)"), rows)
    return f"{table}\n\nIntervals: none for fewer than ten groups, or ten on one side of the figure."


def _out_of_distribution(bundle: Bundle) -> str:
    if bundle.ood_sha256 is None:
        return "Nothing tells them: there were too few images to choose a border by."
    found = bundle.metrics["out_of_distribution"]
    return (
        "An image that is unlike those learned from gets no answer, unless it is asked for all the same. Of "
        f"the hold-out {interval(found['false_alarms'])} are taken for such."
    )


def _groups(metrics: Mapping[str, Any]) -> str:
    found = [
        (f"{by.removeprefix('by_').replace('_', ' ')}: {name}", figures)
        for by, groups in metrics.items()
        if by.startswith("by_")
        for name, figures in groups.items()
    ]
    rows = [
        (name, str(one["cases"]), interval(one["balanced_accuracy"]), interval(one["melanoma_auc"]))
        for name, one in found
        if one["balanced_accuracy"]["value"] is not None
    ]
    few = [f"{name} ({one['cases']})" for name, one in found if one["balanced_accuracy"]["value"] is None]
    parts = [_table(("group", "cases", "balanced accuracy", "melanoma AUC"), rows)] if rows else []
    parts += [f"Too few cases, patients or lesions for figures (cases): {', '.join(few)}."] if few else []
    return "\n\n".join(parts)


def interval(figure: Mapping[str, float | None]) -> str:
    """The figure with its interval in brackets."""
    value, low, high = (figure.get(key) for key in ("value", "low", "high"))
    if value is None:
        return "not defined"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} ({low:.3f} to {high:.3f})"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
