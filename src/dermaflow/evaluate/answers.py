"""A model's answers on labelled cases: what every figure is computed from."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermaflow.bundle.apply import decision_scores
from dermaflow.errors import DataError, first_ten
from dermaflow.evaluate.metrics import Bools, Floats, Ints, decide
from dermaflow.taxonomy import MALIGNANT, View, change_view


@dataclass(frozen=True, eq=False)
class Answers:
    """Probabilities beside the truth, case by case.

    Attributes:
        view: the classes.
        target: shape (n,), index of the true class.
        probability: shape (n, k), calibrated for the natural class frequencies.
        prior: shape (k,), those frequencies (of the training rows); any positive multiple does.
        cases: n rows as outputs.cases, in the order of `target`.
        aside: those whose diagnosis is outside the view, with columns `probability_<class>`; a coarser view
            may hold it (AKIEC, which joins AK and SCC).
    """

    view: View
    target: Ints
    probability: Floats
    prior: Floats
    cases: pd.DataFrame
    aside: pd.DataFrame | None = None

    @classmethod
    def of(cls, frame: pd.DataFrame, view: View, prior: Floats, cases: pd.DataFrame) -> "Answers":
        """Join predictions and labelled cases; cases whose diagnosis is outside the view are put aside.

        Args:
            frame: image_id and `probability_<class>`.
            view: the model's.
            prior: shape (k,).
            cases: as outputs.cases, with `diagnosis` filled.

        Raises:
            DataError: a case has no prediction.
        """
        inside = np.array([view.target(code) is not None for code in cases.diagnosis], bool)
        kept = cases[inside].reset_index(drop=True)
        absent = kept.image_id[~kept.image_id.isin(frame.image_id)]
        if len(absent):
            raise DataError(
                f"{len(absent)} cases have no prediction: {first_ten(absent)}",
                "predictions.parquet",
                "Run `dvc repro`, which predicts every case of the split.",
            )
        said = frame[["image_id", *_columns(view)]]
        found = said.set_index("image_id").loc[kept.image_id].to_numpy(np.float64)
        aside = cases[~inside].merge(said, on="image_id")
        return cls(view, _targets(kept.diagnosis, view), found, prior, kept, aside)

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.target)

    @property
    def decision(self) -> Floats:
        """Decision scores: probability / prior, renormalised."""
        return decision_scores(self.probability, self.prior)

    @cached_property
    def decided(self) -> Ints:
        """The class with the highest decision score, for balanced accuracy."""
        return decide(self.decision)

    @cached_property
    def likeliest(self) -> Ints:
        """The class with the highest probability, for accuracy."""
        return decide(self.probability)

    @property
    def melanoma(self) -> Bools:
        """Which cases are melanoma."""
        return np.asarray(self.target == self.view.classes.index("MEL"))

    @property
    def melanoma_probability(self) -> Floats:
        """Probability of melanoma, shape (n,)."""
        return self.probability[:, self.view.classes.index("MEL")]

    @property
    def malignant(self) -> Bools:
        """Which cases are malignant."""
        return np.asarray(malignant_classes(self.view)[self.target])

    @property
    def malignant_probability(self) -> Floats:
        """Summed probability of the malignant classes, shape (n,)."""
        return np.asarray(self.probability[:, malignant_classes(self.view)].sum(axis=1))

    @property
    def groups(self) -> NDArray[Any]:
        """The group of each case: what is resampled."""
        return self.cases.group.to_numpy()

    @property
    def absent(self) -> list[str]:
        """Classes without a case."""
        return [code for index, code in enumerate(self.view.classes) if index not in self.target]

    def where(self, mask: Bools) -> "Answers":
        """Keep some cases, and none of those aside."""
        return replace(
            self,
            target=self.target[mask],
            probability=self.probability[mask],
            cases=self.cases[mask].reset_index(drop=True),
            aside=None,
        )

    def in_view(self, view: View) -> "Answers":
        """Answer in a coarser view: probabilities and priors are summed before dividing.

        Cases whose diagnosis is outside that view are left out; those aside whose diagnosis it holds come in.

        Raises:
            ValueError: the view can't be made from this one.
        """
        cases, said = (self.cases, self.probability) if self.aside is None else self._with(self.aside)
        probability = change_view(said, self.view, view)
        prior = change_view(self.prior[None], self.view, view, renormalise=False)[0]
        mask = np.array([view.target(code) is not None for code in cases.diagnosis], bool)
        kept = cases[mask].reset_index(drop=True)
        return Answers(view, _targets(kept.diagnosis, view), probability[mask], prior, kept)

    def for_malignancy(self) -> "Answers":
        """Add the malignant cases aside: AKIEC, where AK and SCC are apart.

        Which malignant class they are given is arbitrary, so only for malignant against benign.
        """
        if self.aside is None:
            return self
        cases, said = self._with(self.aside[self.aside.diagnosis.isin(MALIGNANT)])
        some = np.flatnonzero(malignant_classes(self.view))[0]
        target = np.append(self.target, np.full(len(said) - len(self), some))
        return Answers(self.view, target, said, self.prior, cases)

    def _with(self, aside: pd.DataFrame) -> tuple[pd.DataFrame, Floats]:
        """Return the cases and what was said of them, those aside last."""
        if aside.empty:
            return self.cases, self.probability
        cases = pd.concat([self.cases, aside[self.cases.columns]], ignore_index=True)
        return cases, np.concatenate([self.probability, aside[_columns(self.view)].to_numpy(np.float64)])


def malignant_classes(view: View) -> Bools:
    """Which classes of a view are malignant, shape (k,)."""
    return np.array([code in MALIGNANT for code in view.classes], bool)


def _columns(view: View) -> list[str]:
    return [f"probability_{code}" for code in view.classes]


def _targets(diagnoses: "pd.Series[Any]", view: View) -> Ints:
    return np.array([view.target(code) for code in diagnoses], np.int64)
