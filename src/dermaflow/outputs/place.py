"""How a file or folder gets to its place whole: written to `.tmp/` beside outputs/, then renamed."""

import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dermaflow.errors import DataError
from dermaflow.params import root

DIR = "outputs"


def path(relative: str) -> Path:
    """Return the full path of an output, e.g. `path("models/lite0/0")`."""
    return root() / DIR / relative


@contextmanager
def replacing(target: Path, *, folder: bool = False) -> Iterator[Path]:
    """Give a scratch path to write to; on success it is renamed to `target`, on an error removed.

    What a killed process of this machine left in `.tmp/` is removed by the next that writes there.

    Args:
        target: the final file or folder; what stood there is replaced.
        folder: make the scratch path a folder.
    """
    box = Path(tempfile.mkdtemp(prefix=f"{_machine()}-{os.getpid()}-", dir=_swept_home()))
    scratch = box / target.name
    if folder:
        scratch.mkdir()
    try:
        yield scratch
        target.parent.mkdir(parents=True, exist_ok=True)
        if folder and target.exists():
            target.replace(box / "replaced")
        scratch.replace(target)
    finally:
        shutil.rmtree(box, ignore_errors=True)


def _machine() -> str:
    """Name what process ids count on: the host, and the container (which may bear the host's name)."""
    numbers = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()}-{numbers.stat().st_ino if numbers.exists() else 0}"


def _swept_home() -> Path:
    """Return `.tmp/`, without the boxes of processes that are no more."""
    home = root() / ".tmp"
    home.mkdir(exist_ok=True)
    ours = f"{_machine()}-"
    for box in home.iterdir():
        pid = box.name.removeprefix(ours).partition("-")[0]
        if box.name.startswith(ours) and pid.isdecimal() and not _lives(int(pid)):
            shutil.rmtree(box, ignore_errors=True)  # another process may be at it too
    return home


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True


def require_space(needed: int, what: str) -> None:
    """Make sure, before work starts, that the disk holds what is to be written.

    Args:
        needed: bytes.
        what: for the message.

    Raises:
        DataError: less is free.
    """
    _swept_home()
    free = shutil.disk_usage(root()).free
    if free < needed:
        raise DataError(
            f"{what} needs about {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free",
            str(root()),
            "Free some space, or take out a size that no model needs (params.yaml: sizes).",
        )


def write_json(target: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file as `json_text` has it."""
    write_text(target, json_text(value))


def json_text(value: Mapping[str, Any]) -> str:
    """Return JSON with sorted keys, so that equal content gives equal bytes."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write_text(target: Path, text: str) -> None:
    """Write a text file whole."""
    with replacing(target) as scratch:
        scratch.write_text(text, encoding="utf-8")


def write_lines(target: Path, lines: Iterable[str]) -> None:
    """Write one text line an item."""
    write_text(target, "".join(f"{line}\n" for line in lines))


def read_lines(source: Path) -> list[str]:
    """Read what `write_lines` wrote.

    Raises:
        DataError: the file is absent.
    """
    if not source.exists():
        raise DataError("no such file", name_of(source), "Run `dvc repro`, which makes it.")
    return source.read_text(encoding="utf-8").splitlines()


def read_json(source: Path) -> dict[str, Any]:
    """Read a JSON object that a stage wrote.

    Raises:
        DataError: the file is absent or damaged; the message names the command that makes it.
    """
    if not source.exists():
        raise DataError("no such file", name_of(source), "Run `dvc repro`, which makes it.")
    try:
        value: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
        wrong = None if isinstance(value, dict) else "no JSON object"
    except ValueError as error:
        wrong = f"not valid JSON: {error}"
    if wrong:
        raise DataError(wrong, name_of(source), "Remove it; `make repro` makes it.")
    return value


def name_of(file: Path) -> str:
    """Name a file for messages: from the project's root, if it lies below it."""
    return str(file.relative_to(root())) if file.is_relative_to(root()) else str(file)
