"""The report's pictures, as PNG bytes that depend on the figures alone (no time, no software version)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dermaflow.evaluate import metrics
from dermaflow.evaluate.answers import Answers
from dermaflow.pictures import BLUE, GREY, INK, ORANGE, draw


def roc(curves: Mapping[str, Answers]) -> bytes:
    """ROC curves of melanoma and of all malignant diagnoses.

    Args:
        curves: answers by the name in the legend; the last are what it is about, others lie grey behind.
    """
    *_, subject = curves

    def paint(figure: Figure) -> None:
        for axes, title, truth, score in zip(
            figure.subplots(1, 2),
            ("Melanoma", "Any malignant diagnosis"),
            ("melanoma", "malignant"),
            ("melanoma_probability", "malignant_probability"),
            strict=True,
        ):
            axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
            for name, answers in curves.items():
                colour, line = (BLUE, "-") if name == subject else (GREY, "--")
                positive, value = getattr(answers, truth), getattr(answers, score)
                area = metrics.auc(positive, value)
                false_alarms, sensitivity, _ = metrics.roc(positive, value)
                label = f"{name}: AUC {'not defined' if np.isnan(area) else format(area, '.3f')}"
                axes.plot(false_alarms, sensitivity, color=colour, linestyle=line, label=label)
            axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(0, 1), ylim=(0, 1.01), title=title)
            axes.set_aspect("equal")
            axes.legend(loc="lower right")

    return draw(paint, 8.4, 4.2)


def confusion(answers: Answers) -> bytes:
    """Confusion matrix by decision score: cases, coloured by their share of the true diagnosis."""
    classes = answers.view.classes
    counts = metrics.confusion(answers.target, answers.decided, len(classes))
    names = [*classes, "tied"] if counts[:, -1].any() else [*classes]
    shown = counts[:, : len(names)]
    shares = np.nan_to_num(
        metrics.ratio(shown, np.broadcast_to(shown.sum(axis=1, keepdims=True), shown.shape))
    )

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for (row, column), count in np.ndenumerate(shown):
            if count:
                share = shares[row, column]
                axes.text(
                    column,
                    row,
                    f"{count}\n{share:.0%}",
                    ha="center",
                    va="center",
                    fontsize=7.5,
                    color="white" if share > 0.55 else INK,  # noqa: PLR2004 - where dark begins
                )
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(classes)), classes)
        axes.set(xlabel="decided", ylabel="true diagnosis")
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)

    return draw(paint, 6.4, 5.2)


def reliability(answers: Answers, bins: int) -> bytes:
    """Stated against found shares: the highest probability, and that of melanoma."""

    def paint(figure: Figure) -> None:
        top = answers.probability.max(axis=1)
        for axes, title, stated, found in zip(
            figure.subplots(1, 2),
            ("Likeliest diagnosis", "Melanoma"),
            (top, answers.melanoma_probability),
            (answers.likeliest == answers.target, answers.melanoma),
            strict=True,
        ):
            _reliability(axes, title, metrics.reliability(stated, found, bins))

    return draw(paint, 8.4, 4.2)


def _reliability(axes: Axes, title: str, found: tuple[metrics.Ints, metrics.Floats, metrics.Floats]) -> None:
    cases, stated, share = found
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    full = cases > 0
    axes.bar(
        (np.arange(len(cases)) + 0.5) / len(cases),
        cases / max(cases.max(initial=0), 1) * 0.25,
        width=0.9 / len(cases),
        color=GREY,
        alpha=0.35,
        label="cases (relative)",
    )
    axes.plot(stated[full], share[full], color=BLUE, marker="o", markersize=4, label="found")
    axes.set(xlabel="stated probability", ylabel="share found", xlim=(0, 1), ylim=(0, 1.01), title=title)
    axes.set_aspect("equal")
    axes.legend(loc="upper left")


def forest(groups: Mapping[str, Mapping[str, Any]], overall: Mapping[str, Any]) -> bytes:
    """Both headline figures with intervals in every subgroup that has them; dotted: over all cases."""
    rows = [
        (by.removeprefix("by_").replace("_", " "), name, values)
        for by, subgroups in groups.items()
        for name, values in subgroups.items()
    ]
    rows = [row for row in rows if row[2]["balanced_accuracy"]["value"] is not None] or rows

    def paint(figure: Figure) -> None:
        panels = figure.subplots(1, 2, sharey=True)
        for axes, key, colour in zip(
            panels, ("balanced_accuracy", "melanoma_auc"), (BLUE, ORANGE), strict=True
        ):
            if overall[key]["value"] is not None:
                axes.axvline(overall[key]["value"], color=GREY, linestyle=":", linewidth=1)
            for place, (_, _, values) in enumerate(rows):
                found = values[key]
                if found["low"] is not None:
                    axes.plot([found["low"], found["high"]], [place, place], color=colour, linewidth=1.4)
                if found["value"] is not None:
                    axes.plot(found["value"], place, "o", color=colour, markersize=4)
            axes.set(title=key.replace("_", " ").replace("auc", "AUC"), xlim=(0, 1.02))
            axes.grid(axis="x", alpha=0.25)
            for place in range(1, len(rows)):
                if rows[place][0] != rows[place - 1][0]:
                    axes.axhline(place - 0.5, color=GREY, linewidth=0.5)
        labels = [f"{by}: {name} ({values['cases']})" for by, name, values in rows]
        panels[0].set_yticks(range(len(rows)), labels)
        panels[0].set_ylim(len(rows) - 0.5, -0.5)

    return draw(paint, 8.4, 1.2 + 0.21 * len(rows))
