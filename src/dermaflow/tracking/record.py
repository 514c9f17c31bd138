"""What is said of one run, and where its code and data stand. Without MLflow."""

import hashlib
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dermaflow.params import root


def now_ms() -> int:
    """Return the time as MLflow counts it, milliseconds since 1970."""
    return int(time.time() * 1000)


STARTED_MS = now_ms()  # of this process: stages and commands import this first


@dataclass
class Record:
    """One run as it should stand in MLflow.

    Attributes:
        key: identity of the run; the same key is the same run.
        name: shown in the UI.
        parent: key of the run that it is nested under.
        parent_name: name of the parent, which is made if it is not there.
        params: parameters, flat.
        metrics: final figures, flat.
        history: one dictionary of figures an epoch.
        tags: besides git commit and stage.
        artifacts: files or folders (relative to the root) to the folder they are shown in.
        dataset: a table (relative to the root) that was learned from.
        digests: of these files, when the record was kept for later.
        started_ms: when the work began.
        ended_ms: when it ended; None: when the record is sent.
    """

    key: str
    name: str
    parent: str | None = None
    parent_name: str | None = None
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, str] = field(default_factory=dict)
    dataset: str | None = None
    digests: dict[str, str] = field(default_factory=dict)
    started_ms: int = STARTED_MS
    ended_ms: int | None = None


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Flatten nested figures to `hold_out.macro_auc.value`; what is no number is left out."""
    found: dict[str, float] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found |= flat(value, f"{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = float(value)
    return found


def flat_params(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten nested parameters to `augment.rotate.p`."""
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat_params(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = str(value)
    return found


def git_commit() -> str:
    """Return the checked-out commit, with `+` if tracked files differ, or `unknown`."""
    ask = ["git", "-C", str(root())]
    try:
        commit = subprocess.run([*ask, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run(
            [*ask, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")


def data_md5() -> str:
    """Return the digest of data.dvc, which holds the hash of all data; `unknown` without it."""
    file = root() / "data.dvc"
    return hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest() if file.exists() else "unknown"


def provenance() -> dict[str, str]:
    """Return the tags that each run has: commit, data, stage."""
    return {"git_commit": git_commit(), "data_md5": data_md5(), "dvc_stage": os.environ.get("DVC_STAGE", "")}
