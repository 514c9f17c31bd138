"""Records that could not be sent yet, in `.tracking/pending/`: without the files that change by then."""

import hashlib
import json
import re
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from dermaflow.files import digest
from dermaflow.params import root
from dermaflow.tracking import server
from dermaflow.tracking.record import Record, now_ms

REFUSED: Final = ("BAD_REQUEST", "INVALID_PARAMETER_VALUE")
"""MLflow's codes for what it will not take another time either."""

_HALF_MADE: Final = re.compile(r"table \S+ already exists")
"""What SQLite says where MLflow makes a table a second time; it can't go on where it stopped."""

_DAMAGED: Final = re.compile("file is not a database|malformed")
"""What SQLite says of a file that it can't read."""


def _pending() -> Path:
    return root() / ".tracking" / "pending"


def keep(record: Record) -> None:
    """Keep a record for the next command that sends."""
    record.ended_ms = record.ended_ms or now_ms()
    record.digests = {path: _digest(path) for path in _files(record)}
    text = json.dumps(asdict(record), sort_keys=True)
    folder = _pending()
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{time.time_ns()}-{hashlib.sha256(record.key.encode()).hexdigest()[:16]}"
    scratch = folder / f"{name}.part"
    try:
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(folder / f"{name}.json")
    finally:
        scratch.unlink(missing_ok=True)


def send_pending() -> None:
    """Send what is kept, oldest first; what is damaged, or refused for good, is told and set aside.

    One that can't be sent now does not hold up the others, and stays.

    Raises:
        Exception: whatever MLflow raises where it does not answer; what was not sent stays.
    """
    if not any(_pending().glob("*.json")):
        return
    from filelock import FileLock  # noqa: PLC0415

    with FileLock(_pending().parent / "lock"):  # folds may start side by side
        server.answers()  # else what refuses is the server, whatever it is sent
        failed: Exception | None = None
        for file in sorted(_pending().glob("*.json")):
            try:
                record = Record(**json.loads(file.read_text(encoding="utf-8")))
            except (ValueError, TypeError) as error:
                aside = file.rename(file.with_suffix(".damaged"))  # one of them must not stop all
                tell(error, f"set aside as {aside.name}")
                continue
            try:
                server.send(_unchanged(record))
            except Exception as error:  # noqa: BLE001 - whatever the server does, others go on
                if getattr(error, "error_code", None) not in REFUSED:
                    server.answers()  # it is still there: a file is over a proxy's limit, say
                    failed = failed or error
                    continue
                aside = file.rename(file.with_suffix(".refused"))
                tell(error, f"set aside as {aside.name}")
                continue
            file.unlink()
        if failed is not None:
            tell(failed)


def _files(record: Record) -> list[str]:
    return [*record.artifacts, *([record.dataset] if record.dataset else [])]


def _unchanged(record: Record) -> Record:
    """Leave out what was written anew since the record was kept: those files are of another run."""
    other = [path for path in _files(record) if record.digests.get(path) != _digest(path)]
    if not other:
        return record
    return replace(
        record,
        artifacts={path: place for path, place in record.artifacts.items() if path not in other},
        dataset=None if record.dataset in other else record.dataset,
        tags={**record.tags, server.LEFT_OUT: f"changed before they were sent: {', '.join(other)}"},
    )


def _digest(path: str) -> str:
    """Return the digest of a file, or of a folder's names and files; empty if there is nothing."""
    home = root() / path
    files = sorted(file for file in (home.rglob("*") if home.is_dir() else [home]) if file.is_file())
    parts = [f"{file.relative_to(home)} {digest(file)}" for file in files]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest() if parts else ""


def tell(error: Exception, fate: str = "kept in .tracking/pending") -> None:
    """Say on standard error that something was not sent, and what became of it."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    sys.stderr.write(f"tracking: not sent to MLflow ({text}); {fate}, work goes on\n")
    if _HALF_MADE.search(str(error)):
        sys.stderr.write(
            "tracking: mlflow.db was broken off while it was made: remove it, and what waits is sent\n"
        )
    if _DAMAGED.search(str(error)):
        sys.stderr.write(
            "tracking: mlflow.db is damaged: move it away, and what waits is sent to a new one\n"
        )
