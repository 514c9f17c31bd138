"""The house's walls: who may import whom, and that dvc.yaml tells the truth about it."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import grimp
import pytest
import yaml

from tests_paths import ROOT

EXCEPTED = {"dermaflow", "dermaflow.params", "dermaflow.outputs", "dermaflow.tracking", "dermaflow.errors"}


@cache
def graph():
    return grimp.build_graph("dermaflow", cache_dir=None)


def stages():
    return yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def imported_by(script):
    """Modules that a script imports itself, as `import x`, `from x import y` name them."""
    text = script.read_text()
    found = set()
    for line in re.findall(r"^from (dermaflow[\w.]*) import ([\w, ()]+)", text, re.MULTILINE):
        for name in re.findall(r"\w+", line[1]):
            full = f"{line[0]}.{name}"
            found.add(full if full in graph().modules else line[0])
    return found


def reached(modules):
    """All modules of ours that are reached, the packages' __init__ files included."""
    seen, todo = set(), set(modules)
    while todo:
        module = todo.pop()
        if module in seen or module in EXCEPTED:
            continue
        seen.add(module)
        todo |= graph().find_modules_directly_imported_by(module)
        parent = module.rpartition(".")[0]
        if parent:
            todo.add(parent)
    return seen


def file_of(module):
    base = ROOT / "src" / module.replace(".", "/")
    return (base / "__init__.py" if base.is_dir() else base.with_suffix(".py")).relative_to(ROOT).as_posix()


@pytest.mark.parametrize("name", sorted(stages()))
def test_a_stage_depends_on_its_script_and_on_every_room_that_it_imports(name):
    stage = stages()[name]
    deps = (stage.get("do") or stage)["deps"]
    script = next(dep for dep in deps if dep.startswith("stages/"))
    missing = [
        file_of(module)
        for module in sorted(reached(imported_by(ROOT / script)))
        if not any(file_of(module) == dep or file_of(module).startswith(f"{dep}/") for dep in deps)
    ]
    assert not missing, f"add to the deps of {name} in dvc.yaml: {missing}"


@pytest.mark.parametrize("name", sorted(stages()))
def test_a_stage_depends_on_no_room_that_it_does_not_import(name):
    stage = stages()[name]
    deps = [dep for dep in (stage.get("do") or stage)["deps"] if dep.startswith("src/")]
    script = next(dep for dep in (stage.get("do") or stage)["deps"] if dep.startswith("stages/"))
    files = {file_of(module) for module in reached(imported_by(ROOT / script))}
    idle = [dep for dep in deps if not any(file == dep or file.startswith(f"{dep}/") for file in files)]
    assert not idle, f"take out of the deps of {name} in dvc.yaml: {idle}"


def test_the_import_contracts_hold():
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
