"""How a stage of dvc.yaml runs: by the very code and params that DVC notes for it, or it fails."""

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from dermaflow import params
from dermaflow.errors import DermaflowError, first_ten, tell_errors

CODE = Path(__file__).resolve().parent
STATES: Final = ".checkpoints"
FINISHED: Final = "finished"
"""Marks a state that DVC needs no more as soon as it has noted the outputs."""


def run(work: Callable[..., Path | None], *arguments: str) -> None:
    """Do a stage's work; what a user can cause ends with one line and exit code 1.

    DVC looks at code and params when a stage has ended. Where these are not what ran, the stage fails, so
    that DVC notes nothing; the next run makes its outputs anew.

    Args:
        work: the script's `main`. It may return its state, which a repeated run would need: DVC may be killed
            before it has noted the outputs. It is marked as finished.
        arguments: of the command line.
    """
    tell_errors(_checked, work, *arguments)


def state(*names: str) -> Path:
    """Return the folder for the state of some work, named by model, fold and a key of what matters."""
    return params.root().joinpath(STATES, *names)


def drop_finished(*names: str, but: Path | None = None) -> None:
    """Remove finished states of some work: for who has read its outputs (DVC has noted them) or makes others.

    Args:
        names: the first of those given to `state`.
        but: a state that is kept.
    """
    for mark in list(state(*names).rglob(FINISHED)):
        if mark.parent != but:
            shutil.rmtree(mark.parent, ignore_errors=True)


def _checked(work: Callable[..., Path | None], *arguments: str) -> None:
    _require_own_code()
    script = Path(sys.argv[0]).resolve()
    params.watch()
    code = {file: _content(file) for file in (script, *CODE.rglob("*.py"))}
    kept = work(*arguments)
    _require_unchanged(code)
    if kept:
        (kept / FINISHED).touch()


def _require_own_code() -> None:
    """Refuse to make, as a stage of DVC, another folder's results by this one's code.

    DVC notes the code that lies in the folder where it runs; an installation leads to the project's. They are
    two in a worktree, and in the folder where DVC tries an experiment (`--temp`, `--queue`).
    """
    noted = params.root() / "src" / "dermaflow"
    if "DVC_STAGE" in os.environ and noted.is_dir() and noted.resolve() != CODE:
        raise DermaflowError(
            f"DVC notes the code in {noted}, and that of {CODE} would run",
            _name(),
            "Put PYTHONPATH=src before the command.",
        )


def _require_unchanged(code: Mapping[Path, bytes | None]) -> None:
    """Refuse to let DVC note params that were opened, or modules that were loaded, in a later state."""
    names = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    loaded = {Path(name).resolve() for name in names if name}
    changed = [f"{params.FILE}: {key}" for key in params.changed()]
    other = [file for file in sorted(loaded & code.keys()) if _content(file) != code[file]]
    changed += [os.path.relpath(file, params.root()) for file in other]
    if changed:
        raise DermaflowError(
            f"while it ran there changed {first_ten(changed)}",
            _name(),
            "Run it again, and leave code and params be until it has ended.",
        )


def _content(file: Path) -> bytes | None:
    return file.read_bytes() if file.exists() else None


def _name() -> str:
    return os.environ.get("DVC_STAGE", Path(sys.argv[0]).name)
