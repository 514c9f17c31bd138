"""Stage bundle: whatever the order in params.yaml, a network is shipped as its own calibration's row."""

import runpy

import pandas as pd
import yaml

from dermaflow import outputs
from dermaflow.bundle import build
from dermaflow.train import ship
from tests_paths import ROOT


def test_members_come_in_the_order_of_the_calibrations_rows(project, monkeypatch):
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content |= {"models": {"a": {}, "b": {}}, "folds": [0, 1]}
    (project / "params.yaml").write_text(yaml.safe_dump(content))
    rows = [{"model": model, "fold": fold} for model in ("b", "a") for fold in (1, 0)]
    outputs.write_json(outputs.path("ensemble/calibration.json"), {"members": rows})
    for name in ("ensemble/metrics.json", outputs.imputer):
        outputs.write_json(outputs.path(name), {})
    outputs.write_text(outputs.path(outputs.funnel), "reason,images\n")
    outputs.holdout.write(pd.DataFrame({"image_id": ["x"], "diagnosis": ["NV"]}))
    outputs.ensemble_predictions.write(pd.DataFrame({"image_id": ["x"], "split": ["hold_out"]}))
    seen = []
    monkeypatch.setattr(ship, "ship", lambda source, *_: "/".join(source.parts[-2:]))
    monkeypatch.setattr(build, "assemble", lambda folder, members, **_: seen.extend(members))
    runpy.run_path(str(ROOT / "stages/bundle.py"), run_name="__main__")
    assert seen == ["b/1", "b/0", "a/1", "a/0"]
