"""The Makefile finds the Python that is there, and loses nobody's params.yaml."""

import os
import shutil
import socket
import subprocess

import pytest

from tests_paths import ROOT

MAKE = shutil.which("make")
PRESETS = ("sample", "laptop")


@pytest.fixture
def make(tmp_path):
    """Run a target in a copy whose environment counts as installed."""
    (tmp_path / "presets").mkdir()
    for name in PRESETS:
        (tmp_path / f"presets/{name}.yaml").write_text(f"{name}: 1\n")
    for name in ("requirements.lock", "pyproject.toml", "params.yaml"):
        (tmp_path / name).touch()
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/.installed").touch()

    def run(*words, **env):
        command = [MAKE, "-C", tmp_path, "-f", ROOT / "Makefile", *words]
        return subprocess.run(command, env=env or None, capture_output=True, text=True, check=True).stdout

    return run


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (["python3.11", "python3.12"], "python3.11"),
        (["python3.12", "python3.13"], "python3.12"),
        (["python3.13"], "python3.13"),
        ([], "python3.11"),  # and its absence is the error
    ],
)
def test_the_environment_is_made_with_the_first_python_that_is_there(make, tmp_path, there, taken):
    path = tmp_path / "bin"
    path.mkdir()
    for name in there:
        (path / name).touch(mode=0o755)
    (tmp_path / ".venv/.installed").unlink()
    said = make("--dry-run", "setup", PATH=str(path))
    assert f"{path / taken if there else taken} -m venv .venv" in said


def test_a_preset_keeps_every_edited_params_file_and_names_the_copy(make, tmp_path):
    for edit in ("first", "second"):
        (tmp_path / "params.yaml").write_text(edit)
        assert "'params.yaml.bak'" in make("preset", "NAME=laptop")
        assert (tmp_path / "params.yaml").read_text() == "laptop: 1\n"
    assert {file.read_text() for file in tmp_path.glob("params.yaml.bak*")} == {"first", "second"}
    make("preset", "NAME=sample")  # a preset as it is needs no copy
    assert len(list(tmp_path.glob("params.yaml.bak*"))) == 2


def test_params_of_which_no_copy_can_be_written_stay(make, tmp_path):
    (tmp_path / "params.yaml").write_text("edited")
    (tmp_path / ".venv/bin").mkdir()
    full = tmp_path / ".venv/bin/cp"  # as on a full disk: the copy of the preset would still fit
    full.write_text('#!/bin/sh\ncase "$*" in *.bak) exit 1;; *) exec /bin/cp "$@";; esac\n')
    full.chmod(0o755)
    with pytest.raises(subprocess.CalledProcessError):
        make("preset", "NAME=laptop")
    assert (tmp_path / "params.yaml").read_text() == "edited"


@pytest.mark.parametrize(("target", "variable"), [("serve", "PORT"), ("ui", "UI_PORT")])
def test_a_port_that_is_taken_is_said_in_one_line(make, target, variable):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(subprocess.CalledProcessError) as failed:
            make(target, f"{variable}={port}", PATH=os.environ["PATH"])
    said = f"port {port} is taken, or not for you: make {target} {variable}=..."
    assert said in failed.value.stdout.splitlines()
    assert "http" not in failed.value.stdout


def test_a_fold_that_fails_leaves_the_others_to_be_trained(make, tmp_path):
    tools = tmp_path / ".venv/bin"
    tools.mkdir()
    names = " ".join(f"train@tiny-{fold}" for fold in range(4))
    dvc = f"""#!/bin/sh
case "$*" in
  "stage list --name-only") printf '%s\\n' split {names};;
  *train@tiny-1) echo "$*" >> tried; exit 255;;
  *train@*) echo "$*" >> tried;;
esac
"""
    for name, text in (("dvc", dvc), ("python", "#!/bin/sh\n")):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    with pytest.raises(subprocess.CalledProcessError):
        make("train", "JOBS=2", PATH=os.environ["PATH"])
    tried = (tmp_path / "tried").read_text().split("\n")
    assert sorted(tried) == ["", *(f"--wait-for-lock repro -s {name}" for name in names.split())]
