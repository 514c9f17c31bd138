"""The house's walls: who may import whom, and that dvc.yaml tells the truth about it."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import grimp
import pytest
import yaml

from tests_paths import ROOT

EXCEPTED = {
    "dermaflow",
    "dermaflow.stage",
    "dermaflow.params",
    "dermaflow.outputs",
    "dermaflow.tracking",
    "dermaflow.errors",
}


@cache
def graph():
    return grimp.build_graph("dermaflow", cache_dir=None)


def stages():
    return yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def imported_by(text):
    """Modules of ours that a script imports itself, anywhere in it and for types alone too, as in grimp."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "a script lies in no package, so that a relative import fails"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in graph().modules else node.module for name in names}
    return {name for name in found if name.partition(".")[0] == "dermaflow"}


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
        for module in sorted(reached(imported_by((ROOT / script).read_text())))
        if not any(file_of(module) == dep or file_of(module).startswith(f"{dep}/") for dep in deps)
    ]
    assert not missing, f"add to the deps of {name} in dvc.yaml: {missing}"


@pytest.mark.parametrize("name", sorted(stages()))
def test_a_stage_depends_on_no_room_that_it_does_not_import(name):
    stage = stages()[name]
    deps = [dep for dep in (stage.get("do") or stage)["deps"] if dep.startswith("src/")]
    script = next(dep for dep in (stage.get("do") or stage)["deps"] if dep.startswith("stages/"))
    files = {file_of(module) for module in reached(imported_by((ROOT / script).read_text()))}
    idle = [dep for dep in deps if not any(file == dep or file.startswith(f"{dep}/") for file in files)]
    assert not idle, f"take out of the deps of {name} in dvc.yaml: {idle}"


@pytest.mark.parametrize(
    "text",
    [
        "from dermaflow.images import (\n    crop,\n    facts,\n)",
        "def main():\n    from dermaflow.images import crop, facts",
        "import dermaflow.images.crop as c\nimport dermaflow.images.facts",
        "if TYPE_CHECKING:\n    from dermaflow.images import crop, facts",
        "from dermaflow.images.crop import (\n    cut,\n)\nfrom dermaflow.images.facts import look",
    ],
)
def test_an_import_is_seen_over_several_lines_and_inside_a_function(text):
    assert imported_by(text) == {"dermaflow.images.crop", "dermaflow.images.facts"}


def test_the_import_contracts_hold():
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
