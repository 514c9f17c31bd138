"""The bundle: a folder with bundle.json and one ONNX file a member. All that a server needs.

bundle.json names its inputs by digest and holds no time, host, path, commit or run id: the same
training gives the same bytes. Commit, run id and the like are added at promotion.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from dermaflow.bundle import ood
from dermaflow.bundle.apply import Calibration
from dermaflow.errors import BundleError, DataError
from dermaflow.images.prepare import Recipe
from dermaflow.impute.apply import Imputer
from dermaflow.taxonomy import VIEWS, View

FORMAT = 7
"""1: shrunk by area alone; 2: no other things told; 3: temperature on the shifts; 4: demo not told; 5: no
frequencies by centre; 6: colour profiles not applied."""
FILE = "bundle.json"


@dataclass(frozen=True)
class Member:
    """One network of the ensemble.

    Attributes:
        model: key in params.yaml's models.
        fold: the fold that it did not train on.
        file: its ONNX file. Inputs `image` (n, input_px, input_px, 3) uint8 RGB and `patient` (n, 11)
            float32; outputs `logits`, `plain_logits` (n, classes), `features` (n, width), `cam`
            (n, classes, h, w), `middle` (n, channels).
        sha256: of that file.
        recipe: how bytes become its pixels.
        multiply_adds: of one pass over one view.
        parameters: number of weights.
    """

    model: str
    fold: int
    file: str
    sha256: str
    recipe: Recipe
    multiply_adds: int
    parameters: int

    def to_json(self) -> dict[str, Any]:
        """Return a plain dictionary."""
        return {**vars(self), "recipe": self.recipe.to_json()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        return cls(**{**value, "recipe": Recipe.from_json(value["recipe"])})


@dataclass(frozen=True)
class Bundle:
    """The promoted ensemble as plain data.

    Attributes:
        name: the lineage, registry.name.
        notice: one sentence that stands beside each answer.
        demo: whether it learned from drawn images.
        view: the labels it answers with.
        members: in the order of the calibration's rows.
        views: test-time views, 1, 4 or 8.
        calibration: logits to probabilities.
        imputer: fills missing patient fields.
        decision: operating point and prediction-set thresholds, chosen out of fold: `malignant_threshold`,
            `sensitivity`, `set_thresholds` (one a class), `set_coverage`.
        ood_sha256: of `ood.FILE` beside it, which tells images of other things; None: nothing does.
        metrics: headline figures on the hold-out, as in ensemble/metrics.json.
        inputs: digests of the files that it was made from.
        folder: where it was read from; None before it is written.
    """

    name: str
    notice: str
    demo: bool
    view: View
    members: tuple[Member, ...]
    views: int
    calibration: Calibration
    imputer: Imputer
    decision: dict[str, Any] = field(default_factory=dict)
    ood_sha256: str | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def files(self) -> dict[str, str]:
        """The files that bundle.json vouches for: name to sha256."""
        detector = {} if self.ood_sha256 is None else {ood.FILE: self.ood_sha256}
        return {member.file: member.sha256 for member in self.members} | detector

    @property
    def multiply_adds(self) -> int:
        """Work of one answer: all members, all views."""
        return self.views * sum(member.multiply_adds for member in self.members)

    def to_json(self) -> dict[str, Any]:
        """Return bundle.json's content, without the digest."""
        return {
            "format": FORMAT,
            "name": self.name,
            "notice": self.notice,
            "demo": self.demo,
            "view": self.view.name,
            "members": [member.to_json() for member in self.members],
            "views": self.views,
            "multiply_adds": self.multiply_adds,
            "calibration": self.calibration.to_json(),
            "imputer": self.imputer.to_json(),
            "decision": self.decision,
            "ood_sha256": self.ood_sha256,
            "metrics": self.metrics,
            "inputs": self.inputs,
        }

    @property
    def digest(self) -> str:
        """Identity of the bundle: sha256 over its content, the networks' digests included."""
        text = json.dumps(self.to_json(), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def write(self, folder: Path) -> None:
        """Write bundle.json beside the ONNX files that are already in `folder`."""
        content = {**self.to_json(), "digest": self.digest}
        text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)
        (folder / FILE).write_text(text + "\n", encoding="utf-8")


def read(folder: Path) -> Bundle:
    """Read a bundle and check it against its own digests.

    Raises:
        BundleError: a file is missing, changed, or of another format.
    """
    source = folder / FILE
    remedy = "Take the whole folder again, or run `dvc repro`."
    if not source.exists():
        raise BundleError(f"no {FILE} there", str(folder), remedy)
    try:
        value = json.loads(source.read_text(encoding="utf-8"))
        if value["format"] != FORMAT:
            raise BundleError(
                f"format {value['format']}, this version reads {FORMAT}",
                str(source),
                "Build it again: `make repro`.",
            )
        bundle = Bundle(
            name=value["name"],
            notice=value["notice"],
            demo=value["demo"],
            view=VIEWS[value["view"]],
            members=tuple(Member.from_json(member) for member in value["members"]),
            views=value["views"],
            calibration=Calibration.from_json(value["calibration"]),
            imputer=Imputer.from_json(value["imputer"]),
            decision=value["decision"],
            ood_sha256=value["ood_sha256"],
            metrics=value["metrics"],
            inputs=value["inputs"],
            folder=folder,
        )
        whole = bundle.digest == value["digest"]
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, DataError) as error:
        raise BundleError(f"not a bundle: {error!r}", str(source), remedy) from None
    if not whole:
        raise BundleError("the content does not match its digest", str(source), remedy)
    for name, wanted in bundle.files.items():
        file = folder / name
        found = hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else "nothing"
        if found != wanted:
            raise BundleError(f"wanted {wanted[:12]}, found {found[:12]}", str(file), remedy)
    return bundle
