"""Who is champion: promote, roll back, list. Bundles live in BentoML's model store.

champion.json (git-ignored, in the root) names the exact tag that the service loads and, for each lineage,
the line of its champions, the last version number given and what was rolled back. A new champion takes the
place of its own lineage's in the service, or of a drawn (demo) model; another lineage's only when asked
(`serve`), and a drawn one never takes that of a real one: a lineage is of drawn models or of real ones.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from filelock import FileLock

from dermaflow import outputs
from dermaflow.bundle import card, gate
from dermaflow.bundle import format as bundle_format
from dermaflow.bundle.params import GateParams, RegistryParams
from dermaflow.bundle.run import Runner
from dermaflow.errors import BundleError, first_ten
from dermaflow.impute.apply import Patient, vectors
from dermaflow.params import root

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")  # else it tells its makers of each model that is stored
import bentoml
from bentoml.exceptions import BentoMLException

DECISION = "decision.json"
PREDICTIONS = "hold_out_predictions.parquet"

_ANEW = "Promote it again: `dvc repro && dermaflow models promote`."
_needed = itemgetter("name", "tag", "version", "digest", "git_commit")

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
    """Read champion.json; without it nothing is promoted.

    Returns:
        `lineages`: the records of each, oldest first; `last_versions`: the highest number ever given in
        each; `rolled_back`: the digests of each; beside them the record that the service loads.

    Raises:
        BundleError: the file is damaged.
    """
    if not champion_file().exists():
        return {"lineages": {}, "last_versions": {}, "rolled_back": {}}
    try:
        value: dict[str, Any] = json.loads(champion_file().read_text(encoding="utf-8"))
        found = {name: [_needed(record) for record in line] for name, line in value["lineages"].items()}
        highest = {
            name: max(int(version) for _, _, version, *_ in line) for name, line in found.items() if line
        }
        value["last_versions"] = highest | value.get("last_versions", {})  # files of before hold none
        value["rolled_back"] = dict(value.get("rolled_back", {}))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BundleError(
            f"not a file of champions: {error!r}",
            champion_file().name,
            "Mend it, or move it away and promote anew: `dermaflow models promote`.",
        ) from None
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


def is_whole(tag: str) -> bool:
    """Tell whether BentoML's store still holds a promoted bundle undamaged, with its predictions."""
    try:
        folder = Path(_stored(tag).path)
        bundle_format.read(folder)
    except BundleError:
        return False
    return (folder / PREDICTIONS).exists()


def stored(record: Mapping[str, Any]) -> bundle_format.Bundle:
    """Read a promoted bundle from BentoML's store.

    Raises:
        BundleError: it is gone from there, damaged, or of a format that this version does not serve.
    """
    folder = Path(_stored(record["tag"]).path)
    try:
        return bundle_format.read(folder)
    except BundleError as error:
        raise BundleError(error.what, f"{record['tag']} in BentoML's store, {error.where}", _ANEW) from None


def stored_predictions(record: Mapping[str, Any]) -> Path:
    """Return the hold-out predictions that were kept with a promoted bundle."""
    return Path(_stored(record["tag"]).path_of(PREDICTIONS))


def decided(bundle: str, lineage: str, failed: list[str]) -> dict[str, Any] | None:
    """Return the decision on this bundle, if one was taken and still holds.

    Args:
        bundle: its digest.
        lineage: whose champion it would become.
        failed: the gate's failures in words; where they are others than then, it is decided anew.

    Returns:
        The decision, and `rolled_back`, which alone is there of a bundle that was: nobody promotes it again
        unasked. None also where the store lost the bundle, or where the champion that a bundle was not
        promoted beside is no longer champion.
    """
    state = champions()
    line = [record["digest"] for record in state["lineages"].get(lineage, [])]
    if bundle in state["rolled_back"].get(lineage, []):
        return {"rolled_back": True}
    file = outputs.path(DECISION)
    decision = outputs.read_json(file) if file.exists() else {}
    taken = {"digest": bundle, "lineage": lineage, "failed": failed}
    if any(decision.get(key) != value for key, value in taken.items()):
        return None
    if decision["promoted"]:
        holds = bundle in line and is_whole(decision["tag"])
    else:
        holds = decision.get("against") == (line[-1] if line else None)
    return decision | {"rolled_back": False} if holds else None


def require_match(
    bundle: bundle_format.Bundle,
    registry: RegistryParams,
    gated: Mapping[str, Any],
    limits: GateParams,
    compared: Mapping[str, str],
) -> None:
    """Make sure that all that a promotion goes by is of this bundle.

    Args:
        bundle: the bundle.
        registry: whose champion it would become.
        gated: gate.json.
        limits: those that the gate should have gone by.
        compared: digests of the tables that the comparison with the champion reads, by their name in the
            bundle's inputs.

    Raises:
        BundleError: the params name another lineage or say otherwise whether it is drawn, the lineage's
            champion is drawn and this one real or the other way round, the gate judged another bundle or by
            other limits, or a table is not the one that the bundle was made from.
    """
    for key in ("name", "demo"):
        wanted, built = (json.dumps(getattr(of, key)).strip('"') for of in (registry, bundle))
        if built != wanted:
            raise BundleError(
                f"registry.{key} is {wanted}, the bundle was built with {built}",
                "params.yaml",
                "Run `dvc repro` first.",
            )
    before = current(registry.name)
    if before is not None and bool(before.get("demo")) != registry.demo:
        words = {True: "a drawn model (registry.demo: true)", False: "a real one"}
        raise BundleError(
            f"its champion is {words[not registry.demo]}, the bundle {words[registry.demo]}",
            f"lineage {registry.name}",
            "Give registry.name in params.yaml another value, then `dvc repro`.",
        )
    if gated.get("bundle") != bundle.digest:
        raise BundleError(
            f"it does not judge the present bundle, {bundle.digest[:12]}", "gate.json", "Run `dvc repro`."
        )
    other = [name for name, check in gated["checks"].items() if check["limit"] != gate.limit(name, limits)]
    if other:
        raise BundleError(
            f"it went by other limits than params.yaml has now: {first_ten(other)}",
            "gate.json",
            "Run `dvc repro`.",
        )
    for name, content in compared.items():
        if content != bundle.inputs.get(name):
            raise BundleError(
                f"the bundle {bundle.digest[:12]} was not made from it", name, "Run `dvc repro`."
            )


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
    latency = latencies_ms(bundle)
    champion = current(registry.name)
    decision: dict[str, Any] = {
        "against": champion and champion["digest"],
        "digest": bundle.digest,
        "lineage": registry.name,
        "failed": failed,
        "promoted": reason is None,
        "reason": reason or "passed the gate" + ("" if comparison is None else " and the comparison"),
        "comparison": None if comparison is None else dict(comparison.figures),
        "latency_ms": latency["ensemble"],
        "latencies_ms": latency,
        "size_mb": round(size_mb(folder), 1),
    }
    if reason is None:
        with _lock():
            record = _store(bundle, folder, registry, predictions, provenance, decision)
            record |= announce(registry.name, folder, {key: str(value) for key, value in record.items()})
            decision["tag"] = record["tag"]
            decision["serving"] = _crown(record, registry)
    outputs.write_json(outputs.path(DECISION), decision)
    return decision


def amend(record: Mapping[str, Any], more: Mapping[str, str]) -> None:
    """Add to a champion's record what the tracking server could only say later."""
    with _lock():
        state = champions()
        line = state["lineages"][record["name"]]
        amended = [old | more if old["digest"] == record["digest"] else old for old in line]
        state["lineages"][record["name"]] = amended
        _write(state, serving=amended[-1] if state.get("tag") == amended[-1]["tag"] else None)


def serve(lineage: str) -> dict[str, Any]:
    """Let the service load a lineage's champion from now on, and return its record.

    Raises:
        BundleError: nothing is promoted there, it can't be served, or it is drawn and would take the place of
            a real one; nothing is changed then.
    """
    with _lock():
        record = champion(lineage)
        stored(record)
        state = champions()
        if record.get("demo") and _serves_a_real_one(state):
            raise BundleError(
                f"a drawn model never takes the place of a real one, {state['tag']}",
                f"lineage {lineage}",
                "To look at it all the same: DERMAFLOW_BUNDLE=outputs/bundle make serve",
            )
        _write(state, serving=record)
    return record


def rollback(lineage: str) -> dict[str, Any]:
    """Make the champion before the present one champion again, and return its record.

    Raises:
        BundleError: there is no earlier champion, or its bundle is gone from the store, damaged, or of a
            format that this version does not serve; nothing is changed then.
    """
    with _lock():
        state = champions()
        line = state["lineages"].get(lineage, [])
        if len(line) < 2:  # noqa: PLR2004
            raise BundleError(
                "no earlier champion to go back to", f"lineage {lineage}", "See `dermaflow models list`."
            )
        tag = line[-2]["tag"]
        try:
            stored(line[-2])
        except BundleError as error:
            raise BundleError(
                f"the champion before, {tag}, can't be served: {error.what}",
                error.where,
                "The present one stays; to replace it: `dvc repro && dermaflow models promote`.",
            ) from None
        state["rolled_back"][lineage] = [*state["rolled_back"].get(lineage, []), line.pop()["digest"]]
        _write(state, serving=line[-1] if state.get("name") == lineage else None)
    return dict(line[-1])


def latencies_ms(bundle: bundle_format.Bundle) -> dict[str, float]:
    """Measure an answer of each model alone, all its folds, and of the `ensemble`: `latency_ms` by name."""
    whole = round(latency_ms(bundle), 1)
    models = dict.fromkeys(member.model for member in bundle.members)
    if len(models) == 1:
        return {**dict.fromkeys(models, whole), "ensemble": whole}
    parts = {
        name: replace(
            bundle,
            members=tuple(member for member in bundle.members if member.model == name),
            ood_sha256=None,  # it is of all members
        )
        for name in models
    }
    return {**{name: round(latency_ms(part), 1) for name, part in parts.items()}, "ensemble": whole}


def latency_ms(bundle: bundle_format.Bundle, repeats: int = 15) -> float:
    """Median time from the bytes of one 600 x 450 JPEG to the logits of all members, milliseconds."""
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


def _lock() -> FileLock:
    """Two promotions at once must not lose each other's line."""
    home = root() / ".tmp"
    home.mkdir(exist_ok=True)
    return FileLock(home / "champion.lock")


def _stored(tag: str) -> Any:  # noqa: ANN401 - bentoml has no types
    try:
        return bentoml.models.get(tag)
    except (BentoMLException, ValueError) as error:  # gone; without its model.yaml; no tag at all
        raise BundleError(
            f"the bundle {tag} can't be had from BentoML's store ({str(error).rstrip('.')})",
            "bentoml models list",
            _ANEW,
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
    version = _version(registry.name, bundle.digest)
    if not is_whole(tag):
        with suppress(BentoMLException):
            bentoml.models.delete(tag)  # damaged
        labels = {"lineage": registry.name, "view": bundle.view.name}
        with bentoml.models.create(tag, labels=labels, metadata={**provenance, "version": version}) as model:
            for name in (bundle_format.FILE, card.FILE, *bundle.files):
                Path(model.path_of(name)).write_bytes((folder / name).read_bytes())
            Path(model.path_of(PREDICTIONS)).write_bytes(predictions.read_bytes())
    return {
        "name": registry.name,
        "tag": tag,
        "version": version,
        "digest": bundle.digest,
        "demo": registry.demo,
        "holdout_sha256": bundle.inputs.get("holdout", ""),
        "latency_ms": decision["latency_ms"],
        "size_mb": decision["size_mb"],
        **provenance,
    }


def _version(lineage: str, bundle: str) -> str:
    """Return the number that a bundle has in its lineage; another gets one that no bundle ever had.

    The store remembers what champion.json does not: what was rolled back, or stood in a file that is lost.
    """
    state = champions()
    known = _stored_versions(lineage)
    known |= {record["tag"]: int(record["version"]) for record in state["lineages"].get(lineage, [])}
    last = max([state["last_versions"].get(lineage, 0), *known.values()])
    return str(known.get(f"{lineage}:{bundle[:12]}", 1 + last))


def _stored_versions(lineage: str) -> dict[str, int]:
    """Version number by tag of the lineage's bundles in BentoML's store.

    None where BentoML can't list them: there are none, or one is without its model.yaml.
    """
    found = {}
    with suppress(BentoMLException):
        for model in bentoml.models.list(lineage):
            if "version" in model.info.metadata:
                found[str(model.tag)] = int(model.info.metadata["version"])
    return found


def _crown(record: dict[str, Any], registry: RegistryParams) -> bool:
    """Write champion.json; tell whether the service now answers with this bundle."""
    state = champions()
    line = [old for old in state["lineages"].get(registry.name, []) if old["digest"] != record["digest"]]
    state["lineages"][registry.name] = [*line, record]
    state["last_versions"][registry.name] = max(
        int(record["version"]), state["last_versions"].get(registry.name, 0)
    )
    again = [digest for digest in state["rolled_back"].get(registry.name, []) if digest != record["digest"]]
    state["rolled_back"][registry.name] = again
    takes_over = state.get("name") == registry.name or not _serves_a_real_one(state)
    _write(state, serving=record if takes_over else None)
    return takes_over


def _serves_a_real_one(state: Mapping[str, Any]) -> bool:
    return "tag" in state and not state.get("demo", False)


def _write(state: Mapping[str, Any], *, serving: Mapping[str, Any] | None) -> None:
    """Write champion.json with the record that the service is to load; None leaves it as it is."""
    kept = {key: state[key] for key in ("lineages", "last_versions", "rolled_back")}
    value = {**(state if serving is None else serving), **kept}
    with outputs.replacing(champion_file()) as scratch:
        scratch.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
