"""Which bundle answers: the one that champion.json names by its exact tag, or a folder given on purpose.

champion.json is written by promotion (git-ignored, in the project's root, and packed into a Bento).
`DERMAFLOW_BUNDLE=DIR` serves a folder instead, to look at a challenger.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import bentoml
from bentoml.exceptions import BentoMLException, NotFound

from dermaflow.bundle import format as bundle_format
from dermaflow.bundle.format import Bundle
from dermaflow.bundle.run import Runner
from dermaflow.errors import BundleError

FILE: Final = "champion.json"
PROVENANCE: Final = ("name", "version", "digest", "git_commit", "data_md5", "mlflow_run_id")
REMEDY: Final = (
    "Promote one: `make repro`, or `dermaflow models promote` after `dvc repro`. "
    "To serve a bundle that was not promoted: DERMAFLOW_BUNDLE=outputs/bundle."
)


@dataclass(frozen=True)
class Loaded:
    """A bundle and where it comes from.

    Attributes:
        bundle: read and checked against its digests.
        model: provenance for each answer, the keys of PROVENANCE; of the digest the first 12 digits.
        tag: in BentoML's store; None for a folder.
    """

    bundle: Bundle
    model: Mapping[str, str]
    tag: str | None = None

    def open(self, *, threads: int = 0) -> Runner:
        """Open the networks."""
        return Runner(self.bundle, threads=threads)


def load(folder: Path | None = None) -> Loaded:
    """Read the bundle that is to answer.

    Args:
        folder: a bundle folder; without it `DERMAFLOW_BUNDLE`, else the champion.

    Raises:
        BundleError: nothing is promoted, or the bundle is missing or damaged.
    """
    if folder is None and (named := os.environ.get("DERMAFLOW_BUNDLE")):
        folder = _root() / _home_filled_in(named)
    return _promoted() if folder is None else _unpromoted(folder)


def _root() -> Path:
    return Path(os.environ.get("DERMAFLOW_ROOT", ".")).resolve()


def _home_filled_in(named: str) -> Path:
    try:
        return Path(named).expanduser()
    except RuntimeError as error:
        raise BundleError(
            f"{named}: {error}".rstrip("."), "DERMAFLOW_BUNDLE", "Give a bundle's folder."
        ) from None


def _unpromoted(folder: Path) -> Loaded:
    bundle = bundle_format.read(folder)
    version = f"unpromoted:{bundle.digest[:12]}"
    return Loaded(bundle, _provenance(bundle, {"version": version}, "not promoted"))


def _promoted() -> Loaded:
    record = _record(_root() / FILE)
    tag = str(record["tag"])
    try:
        folder = Path(bentoml.models.get(tag).path)
    except NotFound:
        raise BundleError(
            f"the bundle {tag} is not in BentoML's store",
            FILE,
            "Set BENTOML_HOME to the store that holds it, or promote it again: `make repro`, or "
            "`dermaflow models promote` after `dvc repro`.",
        ) from None
    except (BentoMLException, ValueError) as error:
        raise BundleError(f"the tag {tag} is none of BentoML's: {error}".rstrip("."), FILE, REMEDY) from None
    except OSError as error:  # BentoML lets nobody in but who promoted
        raise BundleError(
            f"BentoML's store can't be read: {error.strerror}",
            str(error.filename),
            "Start the service as who promoted, or let its user read that store (BENTOML_HOME).",
        ) from None
    try:
        bundle = bundle_format.read(folder)
    except BundleError as error:
        raise BundleError(error.what, f"{tag} in BentoML's store, {error.where}", REMEDY) from None
    if record.get("digest", bundle.digest) != bundle.digest:
        raise BundleError(f"the bundle in BentoML's store under {tag} is another one", FILE, REMEDY)
    return Loaded(bundle, _provenance(bundle, record, "unknown"), tag)


def _provenance(bundle: Bundle, record: Mapping[str, Any], otherwise: str) -> dict[str, str]:
    known = {**record, "name": bundle.name, "digest": bundle.digest[:12]}
    return {key: str(known.get(key) or otherwise) for key in PROVENANCE}


def _record(file: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(
            "no model is promoted: there is no such file", FILE, f"Run in the project's root. {REMEDY}"
        ) from None
    except ValueError as error:
        raise BundleError(f"not valid JSON: {error}", FILE, REMEDY) from None
    if not isinstance(record, dict) or not record.get("tag"):
        raise BundleError("no model is promoted: it names no tag", FILE, REMEDY)
    return record
