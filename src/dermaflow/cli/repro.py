"""`dermaflow repro`: `dvc repro`, tidied before and explained after."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Self

import typer
import yaml

from dermaflow import datadir, outputs, tracking
from dermaflow.cli import all_params
from dermaflow.params import root

REPORTS: Final = {"validate": "reports/quality", "split": "reports/splits"}
"""Stages and what each shows beside its outputs: not byte-stable, so DVC neither keeps nor restores it."""


def repro() -> None:
    """Run `dvc repro`; first read all params and remove outputs that dvc.yaml no longer names.

    Then say what changed.
    Removed is what a stage of other params made, and whatever else lies in a folder that a stage reads as a
    whole; other files in outputs/ stay. A stage whose pictures in reports/ are not there, since its outputs
    came from the cache or a remote, runs once more. Exit code: that of `dvc repro`.
    """
    all_params.check()
    datadir.drop_torn_lock()
    flow = Flow.read()
    if found := stale(flow, made(_committed()) | made(_locked())):
        with datadir.alone(outputs.path("")):  # a pipeline of other params may run, whose outputs these are
            for name in remove(found):
                print(f"removed {name}: no stage of dvc.yaml makes it")
    start = time.monotonic()
    status, ran = _dvc_repro()
    for stage, shown in REPORTS.items():
        if not status and stage in flow.stages and not (root() / shown).exists():
            print(f"{shown} is not there: {stage} makes it")
            status, _ = _dvc_repro("--single-item", "--force", stage)
    seconds = time.monotonic() - start
    tracking.flush()  # what a failed stage found, too
    if status:
        raise typer.Exit(status)
    if not ran:
        print(f"Nothing to do: all stages are up to date ({seconds:.1f} s of DVC).")
        return
    print(f"All stages are up to date ({seconds:.0f} s).")
    left = first_difference(_committed(), _locked(), flow.stages)
    if left is None:
        print("The results are those of the committed dvc.lock, byte for byte.")
    else:
        print(
            f"From stage {left} on, the results differ from the committed dvc.lock: "
            "the data, params, code or type of processor do."
        )


def _dvc_repro(*words: str) -> tuple[int, bool]:
    """Run `dvc repro`, passing on what it says; return its status and whether a stage ran or was restored."""
    ran = False
    command = [sys.executable, "-m", "dvc", "repro", *words]
    with subprocess.Popen(command, cwd=root(), stdout=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stdout or ():
                sys.stdout.write(line)
                sys.stdout.flush()
                ran |= line.startswith("Running stage ") or "is cached - skipping run" in line
        except SystemExit:  # told to end: DVC is, too
            process.terminate()
            raise
    return process.returncode, ran


@dataclass(frozen=True)
class Flow:
    """What dvc.yaml says with the present params; paths are relative to the root.

    Attributes:
        stages: their names.
        outs: all outputs of stages.
        whole: folders of outputs that a stage reads as a whole.
    """

    stages: frozenset[str]
    outs: frozenset[str]
    whole: frozenset[str]

    @classmethod
    def read(cls) -> Self:
        """Ask DVC."""
        with datadir.repository() as repo:
            stages = [stage for stage in repo.index.stages if not stage.is_data_source]
            outs = frozenset(str(out.def_path) for stage in stages for out in stage.outs)
            deps = {str(dep.def_path) for stage in stages for dep in stage.deps}
            parents = {str(parent) for out in outs for parent in Path(out).parents}
            return cls(frozenset(stage.addressing for stage in stages), outs, frozenset(deps & parents))


def made(lock: Mapping[str, Any]) -> set[str]:
    """Return the paths of all outputs that a dvc.lock remembers, below outputs/."""
    paths = {out["path"] for entry in lock.get("stages", {}).values() for out in entry.get("outs", [])}
    return {path for path in paths if path.startswith(f"{outputs.DIR}/")}


def stale(flow: Flow, remembered: Iterable[str]) -> list[str]:
    """Return the paths of what lies there and no stage makes any more.

    Args:
        flow: the stages that there are.
        remembered: outputs of stages of other params, too.
    """
    parents = {str(parent) for out in flow.outs for parent in Path(out).parents}
    kept = flow.outs | parents
    found = {path for path in remembered if path not in kept and not _inside(path, flow.outs)}

    def visit(folder: Path) -> None:
        for entry in folder.iterdir():
            name = entry.relative_to(root()).as_posix()
            if name in parents:
                visit(entry)
            elif name not in flow.outs and entry.name != ".gitignore":
                found.add(name)

    for folder in flow.whole:
        if (root() / folder).is_dir():
            visit(root() / folder)
    return [name for name in sorted(found) if (root() / name).exists() or (root() / name).is_symlink()]


def remove(names: Iterable[str]) -> Iterator[str]:
    """Remove files and folders, and folders that are empty then; yield each path when it is gone.

    Args:
        names: their paths, relative to the root.
    """
    for name in names:
        entry = root() / name
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)
        _remove_if_empty(entry.parent)
        yield name


def _inside(path: str, folders: frozenset[str]) -> bool:
    return any(str(parent) in folders for parent in Path(path).parents)


def _remove_if_empty(folder: Path) -> None:
    """Remove a folder, and those above it below outputs/, that hold nothing but DVC's .gitignore."""
    while folder != outputs.path("") and folder.is_dir():
        if any(entry.name != ".gitignore" for entry in folder.iterdir()):
            return
        shutil.rmtree(folder)
        folder = folder.parent


def first_difference(committed: dict[str, Any], now: dict[str, Any], stages: Iterable[str]) -> str | None:
    """Name the first stage, in the order of the flow, whose outputs differ from the committed ones.

    Args:
        committed: dvc.lock as committed.
        now: dvc.lock as it is; it remembers stages of other params, too.
        stages: those that there are.
    """
    old = committed.get("stages", {})
    new = {name: entry for name, entry in now.get("stages", {}).items() if name in set(stages)}
    changed = {name for name, entry in new.items() if old.get(name, {}).get("outs") != entry.get("outs")}
    made_by = {out["path"]: name for name, entry in new.items() for out in entry.get("outs", [])}

    @cache
    def steps_before(name: str) -> int:
        makers = {
            maker
            for dep in new[name].get("deps", [])
            for path, maker in made_by.items()
            if dep["path"] == path or path.startswith(dep["path"] + "/") or dep["path"].startswith(path + "/")
        }
        return max((1 + steps_before(maker) for maker in makers - {name}), default=0)

    return min(changed, key=lambda name: (steps_before(name), name), default=None)


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
