"""How a stage of dvc.yaml runs: by the very code and params that DVC notes for it, or it fails."""

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from dermaflow import params
from dermaflow.errors import DermaflowError, first_ten, tell_errors

CODE = Path(__file__).resolve().parent


def run(work: Callable[..., Path | None], *arguments: str) -> None:
    """Do a stage's work; what a user can cause ends with one line and exit code 1.

    DVC looks at code and params when a stage has ended. Where these are not what ran, the stage fails, so
    that DVC notes nothing; the next run makes its outputs anew.

    Args:
        work: the script's `main`. It may return a folder that a repeated run would need, removed at the end.
        arguments: of the command line.
    """
    tell_errors(_checked, work, *arguments)


def _checked(work: Callable[..., Path | None], *arguments: str) -> None:
    _require_own_code()
    script = Path(sys.argv[0]).resolve()
    params.watch()
    code = {file: _content(file) for file in (script, *CODE.rglob("*.py"))}
    needed_until_now = work(*arguments)
    _require_unchanged(code)
    if needed_until_now:
        shutil.rmtree(needed_until_now, ignore_errors=True)


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
