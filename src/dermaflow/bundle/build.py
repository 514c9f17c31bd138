"""Assemble a bundle from exported networks and the ensemble's files; refuse one over its serving budget."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dermaflow.bundle import card, ood
from dermaflow.bundle.apply import Calibration
from dermaflow.bundle.format import Bundle, Member
from dermaflow.bundle.params import BundleParams, RegistryParams
from dermaflow.errors import BundleError
from dermaflow.files import digest
from dermaflow.impute.apply import Imputer
from dermaflow.taxonomy import View


def assemble(
    folder: Path,
    members: Sequence[Member],
    *,
    registry: RegistryParams,
    budget: BundleParams,
    view: View,
    views: int,
    calibration: Mapping[str, Any],
    detector: Path,
    imputer: Mapping[str, Any],
    metrics: Mapping[str, Any],
    inputs: Mapping[str, str],
    funnel: Iterable[Mapping[str, str]],
) -> Bundle:
    """Write bundle.json, ood.npz and the model card beside the members' ONNX files in `folder`.

    Args:
        folder: holds the members' files.
        members: in the order of the calibration's rows.
        registry: lineage and notice.
        budget: what may be served.
        view: the labels.
        views: test-time views.
        calibration: ensemble/calibration.json.
        detector: ensemble/ood.npz; it may be absent.
        imputer: imputer.json.
        metrics: ensemble/metrics.json; its hold-out part is shipped.
        inputs: digests of the files that the bundle was made from.
        funnel: rows of splits/funnel.csv, for the model card.

    Raises:
        BundleError: see `require_affordable`.
    """
    bundle = Bundle(
        name=registry.name,
        notice=registry.notice,
        demo=registry.demo,
        view=view,
        members=tuple(members),
        views=views,
        calibration=Calibration.from_json(dict(calibration)),
        imputer=Imputer.from_json(dict(imputer)),
        decision=dict(calibration["decision"]),
        ood_sha256=digest(shutil.copyfile(detector, folder / ood.FILE)) if detector.exists() else None,
        metrics=dict(metrics["hold_out"]),
        inputs=dict(inputs),
        folder=folder,
    )
    require_affordable({member.file: member.multiply_adds for member in members}, views, budget)
    bundle.write(folder)
    (folder / card.FILE).write_text(card.render(bundle, funnel), encoding="utf-8")
    return bundle


def require_affordable(passes: Mapping[str, int], views: int, budget: BundleParams) -> None:
    """Refuse members whose answer costs more than may be served.

    Args:
        passes: multiply-adds of one pass of each member.
        views: test-time views.
        budget: what may be served.

    Raises:
        BundleError: one answer would cost more multiply-adds than the budget.
    """
    cost = views * sum(passes.values())
    if cost > budget.max_multiply_adds:
        each = " + ".join(f"{count / 1e6:.0f} M ({name})" for name, count in passes.items())
        raise BundleError(
            f"one answer costs {cost / 1e9:.2f} G multiply-adds, "
            f"{budget.max_multiply_adds / 1e9:.2f} G are allowed: {views} views x ({each})",
            "params.yaml: bundle.max_multiply_adds",
            "Use fewer views (train.views), folds or models, or a smaller input_px; or raise the budget.",
        )
