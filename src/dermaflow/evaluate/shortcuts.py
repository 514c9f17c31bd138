"""What the source of an image alone gives away: the figures that a model must beat by looking.

Image dimensions, centre and patient fields say much about the diagnosis, because each clinic sends other
cases at other sizes. A small forest learns from them on the training rows, without a pixel; its figures on
the hold-out stand beside the model's.
"""

from typing import Any, Final

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier

from dermaflow.evaluate import figures
from dermaflow.evaluate.answers import Answers
from dermaflow.evaluate.metrics import Floats
from dermaflow.evaluate.params import EvaluateParams
from dermaflow.taxonomy import SITES

PROBES: Final = {
    "size": ("size",),
    "centre": ("centre",),
    "patient_fields": ("patient",),
    "all": ("size", "centre", "patient"),
}
"""Each probe and what it is shown."""


def source_probe(answers: Answers, train: pd.DataFrame, params: EvaluateParams) -> dict[str, Any]:
    """Fit each probe on training rows and score it on the answers' cases.

    Args:
        answers: the model's, on the hold-out; its view and cases are used, not its probabilities.
        train: training rows as outputs.cases, with diagnoses.
        params: resamples and seed.

    Returns:
        For each of PROBES balanced_accuracy and melanoma_auc with intervals; null figures if the training
        rows hold a single class.
    """
    view, k = answers.view, len(answers.view.classes)
    targets = [view.target(code) for code in train.diagnosis]
    rows = train[[target is not None for target in targets]]
    target = np.array([target for target in targets if target is not None], np.int64)
    centres = sorted(rows.centre.unique())
    prior = np.bincount(target, minlength=k) / max(len(target), 1)
    found = {}
    for name, parts in PROBES.items():
        probability = np.full((len(answers), k), 1 / k)
        if np.unique(target).size > 1 and len(answers):
            # one worker and a fixed seed: the same trees everywhere
            forest = RandomForestClassifier(40, max_depth=10, min_samples_leaf=10, random_state=0, n_jobs=1)
            forest.fit(_features(rows, parts, centres), target)
            probability = np.zeros((len(answers), k))
            probability[:, forest.classes_] = forest.predict_proba(_features(answers.cases, parts, centres))
        seen = Answers(view, answers.target, probability, prior, answers.cases)
        weights = figures.weights_of(seen, params)
        found[name] = {
            "balanced_accuracy": figures.figure(figures.balanced_accuracy(seen), weights),
            "melanoma_auc": figures.figure(figures.melanoma_auc(seen), weights),
        }
    return found


def _features(cases: pd.DataFrame, parts: tuple[str, ...], centres: list[str]) -> Floats:
    """What a probe is shown, shape (n, features); missing cells become -1, which trees can part."""
    columns: list[Any] = []
    if "size" in parts:
        columns += [cases.width, cases.height, cases.width / cases.height.clip(lower=1)]
    if "centre" in parts:
        columns += [cases.centre == centre for centre in centres]
    if "patient" in parts:
        columns += [cases.age_years.fillna(-1), cases.sex.map({"female": 0, "male": 1}).fillna(-1)]
        columns += [cases.site == site for site in SITES]
    return np.stack([np.asarray(column, np.float64) for column in columns], axis=1)
