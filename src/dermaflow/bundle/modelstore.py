"""Promoted bundles in BentoML's model store, each with the hold-out predictions that it is compared by."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dermaflow import outputs
from dermaflow.bundle import card
from dermaflow.bundle import format as bundle_format
from dermaflow.errors import BundleError, plain

os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")  # else it tells its makers of each model that is stored
import bentoml
from bentoml.exceptions import BentoMLException
from filelock import FileLock

PREDICTIONS = "hold_out_predictions.parquet"

_ANEW = "Promote it again: `dvc repro && dermaflow models promote`."


@contextmanager
def _usable() -> Iterator[None]:
    """Name the store where its folder can't be read or written."""
    try:
        yield
    except OSError as error:
        error = plain(error)
        why = error.strerror or str(error)
        raise BundleError(
            f"{why}: {error.filename}" if error.filename else why,
            f"BentoML's store, {_home()}",
            "Make room there, let its user be who runs this, or set BENTOML_HOME to another folder.",
        ) from None


def _home() -> Path:
    return Path(os.environ.get("BENTOML_HOME") or Path.home() / "bentoml")


@contextmanager
def alone() -> Iterator[None]:
    """Keep other promotions out of the store, also those of other clones and worktrees.

    Raises:
        BundleError: its folder can't be written.
    """
    lock = FileLock(_home() / "dermaflow.lock")
    with _usable():
        _home().mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def is_whole(tag: str) -> bool:
    """Tell whether BentoML's store still holds a promoted bundle undamaged, with its own predictions."""
    import pandas as pd  # noqa: PLC0415 - the service needs none

    try:
        folder = Path(_get(tag).path)
        bundle = bundle_format.read(folder)
        kept = outputs.ensemble_predictions.content(pd.read_parquet(folder / PREDICTIONS))
    except (BundleError, OSError, ValueError, KeyError):  # ArrowInvalid is a ValueError
        return False
    return tag.endswith(f":{bundle.digest[:12]}") and kept == bundle.inputs.get("ensemble_predictions")


def read(record: Mapping[str, Any]) -> bundle_format.Bundle:
    """Read a promoted bundle from BentoML's store.

    Raises:
        BundleError: it is gone from there, another one, damaged, or of a format that this version does not
            serve.
    """
    folder = Path(_get(record["tag"]).path)
    try:
        bundle = bundle_format.read(folder)
    except BundleError as error:
        raise BundleError(error.what, f"{record['tag']} in BentoML's store, {error.where}", _ANEW) from None
    if bundle.digest != record["digest"]:
        raise BundleError(
            f"it is {bundle.digest[:12]}, not {record['digest'][:12]} as champion.json says",
            f"{record['tag']} in BentoML's store",
            _ANEW,
        )
    return bundle


def predictions_of(record: Mapping[str, Any]) -> Path:
    """Return the hold-out predictions that were kept with a promoted bundle."""
    return Path(_get(record["tag"]).path_of(PREDICTIONS))


@_usable()
def keep(
    bundle: bundle_format.Bundle, folder: Path, lineage: str, predictions: Path, metadata: Mapping[str, str]
) -> str:
    """Put a bundle into the store, unless it is there undamaged, and return its tag.

    Args:
        bundle: as read from `folder`.
        folder: its files.
        lineage: whose champion it becomes.
        predictions: its hold-out predictions.
        metadata: what else is to be known of it there.

    Raises:
        BundleError: the store can't be written; it holds nothing of it then.
    """
    tag = f"{lineage}:{bundle.digest[:12]}"
    if not is_whole(tag):
        with suppress(BentoMLException):
            bentoml.models.delete(tag)  # damaged
        labels = {"lineage": lineage, "view": bundle.view.name}
        with bentoml.models.create(tag, labels=labels, metadata=dict(metadata)) as model:
            for name in (bundle_format.FILE, card.FILE, *bundle.files):
                Path(model.path_of(name)).write_bytes((folder / name).read_bytes())
            Path(model.path_of(PREDICTIONS)).write_bytes(predictions.read_bytes())
    return tag


def metadata(tag: str) -> dict[str, str]:
    """Return what was written down of a bundle when it was put into the store."""
    return {key: str(value) for key, value in _get(tag).info.metadata.items()}


@_usable()
def versions(lineage: str) -> dict[str, int]:
    """Version number by tag of the lineage's bundles in BentoML's store.

    None where BentoML can't list them: there are none, or one is without its model.yaml.
    """
    found = {}
    with suppress(BentoMLException):
        for model in bentoml.models.list(lineage):
            if "version" in model.info.metadata:
                found[str(model.tag)] = int(model.info.metadata["version"])
    return found


@_usable()
def _get(tag: str) -> Any:  # noqa: ANN401 - bentoml has no types
    try:
        return bentoml.models.get(tag)
    except (BentoMLException, ValueError) as error:  # gone; without its model.yaml; no tag at all
        raise BundleError(
            f"the bundle {tag} can't be had from BentoML's store ({str(error).rstrip('.')})",
            "bentoml models list",
            _ANEW,
        ) from None
