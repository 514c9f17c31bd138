"""How one image becomes one answer; the same steps, in the same order, as in evaluation."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from dermaflow.bundle.format import Bundle
from dermaflow.bundle.run import Runner
from dermaflow.impute.apply import Filled, Patient, vectors
from dermaflow.taxonomy import MALIGNANT, NAMES

NOT_A_DEVICE: Final = "Not a medical device."


@dataclass(frozen=True)
class Answer:
    """What a person is told about one image.

    Attributes:
        probabilities: calibrated, one a class of the bundle's view, in its order; they sum to 1.
        imputed: the patient fields that were missing (age, sex, site).
        decision: the bundle's operating point, chosen out of fold.
        notice: the bundle's sentence that stands beside each answer.
        model: provenance: version, git_commit, data_md5, mlflow_run_id.
        elapsed_ms: from the file's bytes to the probabilities.
        abstained: why no answer is given; None until the bundle can abstain.
    """

    probabilities: dict[str, float]
    imputed: tuple[str, ...]
    decision: Mapping[str, Any] = field(default_factory=dict)
    notice: str = ""
    model: Mapping[str, str] = field(default_factory=dict)
    elapsed_ms: float = 0.0
    abstained: str | None = None

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

    def to_json(self) -> dict[str, Any]:
        """Return the body of `POST /predict`."""
        return {
            "top3": [
                {"diagnosis": code, "name": NAMES[code], "probability": value} for code, value in self.top3
            ],
            "probabilities": self.probabilities,
            "melanoma_probability": self.probabilities["MEL"],
            "malignant_probability": self.malignant_probability,
            "decision": {
                "refer": self.refer,
                "malignant_threshold": self.decision.get("malignant_threshold"),
                "sensitivity": self.decision.get("sensitivity"),
            },
            "abstained": self.abstained,
            "imputed": list(self.imputed),
            "model": dict(self.model),
            "notice": self.notice if NOT_A_DEVICE in self.notice else f"{self.notice} {NOT_A_DEVICE}".strip(),
            "elapsed_ms": round(self.elapsed_ms, 1),
        }


def answer(file: bytes, patient: Patient, runner: Runner, model: Mapping[str, str] | None = None) -> Answer:
    """Tell what the ensemble makes of one image.

    Args:
        file: a JPEG or PNG file; its EXIF data serve to turn it upright and for nothing else.
        patient: what is known; missing fields are filled and named in the answer.
        runner: the open networks.
        model: provenance to hand on.

    Raises:
        DataError: the file is no image, damaged or too large.
    """
    start = time.perf_counter()
    filled = runner.bundle.imputer.fill(patient)
    pixels = runner.pixels([file])
    said = runner(pixels, vectors([filled]))
    probabilities = runner.bundle.calibration.probabilities(said.logits)[0]  # (classes,)
    elapsed_ms = (time.perf_counter() - start) * 1000
    return _compose(probabilities.tolist(), filled, runner.bundle, model or {}, elapsed_ms)


def _compose(
    probabilities: list[float], filled: Filled, bundle: Bundle, model: Mapping[str, str], elapsed_ms: float
) -> Answer:
    return Answer(
        probabilities=dict(zip(bundle.view.classes, probabilities, strict=True)),
        imputed=filled.imputed,
        decision=bundle.decision,
        notice=bundle.notice,
        model=model,
        elapsed_ms=elapsed_ms,
    )
