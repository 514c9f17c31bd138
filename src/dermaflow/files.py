"""Digests of files and of our own code."""

import hashlib
from pathlib import Path

import dermaflow


def digest(file: Path) -> str:
    """Return a file's sha256, hex."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def digests(*names: str) -> dict[str, str]:
    """Return the sha256 of each module, by its path below the package.

    Args:
        names: rooms (`train`), of which every module counts, and modules (`taxonomy`).
    """
    home = Path(str(dermaflow.__file__)).parent
    patterns = [pattern for name in names for pattern in (f"{name}.py", f"{name}/**/*.py")]
    found = sorted(file for pattern in patterns for file in home.glob(pattern))
    return {file.relative_to(home).as_posix(): digest(file) for file in found}
