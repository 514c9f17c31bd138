"""Every preset is a whole, valid params file, and holds every key that dvc.yaml names."""

import re

import pytest
import yaml

from dermaflow import params
from dermaflow.cli import all_params
from dermaflow.train.params import AugmentParams
from tests_paths import ROOT

PRESETS = sorted((ROOT / "presets").glob("*.yaml"))


def test_the_five_presets_are_there():
    assert [file.stem for file in PRESETS] == ["ham10000", "laptop", "night", "paper", "sample"]


@pytest.mark.parametrize("file", PRESETS, ids=lambda file: file.stem)
def test_a_preset_is_valid_and_whole(project, monkeypatch, file):
    monkeypatch.setenv("DERMAFLOW_PARAMS", str(file))
    all_params.check()
    known = {kind.section for kind in all_params.SECTIONS} | {
        "releases",
        "sizes",
        "folds",
        "models",
        "workers",
    }
    assert set(yaml.safe_load(file.read_text())) == known
    trained = params.names("folds", file=file)
    assert trained == [str(i) for i in range(len(trained))]


@pytest.mark.parametrize("file", PRESETS, ids=lambda file: file.stem)
def test_a_preset_holds_every_key_that_dvc_yaml_names(file):
    for stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values():
        for key in (stage.get("do") or stage).get("params", []):
            for model in params.names("models", file=file):
                params._section(file, re.sub(r"\$\{(key|item\.model)\}", model, key))


def test_the_committed_params_are_the_sample_preset():
    assert (ROOT / "params.yaml").read_text() == (ROOT / "presets/sample.yaml").read_text()


def test_drawn_and_real_presets_never_share_a_lineage():
    """A champion is only ever compared with one of the same name."""
    presets = [yaml.safe_load(file.read_text())["registry"] for file in PRESETS]
    drawn, real = ({one["name"] for one in presets if one["demo"] is demo} for demo in (True, False))
    assert drawn
    assert not drawn & real


def test_every_augmentation_of_the_sixteen_is_on_in_the_paper_preset():
    augment = params.load(AugmentParams, file=ROOT / "presets/paper.yaml")
    parts = {name: getattr(augment, name).p for name in type(augment).model_fields}
    assert len(parts) == 16
    assert all(parts.values())
