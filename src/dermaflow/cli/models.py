"""`dermaflow models`: who is champion."""

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dermaflow import outputs, params, tracking
from dermaflow.bundle.params import GateParams, RegistryParams

if TYPE_CHECKING:
    from dermaflow.bundle.format import Bundle

app = typer.Typer(help="Promote, serve, roll back, list and show bundles.", no_args_is_help=True)

Lineage = Annotated[str | None, typer.Option(help="By default params.yaml's registry.name.")]


@app.command()
def promote(
    again: Annotated[bool, typer.Option(help="Decide anew on a bundle already decided on.")] = False,  # noqa: FBT002
) -> None:
    """Make outputs/bundle the champion of its lineage, if it passes.

    Reads outputs/gate.json (fixed limits), compares with the champion on the same hold-out, measures the
    latency here, and writes outputs/decision.json. Promotion puts the bundle into BentoML's store and
    MLflow's registry and its tag into champion.json, which the service loads when it starts. A failed
    gate promotes nothing and is no error; a lineage (its `demo` too), gate, limits or predictions that are
    not this bundle's are one (`dvc repro`). Another lineage's real model stays in the service until
    `dermaflow models serve`.
    """
    from dermaflow.bundle import champions, gate, registry  # noqa: PLC0415
    from dermaflow.bundle import format as bundle_format  # noqa: PLC0415

    folder = outputs.path("bundle")
    bundle = bundle_format.read(folder)
    digest = bundle.digest
    lineage = params.load(RegistryParams)
    gated = outputs.read_json(outputs.path("gate.json"))
    tables = {"ensemble_predictions": outputs.ensemble_predictions, "holdout": outputs.holdout}
    compared = {name: table.content() for name, table in tables.items()}
    registry.require_match(bundle, lineage, gated, params.load(GateParams), compared)
    failed = gate.failures(gated)
    if not again and (before := registry.decided(digest, lineage.name, failed)):
        _say_again(before, digest)
        _announce_late(lineage.name, folder, digest)
        return
    decision = registry.promote(
        folder,
        lineage,
        failed=failed,
        comparison=_compare(champions.current(lineage.name), bundle),
        predictions=outputs.ensemble_predictions.path,
        provenance={
            "git_commit": tracking.git_commit(),
            "data_md5": tracking.data_md5(),
            "dvc_lock_md5": _md5(params.root() / "dvc.lock"),
        },
        announce=_announce,
    )
    _say(decision, digest, lineage)


@app.command()
def rollback(lineage: Lineage = None) -> None:
    """Make the champion before the present one champion again; restart the service to load it."""
    from dermaflow.bundle import registry  # noqa: PLC0415

    record = registry.rollback(lineage or params.load(RegistryParams).name)
    print(f"{record['name']} version {record['version']} ({record['tag']}) is champion again.")
    _point_alias(record)


@app.command()
def serve(lineage: Lineage = None) -> None:
    """Let the service load this lineage's champion, whatever it serves now; restart it.

    A drawn one never takes the place of a real one.
    """
    from dermaflow.bundle import registry  # noqa: PLC0415

    record = registry.serve(lineage or params.load(RegistryParams).name)
    print(f"The service loads {record['tag']} (version {record['version']}) when it starts next.")


@app.command("list")
def list_models() -> None:
    """List the champions of each lineage, oldest first; * is what the service loads."""
    from dermaflow.bundle import champions  # noqa: PLC0415

    state = champions.read()
    if not state["lineages"]:
        params.load(RegistryParams)  # else this is no project
        print("Nothing is promoted yet: `make repro`, or `dermaflow models promote` after `dvc repro`.")
    for name, line in sorted(state["lineages"].items()):
        for record in line:
            mark = "*" if record["tag"] == state.get("tag") and record is line[-1] else " "
            champion = "champion" if record is line[-1] else ""
            commit = str(record["git_commit"])[:10]
            print(
                f"{mark} {name} version {record['version']:>3}  {record['tag']}  commit {commit}  {champion}"
            )


@app.command()
def show(lineage: Lineage = None) -> None:
    """Print the champion's record and its figures as JSON."""
    from dermaflow.bundle import champions, modelstore  # noqa: PLC0415

    record = champions.champion(lineage or params.load(RegistryParams).name)
    metrics = modelstore.read(record).metrics
    print(json.dumps({"champion": record, "hold_out": metrics}, indent=1, sort_keys=True))


def _compare(champion: Mapping[str, Any] | None, bundle: "Bundle") -> Any:  # noqa: ANN401 - Comparison or None
    """Compare with the champion, where both were scored on the very same hold-out."""
    from dermaflow.bundle import modelstore  # noqa: PLC0415
    from dermaflow.evaluate import compare  # noqa: PLC0415

    if champion is None or champion["digest"] == bundle.digest:
        return None
    if champion.get("holdout_sha256") != bundle.inputs["holdout"]:
        sys.stderr.write("promote: the champion was scored on another hold-out; the gate alone decides\n")
        return None
    if not modelstore.is_whole(champion["tag"]):
        sys.stderr.write(
            f"promote: the champion {champion['tag']} can't be read any more (gone from BentoML's store, "
            "damaged, or of an older format); the gate alone decides\n"
        )
        return None
    return compare.against_champion(
        modelstore.predictions_of(champion),
        outputs.ensemble_predictions.path,
        outputs.holdout.read(),
        outputs.cases.read(),
    )


def _announce(name: str, folder: Path, tags: Mapping[str, str]) -> dict[str, str]:
    """Register the version in MLflow; without a server the promotion still holds, and is told later."""
    run_id = tracking.stage(
        "promotion", key=f"promotion:{tags['digest']}", metrics=outputs.read_json(outputs.path("gate.json"))
    )
    why = "see above"
    try:
        if run_id is not None:
            version = tracking.register(name, folder, run_id, tags)
            tracking.set_champion(name, version)
            return {"mlflow_run_id": run_id, "mlflow_version": version}
    except Exception as error:  # noqa: BLE001 - a tracking error never costs a promotion
        why = str(error)
    sys.stderr.write(
        f"promote: neither registered in MLflow nor its alias set ({why}); "
        "the next `dermaflow models promote` does it\n"
    )
    return {"mlflow_run_id": run_id or "", "mlflow_version": ""}


def _announce_late(lineage: str, folder: Path, digest: str) -> None:
    """Register a champion that was promoted without a server."""
    from dermaflow.bundle import champions  # noqa: PLC0415

    record = champions.current(lineage)
    if record is None or record["digest"] != digest or record.get("mlflow_version"):
        return
    tags = _announce(lineage, folder, {key: str(value) for key, value in record.items()})
    if tags["mlflow_version"]:
        champions.amend(record, tags)
        print(f"It is now registered in MLflow too, as version {tags['mlflow_version']}.")


def _point_alias(record: Mapping[str, Any]) -> None:
    """Point MLflow's alias at the champion rolled back to; without a server the rollback still holds."""
    why = "it knows no version of this bundle"
    try:
        version = tracking.version(record["name"], record["digest"])
        if version is not None:
            tracking.set_champion(record["name"], version)
            return
    except Exception as error:  # noqa: BLE001 - a tracking error never costs a rollback
        why = str(error)
    sys.stderr.write(
        f"rollback: MLflow's alias `champion` of {record['name']} stays where it was ({why}); "
        "it can be set in `make ui`\n"
    )


def _say_again(decision: Mapping[str, Any], digest: str) -> None:
    if decision["rolled_back"]:
        print(f"{digest[:12]} was already decided on: promoted, and rolled back since.")
        print("To promote it all the same: dermaflow models promote --again")
        return
    verdict = "promoted" if decision["promoted"] else "not promoted"
    print(f"{digest[:12]} was already decided on: {verdict} ({decision['reason']}). Nothing to do.")


def _say(decision: Mapping[str, Any], digest: str, lineage: RegistryParams) -> None:
    print(f"An answer takes {decision['latency_ms']:.0f} ms here, and {decision['size_mb']:.1f} MB of disk.")
    if not decision["promoted"] and decision["against"] == digest:
        print(f"{digest[:12]} would not be promoted now: {decision['reason']}")
        print("It stays champion; `dermaflow models rollback` goes back to the one before.")
        return
    if not decision["promoted"]:
        print(f"{digest[:12]} is not promoted: {decision['reason']}")
        print("To look at it all the same: DERMAFLOW_BUNDLE=outputs/bundle make serve")
        return
    print(f"{decision['tag']} is champion of {decision['lineage']}: {decision['reason']}.")
    if decision["serving"]:
        print("The service loads it when it starts next.")
    else:
        print("The service keeps its real model; to look at this one:")
        print("  DERMAFLOW_BUNDLE=outputs/bundle make serve")
        if not lineage.demo:
            print(f"To serve it from now on: dermaflow models serve --lineage {lineage.name}")


def _md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest() if file.exists() else "unknown"
