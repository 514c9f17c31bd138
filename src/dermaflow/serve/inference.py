"""How one image becomes one answer; the same steps, in the same order, as in evaluation."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from dermaflow.bundle.apply import prediction_sets
from dermaflow.bundle.ood import BORDER
from dermaflow.bundle.run import Runner
from dermaflow.impute.apply import Patient, vectors
from dermaflow.taxonomy import MALIGNANT, NAMES

NOT_A_DEVICE: Final = "Not a medical device."
OTHER_THING: Final = (
    "This image is unlike the dermoscopic images that the networks learned from, and what they say of it "
    "means little. Is it a sharp, evenly lit dermoscopic image with the lesion in the middle?"
)


def abstention(ood_score: float) -> str | None:
    """Why the model gives no answer for an image of this score; None if it gives one."""
    return OTHER_THING if ood_score > BORDER else None


def with_notice(notice: str) -> str:
    """A bundle's sentence, which always says that this is no medical device."""
    return notice if NOT_A_DEVICE in notice else f"{notice} {NOT_A_DEVICE}".strip()


@dataclass(frozen=True)
class Answer:
    """What a person is told about one image.

    Attributes:
        probabilities: calibrated, one a class of the bundle's view, in its order; they sum to 1.
        imputed: the patient fields that were missing (age, sex, site), each with what stands in for it.
        decision: the bundle's operating point and prediction sets, chosen out of fold.
        ood_score: how unlike the training images this one is, in units of the border; None: not known.
        forced: whether the probabilities were asked for whatever the image shows.
        notice: the bundle's sentence that stands beside each answer.
        model: provenance: name, version, digest, git_commit, data_md5, mlflow_run_id.
        elapsed_ms: from the file's bytes to the probabilities.
    """

    probabilities: dict[str, float]
    imputed: Mapping[str, float | str]
    decision: Mapping[str, Any] = field(default_factory=dict)
    ood_score: float | None = None
    forced: bool = False
    notice: str = ""
    model: Mapping[str, str] = field(default_factory=dict)
    elapsed_ms: float = 0.0

    @property
    def abstained(self) -> str | None:
        """Why the model gives no answer; None if it gives one."""
        return None if self.ood_score is None else abstention(self.ood_score)

    @property
    def withheld(self) -> bool:
        """Whether the probabilities are kept back."""
        return self.abstained is not None and not self.forced

    @property
    def top3(self) -> list[tuple[str, float]]:
        """The three most probable diagnoses; equal ones in the view's order."""
        return sorted(self.probabilities.items(), key=lambda item: -item[1])[:3]

    @property
    def malignant_probability(self) -> float:
        """Sum over the malignant classes of the view: MEL, BCC, SCC, AK (or AKIEC)."""
        return min(1.0, sum(value for code, value in self.probabilities.items() if code in MALIGNANT))

    @property
    def refer(self) -> bool | None:
        """Whether the malignant probability reaches the operating point; None if the bundle has none."""
        threshold = self.decision.get("malignant_threshold")
        return None if threshold is None else self.malignant_probability >= float(threshold)

    @property
    def prediction_set(self) -> list[str]:
        """The diagnoses whose probability reaches their threshold, the most probable first."""
        thresholds = self.decision.get("set_thresholds")
        if not thresholds:
            return []
        held = prediction_sets(np.array(list(self.probabilities.values())), np.array(thresholds))
        codes = [code for code, inside in zip(self.probabilities, held, strict=True) if inside]
        return sorted(codes, key=lambda code: -self.probabilities[code])

    def to_json(self) -> dict[str, Any]:
        """Return the body of `POST /predict`; what is withheld is null or empty."""
        shown = not self.withheld
        top3 = [{"diagnosis": code, "name": NAMES[code], "probability": value} for code, value in self.top3]
        return {
            "top3": top3 if shown else [],
            "probabilities": self.probabilities if shown else {},
            "melanoma_probability": self.probabilities["MEL"] if shown else None,
            "malignant_probability": self.malignant_probability if shown else None,
            "decision": {
                "refer": self.refer if shown else None,
                "malignant_threshold": self.decision.get("malignant_threshold"),
                "sensitivity": self.decision.get("sensitivity"),
                "prediction_set": self.prediction_set if shown else [],
                "set_coverage": self.decision.get("set_coverage"),
            },
            "abstained": self.abstained,
            "ood_score": self.ood_score,
            "imputed": list(self.imputed),
            "filled_in": dict(self.imputed),
            "model": dict(self.model),
            "notice": with_notice(self.notice),
            "elapsed_ms": round(self.elapsed_ms, 1),
        }


def answer(
    file: bytes,
    patient: Patient,
    runner: Runner,
    model: Mapping[str, str] | None = None,
    *,
    force: bool = False,
) -> Answer:
    """Tell what the ensemble makes of one image.

    Args:
        file: a JPEG or PNG file; its EXIF data serve to turn it upright and for nothing else.
        patient: what is known; missing fields are filled and named in the answer.
        runner: the open networks.
        model: provenance to hand on.
        force: tell the probabilities whatever the image shows.

    Raises:
        DataError: the file is no image, damaged or too large.
    """
    start = time.perf_counter()
    bundle = runner.bundle
    filled = bundle.imputer.fill(patient)
    values: dict[str, float | str] = {"age": filled.age_years, "sex": filled.sex, "site": filled.site}
    said = runner(runner.pixels([file]), vectors([filled]))
    probabilities = bundle.calibration.probabilities(said.logits)[0]  # (classes,)
    elapsed_ms = (time.perf_counter() - start) * 1000
    return Answer(
        probabilities=dict(zip(bundle.view.classes, probabilities.tolist(), strict=True)),
        imputed={name: values[name] for name in filled.imputed},
        decision=bundle.decision,
        ood_score=None if said.ood_scores is None else float(said.ood_scores[0]),
        forced=force,
        notice=bundle.notice,
        model=model or {},
        elapsed_ms=elapsed_ms,
    )
