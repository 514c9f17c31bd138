"""Who is champion: decide on a bundle, promote it, serve another lineage's, roll back.

A new champion takes the place of its own lineage's in the service, or of a drawn (demo) model; another
lineage's only when asked (`serve`), and a drawn one never takes that of a real one: a lineage is of drawn
models or of real ones. What stands where: champions (champion.json), modelstore (the bundles).
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from dermaflow import outputs
from dermaflow.bundle import champions, gate, modelstore
from dermaflow.bundle import format as bundle_format
from dermaflow.bundle.latency import latencies_ms
from dermaflow.bundle.params import GateParams, RegistryParams
from dermaflow.errors import BundleError, first_ten

DECISION = "decision.json"

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
    state = champions.read()
    line = [record["digest"] for record in state["lineages"].get(lineage, [])]
    if bundle in state["rolled_back"].get(lineage, []):
        return {"rolled_back": True}
    file = outputs.path(DECISION)
    decision = outputs.read_json(file) if file.exists() else {}
    taken = {"digest": bundle, "lineage": lineage, "failed": failed}
    if any(decision.get(key) != value for key, value in taken.items()):
        return None
    if decision["promoted"]:
        holds = bundle in line and modelstore.is_whole(decision["tag"])
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
            champion is drawn and this one real or the other way round, the gate judged another bundle, by
            other limits or not by all, or a table is not the one that the bundle was made from.
    """
    for key in ("name", "demo"):
        wanted, built = (json.dumps(getattr(of, key)).strip('"') for of in (registry, bundle))
        if built != wanted:
            raise BundleError(
                f"registry.{key} is {wanted}, the bundle was built with {built}",
                "params.yaml",
                "Run `dvc repro` first.",
            )
    before = champions.current(registry.name)
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
    checks = gated.get("checks", {})
    missing = [name for name in gate.ALWAYS if name not in checks]
    if missing:
        raise BundleError(
            f"it is damaged: it has no check of {first_ten(missing)}", "gate.json", "Run `dvc repro`."
        )
    other = [name for name, check in checks.items() if check["limit"] != gate.limit(name, limits)]
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
    champion = champions.current(registry.name)
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
        with champions.lock():
            record = _record(bundle, folder, registry, predictions, provenance, decision)
            record |= announce(registry.name, folder, {key: str(value) for key, value in record.items()})
            decision["tag"] = record["tag"]
            decision["serving"] = champions.crown(record)
    outputs.write_json(outputs.path(DECISION), decision)
    return decision


def serve(lineage: str) -> dict[str, Any]:
    """Let the service load a lineage's champion from now on, and return its record.

    Raises:
        BundleError: nothing is promoted there, it can't be served, or it is drawn and would take the place of
            a real one; nothing is changed then.
    """
    with champions.lock():
        record = champions.champion(lineage)
        modelstore.read(record)
        state = champions.read()
        if record.get("demo") and champions.serves_a_real_one(state):
            raise BundleError(
                f"a drawn model never takes the place of a real one, {state['tag']}",
                f"lineage {lineage}",
                "To look at it all the same: DERMAFLOW_BUNDLE=outputs/bundle make serve",
            )
        champions.write(state, serving=record)
    return record


def rollback(lineage: str) -> dict[str, Any]:
    """Make the champion before the present one champion again, and return its record.

    Raises:
        BundleError: there is no earlier champion, or its bundle is gone from the store, damaged, or of a
            format that this version does not serve; nothing is changed then.
    """
    with champions.lock():
        state = champions.read()
        line = state["lineages"].get(lineage, [])
        if len(line) < 2:  # noqa: PLR2004
            raise BundleError(
                "no earlier champion to go back to", f"lineage {lineage}", "See `dermaflow models list`."
            )
        tag = line[-2]["tag"]
        try:
            modelstore.read(line[-2])
        except BundleError as error:
            raise BundleError(
                f"the champion before, {tag}, can't be served: {error.what}",
                error.where,
                "The present one stays; to replace it: `dvc repro && dermaflow models promote`.",
            ) from None
        state["rolled_back"][lineage] = [*state["rolled_back"].get(lineage, []), line.pop()["digest"]]
        champions.write(state, serving=line[-1] if state.get("name") == lineage else None)
    return dict(line[-1])


def size_mb(folder: Path) -> float:
    """Size of all files of a bundle, MB."""
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file()) / 1e6


def _record(
    bundle: bundle_format.Bundle,
    folder: Path,
    registry: RegistryParams,
    predictions: Path,
    provenance: Mapping[str, str],
    decision: Mapping[str, Any],
) -> dict[str, Any]:
    """Keep a bundle in the store, and return what champion.json is to say of it."""
    with modelstore.alone():  # or two projects would give two bundles one number
        version = _version(registry.name, bundle.digest)
        tag = modelstore.keep(bundle, folder, registry.name, predictions, {**provenance, "version": version})
    kept = modelstore.metadata(tag)  # of its first promotion: the commit of today may be another
    return {
        "name": registry.name,
        "tag": tag,
        "version": version,
        "digest": bundle.digest,
        "demo": registry.demo,
        "holdout_sha256": bundle.inputs.get("holdout", ""),
        "latency_ms": decision["latency_ms"],
        "size_mb": decision["size_mb"],
        **{key: kept.get(key, value) for key, value in provenance.items()},
    }


def _version(lineage: str, bundle: str) -> str:
    """Return the number that a bundle has in its lineage; another gets one that no bundle ever had.

    The store remembers what champion.json does not: what was rolled back, or stood in a file that is lost.
    """
    state = champions.read()
    known = modelstore.versions(lineage)
    known |= {record["tag"]: int(record["version"]) for record in state["lineages"].get(lineage, [])}
    last = max([state["last_versions"].get(lineage, 0), *known.values()])
    return str(known.get(f"{lineage}:{bundle[:12]}", 1 + last))
