"""Scratch repositories in which the real `dvc repro` runs on a reduced demo release."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import yaml

from tests_paths import ROOT

REDUCED = {
    "sizes": [64],
    "folds": [0, 1],
    "split": {"folds": 3},  # a third fold that no member validates
    "train": {"batch": 16, "views": 1},
    "models": {
        "lite0": {"stored_px": 64, "input_px": 64, "epochs": 1, "drawn_images": 64},
        "tiny": {
            "backbone": "test_efficientnet.r160_in1k",
            "weights": "none",
            "stored_px": 64,
            "input_px": 64,
            "epochs": 2,
            "drawn_images": 32,
        },
    },
    "impute": {"max_missing": 0.2},  # two gaps among few rows are a large share
    "evaluate": {"bootstrap": 100},
    "stress": {"images": 6},
    # Two passes over a few drawn images prove nothing: the gate's limits are tested in tests/bundle.
    "gate": {
        "min_balanced_accuracy": 0,
        "min_melanoma_auc": 0,
        "min_macro_auc": 0,
        "max_calibration_error": 1,
        "max_flipped": 1,
    },
}

# Runs a stage with a params file that holds only what dvc.yaml declares for it.
SHIM = """#!{python}
import os, re, sys, tempfile, yaml
name = os.environ.get("DVC_STAGE", "")
if name:
    entry = yaml.safe_load(open("dvc.yaml"))["stages"][name.partition("@")[0]]
    keys = (entry.get("do") or entry).get("params", [])
    whole, kept = yaml.safe_load(open("params.yaml")), {{}}
    kept["workers"] = whole["workers"]  # which changes no byte: no stage declares it
    item = name.partition("@")[2].rpartition("-")[0] or name.partition("@")[2]
    for key in keys:
        parts = re.sub(r"[$][{{](key|item.model)[}}]", item, key).split(".")
        value, place = whole, kept
        for part in parts:
            value = value[part]
        for part in parts[:-1]:
            place = place.setdefault(part, {{}})
        place[parts[-1]] = value
    file = tempfile.NamedTemporaryFile("w", suffix=".yaml", dir="{shim}", delete=False)
    yaml.safe_dump(kept, file)
    file.close()
    os.environ["DERMAFLOW_PARAMS"] = file.name
os.execv("{python}", ["{python}", *sys.argv[1:]])
"""


def merged(base, changes):
    """Return `base` with `changes` put into its tables; models are replaced whole."""
    result = dict(base)
    for key, value in changes.items():
        deeper = isinstance(value, dict) and isinstance(result.get(key), dict) and key != "models"
        result[key] = merged(result[key], value) if deeper else value
    return result


class Repo:
    """One scratch repository."""

    def __init__(self, folder: Path, *, shim: bool = False):
        self.folder = folder
        self.env = {**os.environ, "PYTHONPATH": str(folder / "src"), "BENTOML_HOME": str(folder / "bentoml")}
        self.env.pop("MLFLOW_TRACKING_URI", None)
        self.env.pop("DERMAFLOW_ROOT", None)
        path = [str(Path(sys.executable).parent), self.env["PATH"]]
        if shim:
            tool = folder / "shim" / "python"
            tool.parent.mkdir(parents=True)
            tool.write_text(SHIM.format(python=sys.executable, shim=tool.parent))
            tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
            path.insert(0, str(tool.parent))
        self.env["PATH"] = os.pathsep.join(path)

    def run(self, *command, ok=True):
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False, timeout=1500
        )
        if ok:
            assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
        return done

    @property
    def params(self):
        return yaml.safe_load((self.folder / "params.yaml").read_text())

    @params.setter
    def params(self, value):
        (self.folder / "params.yaml").write_text(yaml.safe_dump(value, sort_keys=False))

    def change(self, changes):
        self.params = merged(self.params, changes)

    def repro(self):
        """Run `dvc repro` and return the names of the stages that ran."""
        out = self.run("dvc", "repro").stdout
        return [line.split("'")[1] for line in out.splitlines() if line.startswith("Running stage ")]

    @property
    def lock(self):
        return yaml.safe_load((self.folder / "dvc.lock").read_text())["stages"]


def make(folder: Path, demo: Path, *, shim: bool = False) -> Repo:
    repo = Repo(folder, shim=shim)
    for name in ("stages", "src", "splits"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore", "bentofile.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "presets", folder / "presets")
    repo.change(REDUCED)
    shutil.copytree(demo, folder / "data")
    repo.run("git", "init", "-q")
    repo.run("dvc", "init", "-q")
    names = sorted(entry.name for entry in (folder / "data").iterdir())
    repo.run(sys.executable, "-c", f"from dermaflow import datadir; datadir.declare({names}, source='demo')")
    repo.run("git", "add", ".")
    repo.run("git", "commit", "-q", "-m", "start")
    return repo
