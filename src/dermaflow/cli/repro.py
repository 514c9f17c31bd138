"""`dermaflow repro`: `dvc repro`, tidied before and explained after."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer
import yaml

from dermaflow import outputs, tracking
from dermaflow.bundle import registry
from dermaflow.params import root

KEPT = frozenset({registry.DECISION})
"""What lies in outputs/ without being a stage's output."""


def repro() -> None:
    """Run `dvc repro`; first remove outputs that dvc.yaml no longer names, then say what changed.

    Exit code: that of `dvc repro`.
    """
    declared, stages = flow()
    for stale in remove_stale(declared):
        print(f"removed {stale}: dvc.yaml no longer names it")
    start = time.monotonic()
    status, ran = _dvc_repro()
    seconds = time.monotonic() - start
    tracking.flush()  # what a failed stage found, too
    if status:
        raise typer.Exit(status)
    if not ran:
        print(f"Nothing to do: all stages are up to date ({seconds:.1f} s of DVC).")
        return
    print(f"All stages are up to date ({seconds:.0f} s).")
    left = first_difference(_committed(), _locked(), stages)
    if left is None:
        print("The results are those of the committed dvc.lock, byte for byte.")
    else:
        print(
            f"From stage {left} on, the results differ from the committed dvc.lock: "
            "the data, params, code or type of processor do."
        )


def _dvc_repro() -> tuple[int, bool]:
    """Run `dvc repro`, passing on what it says; return its status and whether a stage ran or was restored."""
    ran = False
    command = [sys.executable, "-m", "dvc", "repro"]
    with subprocess.Popen(command, cwd=root(), stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            sys.stdout.write(line)
            sys.stdout.flush()
            ran |= line.startswith("Running stage ") or "is cached - skipping run" in line
    return process.returncode, ran


def flow() -> tuple[list[str], set[str]]:
    """Return the paths of all outputs that dvc.yaml names, relative to the root, and its stages' names."""
    from dvc.repo import Repo  # noqa: PLC0415 - half a second

    with Repo(str(root())) as repo:
        paths = [str(out.def_path) for out in repo.index.outs]
        return [path for path in paths if path.startswith(outputs.DIR)], {
            str(stage.addressing) for stage in repo.index.stages
        }


def remove_stale(declared: Iterable[str]) -> list[str]:
    """Remove what lies in outputs/ but belongs to no declared output; return what was removed."""
    names = set(declared)
    parents = {str(parent) for name in names for parent in Path(name).parents}
    removed: list[str] = []

    def visit(folder: Path) -> None:
        for entry in sorted(folder.iterdir()):
            name = entry.relative_to(root()).as_posix()
            if name in names or entry.name in KEPT or entry.name == ".gitignore":
                continue
            if entry.is_dir() and name in parents:
                visit(entry)
                continue
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            removed.append(name)

    if outputs.path("").exists():
        visit(outputs.path(""))
    return removed


def first_difference(committed: dict[str, Any], now: dict[str, Any], stages: Iterable[str]) -> str | None:
    """Name the first stage, in the order of the flow, whose record differs from the committed one.

    Args:
        committed: dvc.lock as committed.
        now: dvc.lock as it is; it remembers stages of other params, too.
        stages: those that there are.
    """
    old = committed.get("stages", {})
    new = {name: entry for name, entry in now.get("stages", {}).items() if name in set(stages)}
    changed = {name for name, entry in new.items() if old.get(name) != entry}
    made_by = {out["path"]: name for name, entry in new.items() for out in entry.get("outs", [])}

    def follows_a_change(name: str) -> bool:
        return any(
            maker in changed and maker != name
            for dep in new[name].get("deps", [])
            for path, maker in made_by.items()
            if dep["path"] == path or path.startswith(dep["path"] + "/") or dep["path"].startswith(path + "/")
        )

    return next((name for name in sorted(changed) if not follows_a_change(name)), None)


def _committed() -> dict[str, Any]:
    shown = subprocess.run(
        ["git", "show", "HEAD:dvc.lock"], cwd=root(), capture_output=True, text=True, check=False
    )
    value: dict[str, Any] = (yaml.safe_load(shown.stdout) or {}) if shown.returncode == 0 else {}
    return value


def _locked() -> dict[str, Any]:
    file = root() / "dvc.lock"
    value: dict[str, Any] = (yaml.safe_load(file.read_text(encoding="utf-8")) or {}) if file.exists() else {}
    return value
