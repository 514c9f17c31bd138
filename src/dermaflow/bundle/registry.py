"""Who is champion: promote, roll back, list. Bundles live in BentoML's model store.

champion.json (git-ignored, in the root) names the exact tag that the service loads and, for each lineage,
the line of its champions. A drawn (demo) model never takes the place of a real one in the service.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import bentoml
import cv2
import numpy as np
from bentoml.exceptions import NotFound

from dermaflow import outputs
from dermaflow.bundle import card
from dermaflow.bundle import format as bundle_format
from dermaflow.bundle.params import RegistryParams
from dermaflow.bundle.run import Runner
from dermaflow.errors import BundleError
from dermaflow.impute.apply import Patient, vectors
from dermaflow.params import root

DECISION = "decision.json"
PREDICTIONS = "hold_out_predictions.parquet"

Announce = Callable[[str, Path, Mapping[str, str]], Mapping[str, str]]
"""Tells the tracking server of a new version (name, bundle folder, tags) and returns more tags."""


class Comparison(Protocol):
    """Challenger minus champion on the same hold-out (`evaluate.compare`)."""

    @property
    def figures(self) -> dict[str, Any]:
        """Each figure of both, and its difference with an interval."""

    @property
    def worse(self) -> bool:
        """The challenger is worse beyond chance."""


def champion_file() -> Path:
    """Return the path of champion.json."""
    return root() / "champion.json"


def champions() -> dict[str, Any]:
    """Read champion.json; without it nothing is promoted."""
    if not champion_file().exists():
        return {"lineages": {}}
    value: dict[str, Any] = json.loads(champion_file().read_text(encoding="utf-8"))
    return value


def current(lineage: str) -> dict[str, Any] | None:
    """Return the record of a lineage's champion."""
    line = champions()["lineages"].get(lineage, [])
    return dict(line[-1]) if line else None


def champion(lineage: str) -> dict[str, Any]:
    """Return the record of a lineage's champion.

    Raises:
        BundleError: nothing is promoted there.
    """
    record = current(lineage)
    if record is None:
        raise BundleError(
            "nothing is promoted", f"lineage {lineage}", "`make repro`, or `dermaflow models promote`."
        )
    return record


def is_stored(tag: str) -> bool:
    """Tell whether BentoML's store still holds a promoted bundle."""
    try:
        bentoml.models.get(tag)
    except NotFound:
        return False
    return True


def stored_folder(record: Mapping[str, Any]) -> Path:
    """Return the folder of a promoted bundle in BentoML's store."""
    return Path(_stored(record["tag"]).path)


def stored_predictions(record: Mapping[str, Any]) -> Path:
    """Return the hold-out predictions that were kept with a promoted bundle."""
    return Path(_stored(record["tag"]).path_of(PREDICTIONS))


def decided(digest: str, failed: list[str]) -> dict[str, Any] | None:
    """Return the decision on this bundle, if one was taken and still holds.

    Args:
        digest: the bundle's.
        failed: the gate's failures in words; where they are others than then, it is decided anew.
    """
    file = outputs.path(DECISION)
    if not file.exists():
        return None
    decision = outputs.read_json(file)
    if decision["digest"] != digest or decision.get("failed") != failed:
        return None
    if decision["promoted"] and not (champion_file().exists() and is_stored(decision["tag"])):
        return None
    return decision


def promote(
    folder: Path,
    registry: RegistryParams,
    *,
    failed: list[str],
    comparison: Comparison | None,
    predictions: Path,
    provenance: Mapping[str, str],
    announce: Announce,
) -> dict[str, Any]:
    """Decide on a bundle, and if it passes make it the champion of its lineage.

    Args:
        folder: the bundle.
        registry: its lineage.
        failed: the gate's failures in words; any stops the promotion.
        comparison: with the champion, on the same hold-out; None if there is none to compare with.
        predictions: the bundle's hold-out predictions, kept for the next comparison.
        provenance: git_commit, data_md5, dvc_lock_md5, mlflow_run_id.
        announce: tells the tracking server.

    Returns:
        The decision, as written to outputs/decision.json.
    """
    bundle = bundle_format.read(folder)
    reason = None
    if failed:
        reason = "the gate failed: " + "; ".join(failed)
    elif comparison is not None and comparison.worse:
        reason = "worse than the champion on the same hold-out, beyond chance"
    decision: dict[str, Any] = {
        "digest": bundle.digest,
        "lineage": registry.name,
        "failed": failed,
        "promoted": reason is None,
        "reason": reason or "passed the gate" + ("" if comparison is None else " and the comparison"),
        "comparison": None if comparison is None else dict(comparison.figures),
        "latency_ms": round(latency_ms(folder), 1),
        "size_mb": round(size_mb(folder), 1),
    }
    if reason is None:
        record = _store(bundle, folder, registry, predictions, provenance, decision)
        record |= announce(registry.name, folder, {key: str(value) for key, value in record.items()})
        decision["tag"] = record["tag"]
        decision["serving"] = _crown(record, registry)
    outputs.write_json(outputs.path(DECISION), decision)
    return decision


def rollback(lineage: str, point_alias: Callable[[str, str], None]) -> dict[str, Any]:
    """Make the champion before the present one champion again.

    Args:
        lineage: whose.
        point_alias: tells the tracking server (name, version).

    Raises:
        BundleError: there is no earlier champion, or its bundle is gone from the store.
    """
    state = champions()
    line = state["lineages"].get(lineage, [])
    if len(line) < 2:  # noqa: PLR2004
        raise BundleError(
            "no earlier champion to go back to", f"lineage {lineage}", "See `dermaflow models list`."
        )
    _stored(line[-2]["tag"])
    line.pop()
    record = line[-1]
    serving = record if state.get("name") == lineage else _serving(state)
    _write({**serving, "lineages": state["lineages"]})
    if record.get("mlflow_version"):
        point_alias(lineage, record["mlflow_version"])
    return dict(record)


def latency_ms(folder: Path, repeats: int = 15) -> float:
    """Median time from the bytes of one 600 x 450 JPEG to the logits of all members, milliseconds."""
    bundle = bundle_format.read(folder)
    runner = Runner(bundle, threads=2)
    noise = np.random.default_rng(0).integers(0, 256, (45, 60, 3), dtype=np.uint8)
    file = cv2.imencode(".jpg", cv2.resize(noise, (600, 450)))[1].tobytes()
    patient = vectors([bundle.imputer.fill(Patient())])
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        runner(runner.pixels([file]), patient)
        times.append(time.perf_counter() - start)
    return float(np.median(times) * 1000)


def size_mb(folder: Path) -> float:
    """Size of all files of a bundle, MB."""
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file()) / 1e6


def _stored(tag: str) -> Any:  # noqa: ANN401 - bentoml has no types
    try:
        return bentoml.models.get(tag)
    except NotFound:
        raise BundleError(
            f"the bundle {tag} is not in BentoML's store",
            "bentoml models list",
            "Promote it again: `dvc repro bundle && dermaflow models promote`.",
        ) from None


def _store(
    bundle: bundle_format.Bundle,
    folder: Path,
    registry: RegistryParams,
    predictions: Path,
    provenance: Mapping[str, str],
    decision: Mapping[str, Any],
) -> dict[str, Any]:
    tag = f"{registry.name}:{bundle.digest[:12]}"
    if not is_stored(tag):
        labels = {"lineage": registry.name, "view": bundle.view.name}
        with bentoml.models.create(tag, labels=labels, metadata=dict(provenance)) as model:
            for file in [
                folder / bundle_format.FILE,
                folder / card.FILE,
                *(folder / member.file for member in bundle.members),
            ]:
                Path(model.path_of(file.name)).write_bytes(file.read_bytes())
            Path(model.path_of(PREDICTIONS)).write_bytes(predictions.read_bytes())
    line = champions()["lineages"].get(registry.name, [])
    return {
        "name": registry.name,
        "tag": tag,
        "version": str(1 + max((int(record["version"]) for record in line), default=0)),
        "digest": bundle.digest,
        "demo": registry.demo,
        "holdout_sha256": bundle.inputs.get("holdout", ""),
        "latency_ms": decision["latency_ms"],
        "size_mb": decision["size_mb"],
        **provenance,
    }


def _crown(record: dict[str, Any], registry: RegistryParams) -> bool:
    """Write champion.json; tell whether the service now answers with this bundle."""
    state = champions()
    line = [old for old in state["lineages"].get(registry.name, []) if old["digest"] != record["digest"]]
    state["lineages"][registry.name] = [*line, record]
    serving_real = "tag" in state and not state.get("demo", False)
    takes_over = state.get("name") == registry.name or not (registry.demo and serving_real)
    _write({**(record if takes_over else _serving(state)), "lineages": state["lineages"]})
    return takes_over


def _serving(state: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key != "lineages"}


def _write(state: Mapping[str, Any]) -> None:
    with outputs.replacing(champion_file()) as scratch:
        scratch.write_text(json.dumps(state, indent=1, sort_keys=True) + "\n", encoding="utf-8")
