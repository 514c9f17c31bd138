"""Digests of files and of our own code."""

import hashlib
from pathlib import Path

import dermaflow


def digest(file: Path) -> str:
    """Return a file's sha256, hex."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def digests(*rooms: str) -> dict[str, str]:
    """Return the sha256 of each module of the rooms named, by its path below the package."""
    home = Path(str(dermaflow.__file__)).parent
    found = sorted(file for room in rooms for file in (home / room).rglob("*.py"))
    return {file.relative_to(home).as_posix(): digest(file) for file in found}
