"""The pictures that people ask for first: diagnoses, patients and image sizes of each release."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dermaflow.pictures import BLUE, GREY, ORANGE, draw
from dermaflow.taxonomy import DIAGNOSES, SEXES, SITES

_COLOURS: Final = (BLUE, ORANGE, GREY, "#6a4c93", "#2e8b57", "#b8860b")
_FIELDS: Final = ("age_years", "sex", "site", "patient_id", "lesion_id")
Tables = Mapping[str, pd.DataFrame]


def write(folder: Path, tables: Tables, facts: Tables) -> dict[str, str]:
    """Draw the training rows and image files of all releases.

    Args:
        folder: the PNG files are written here.
        tables: rows of outputs.releases, a release.
        facts: rows of outputs.facts, a release.

    Returns:
        Title to file name, in the order in which they should be shown.
    """
    train = {name: table[table["part"] == "train"] for name, table in tables.items()}
    folder.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, tuple[str, Callable[[Figure], None], float]] = {
        "Diagnoses": ("diagnoses", lambda figure: _diagnoses(figure, train), 3.2),
        "Age": ("age", lambda figure: _ages(figure, train), 2.8),
        "Sex": ("sex", lambda figure: _words(figure, train, "sex", [*SEXES]), 2.6),
        "Body site": ("site", lambda figure: _words(figure, train, "site", [*SITES]), 2.8),
        "Missing values": ("missing", lambda figure: _missing(figure, train), 2.8),
        "Image sizes": ("sizes", lambda figure: _sizes(figure, facts), 3.6),
    }
    for name, paint, height in pictures.values():
        (folder / f"{name}.png").write_bytes(draw(paint, 9, height))
    return {title: f"{name}.png" for title, (name, _, _) in pictures.items()}


def _bars(figure: Figure, groups: list[str], heights: Mapping[str, Any], label: str, *, log: bool) -> None:
    """Draw one bar a group and release, side by side, with what it stands for above it."""
    axes = figure.subplots()
    width = 0.8 / max(len(heights), 1)
    for number, (release, values) in enumerate(heights.items()):
        at = np.arange(len(groups)) + (number - (len(heights) - 1) / 2) * width
        bars = axes.bar(at, values, width, label=release, color=_COLOURS[number % len(_COLOURS)])
        texts = [f"{value:,}" if log else f"{value:.1f}" for value in values]
        axes.bar_label(
            bars,
            [text if float(value) else "" for text, value in zip(texts, values, strict=True)],
            fontsize=6,
        )
    axes.set_xticks(np.arange(len(groups)), groups)
    axes.set_ylabel(label)
    if log:
        axes.set_yscale("symlog", linthresh=10)
    axes.legend()


def _diagnoses(figure: Figure, train: Tables) -> None:
    found = {code for rows in train.values() for code in rows["diagnosis"].dropna().unique()}
    codes = [*(code for code in DIAGNOSES if code in found), *sorted(found - set(DIAGNOSES))]
    counts = {
        name: rows["diagnosis"].value_counts().reindex(codes, fill_value=0).to_numpy()
        for name, rows in train.items()
    }
    _bars(figure, codes, counts, "training rows (log)", log=True)


def _ages(figure: Figure, train: Tables) -> None:
    axes = figure.subplots()
    for number, (release, rows) in enumerate(train.items()):
        ages = rows["age_years"].dropna()
        share = np.full(len(ages), 100 / max(len(ages), 1))
        title = f"{release}, mean {ages.mean():.1f}" if len(ages) else f"{release}, none known"
        axes.hist(
            ages,
            [5 * step - 2.5 for step in range(26)],  # up to the 120 years that the suites let pass,
            weights=share,
            histtype="step",
            label=title,
            color=_COLOURS[number % len(_COLOURS)],
        )
    axes.set(xlabel="age, years", ylabel="% of rows with an age")
    axes.legend()


def _words(figure: Figure, train: Tables, column: str, words: list[str]) -> None:
    shares = {
        name: 100
        * rows[column].fillna("missing").value_counts(normalize=True).reindex([*words, "missing"]).fillna(0)
        for name, rows in train.items()
    }
    _bars(figure, [*words, "missing"], shares, "% of training rows", log=False)


def _missing(figure: Figure, train: Tables) -> None:
    shares = {name: 100 * rows[list(_FIELDS)].isna().mean().to_numpy() for name, rows in train.items()}
    _bars(figure, [name.replace("_", " ") for name in _FIELDS], shares, "% missing", log=False)


def _sizes(figure: Figure, facts: Tables) -> None:
    """Draw each different size once, its area by how many images have it."""
    axes = figure.subplots()
    for number, (release, rows) in enumerate(facts.items()):
        counts = rows.loc[rows["readable"].astype(bool), ["width", "height"]].value_counts()
        title = f"{release}: {int(counts.sum()):,} images, different sizes: {len(counts):,}"
        width, height = (counts.index.get_level_values(side) for side in ("width", "height"))
        area = 12 + 300 * counts.to_numpy() / max(int(counts.sum()), 1)
        axes.scatter(width, height, area, color=_COLOURS[number % len(_COLOURS)], alpha=0.6, linewidths=0)
        axes.plot([], [], "o", color=_COLOURS[number % len(_COLOURS)], label=title)
    axes.set(xlabel="width, pixels (log)", ylabel="height, pixels (log)", xscale="log", yscale="log")
    axes.legend()
