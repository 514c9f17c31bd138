"""The hold-out is opened once: who may read its diagnoses."""

import re

from tests_paths import ROOT

READERS = {
    "stages/split.py",
    "stages/evaluate.py",
    "stages/ensemble.py",
    "stages/bundle.py",
}
COMMANDS = {
    "src/dermaflow/cli/assess.py",  # its digest alone: is it that of the bundle's training?
    "src/dermaflow/cli/data.py",  # export --hold-out
    "src/dermaflow/cli/models.py",
    "src/dermaflow/outputs/__init__.py",
}


def test_only_evaluation_and_promotion_open_the_hold_outs_diagnoses():
    files = [*ROOT.glob("stages/*.py"), *ROOT.glob("src/**/*.py")]
    found = {
        file.relative_to(ROOT).as_posix()
        for file in files
        if re.search(r"holdout\.(read|path|write|content)\b", file.read_text())
    }
    assert found <= READERS | COMMANDS
