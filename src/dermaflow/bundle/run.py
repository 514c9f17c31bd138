"""Run a bundle's networks with ONNX Runtime: file bytes and patients in, logits out.

Called by stress, predict, assess, promotion (for its time) and the service. One session a member, opened
once.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Asked while it is imported: else ONNX Runtime keeps a record of each session to send to its makers.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from dermaflow.bundle import ood
from dermaflow.bundle.apply import dihedral_views
from dermaflow.bundle.format import Bundle
from dermaflow.bundle.ood import OodDetector
from dermaflow.errors import BundleError
from dermaflow.images.prepare import Recipe, prepare

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Outputs:
    """What the networks said of n cases: means over the test-time views, if nothing else is said.

    Attributes:
        logits: shape (n, members, classes), with patient data.
        plain_logits: shape (n, members, classes), without.
        ood_scores: shape (n,), of the untouched view: above `ood.BORDER` the image shows something else than
            the training images do; None if the bundle can't tell.
    """

    logits: Floats
    plain_logits: Floats
    ood_scores: NDArray[np.float64] | None


def opened(file: Path, threads: int = 0) -> onnxruntime.InferenceSession:
    """Open one network.

    Args:
        file: its ONNX file.
        threads: of ONNX Runtime within one pass; 0 lets it choose.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


class Runner:
    """The open networks of one bundle; safe to share between threads."""

    def __init__(self, bundle: Bundle, *, threads: int = 0) -> None:
        """Open one session a member.

        Args:
            bundle: as read by `format.read`.
            threads: of ONNX Runtime within one pass; 0 lets it choose.
        """
        if bundle.folder is None:
            raise BundleError("the bundle has no folder", bundle.name, "Read it with format.read.")
        self.bundle = bundle
        self._detector = OodDetector.read(bundle.folder / ood.FILE) if bundle.ood_sha256 else None
        self._sessions = [opened(bundle.folder / member.file, threads) for member in bundle.members]

    def pixels(self, files: Sequence[bytes]) -> dict[Recipe, NDArray[np.uint8]]:
        """Prepare each file once for each recipe that a member asks for."""
        recipes = dict.fromkeys(member.recipe for member in self.bundle.members)
        return {recipe: np.stack([prepare(file, recipe) for file in files]) for recipe in recipes}

    def __call__(
        self, pixels: dict[Recipe, NDArray[np.uint8]], patients: Floats, *, views: int | None = None
    ) -> Outputs:
        """Run all members.

        Args:
            pixels: for each recipe an array (n, input_px, input_px, 3), from `pixels`.
            patients: shape (n, 11), from `impute.apply`.
            views: 1, 4 or 8 test-time views; None: as many as the bundle was calibrated for.
        """
        per_member = [
            self._member(session, pixels[member.recipe], patients, views or self.bundle.views)
            for session, member in zip(self._sessions, self.bundle.members, strict=True)
        ]
        logits, plain, middle = zip(*per_member, strict=True)
        scores = self._detector.scores(middle) if self._detector is not None else None
        return Outputs(np.stack(logits, axis=1), np.stack(plain, axis=1), scores)

    def _member(
        self, session: onnxruntime.InferenceSession, images: NDArray[np.uint8], patients: Floats, count: int
    ) -> tuple[Floats, Floats, Floats]:
        n = len(images)
        views = dihedral_views(images, count)
        logits, plain, middle = session.run(
            ["logits", "plain_logits", "middle"],
            {"image": views.reshape(count * n, *images.shape[1:]), "patient": np.tile(patients, (count, 1))},
        )
        return (
            logits.reshape(count, n, -1).mean(axis=0),
            plain.reshape(count, n, -1).mean(axis=0),
            middle[:n],
        )
