"""One member, one fold, on the hold-outs of several splits: beyond one split's luck.

    python benchmarks/split_seeds.py benchmarks/one_member.yaml --project DIR [--seeds N ...] [--json FILE]

For each seed (default 2018 2019 2020) the project's own stages deal anew (`split.seed`), train the first fold
of the first model and predict its hold-out, which is scored by decision score. The file of changes is merged
into params.yaml, section by section, for the time of the run. Use a copy of a project: outputs of its own
split are replaced. The configuration is to be chosen before, on inner folds.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dermaflow import outputs
from dermaflow.evaluate import figures, members
from dermaflow.evaluate.answers import Answers
from dermaflow.evaluate.params import EvaluateParams
from inner_folds import merged

EVALUATE = EvaluateParams(bootstrap=1000)


def hold_out(model: str, fold: int) -> dict[str, Any]:
    """Score one member on the hold-out, calibrated for the training rows' frequencies."""
    member = members.read([model], [fold])
    prior = members.natural_prior(outputs.cases.read(), member[0].view)
    calibration = members.calibration(member, np.ones(1), prior)
    found = members.predict(member, calibration, "hold_out")
    truth = members.labelled(outputs.cases.read(), outputs.holdout.read(), "hold_out")
    answers = Answers.of(found, member[0].view, prior, truth)
    weights = figures.weights_of(answers, EVALUATE)
    return {
        "cases": len(answers),
        "balanced_accuracy": figures.figure(figures.balanced_accuracy(answers), weights),
        "melanoma_auc": figures.figure(figures.melanoma_auc(answers), weights),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("changes", type=Path)
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[2018, 2019, 2020])
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    os.environ["DERMAFLOW_ROOT"] = str(asked.project.resolve())  # the stages run in another folder
    params = asked.project / "params.yaml"
    before = params.read_text(encoding="utf-8")
    settings = merged(yaml.safe_load(before), yaml.safe_load(asked.changes.read_text(encoding="utf-8")))
    model, fold = next(iter(settings["models"])), settings["folds"][0]
    found: dict[str, Any] = {}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that params.yaml is put back then, too
    try:
        for seed in asked.seeds:
            began = time.perf_counter()
            dealt = yaml.safe_dump(merged(settings, {"split": {"seed": seed}}), sort_keys=False)
            params.write_text(dealt, encoding="utf-8")
            subprocess.run(
                ["dvc", "repro", "certify", f"train@{model}-{fold}"], cwd=asked.project, check=True
            )
            row = hold_out(model, fold) | {"seconds": round(time.perf_counter() - began)}
            found[str(seed)] = row
            for name in ("balanced_accuracy", "melanoma_auc"):
                mean = float(np.mean([one[name]["value"] for one in found.values()]))
                said = "{value:.3f} ({low:.3f} to {high:.3f})".format(**row[name])
                print(f"seed {seed}: {name.replace('_', ' ')} {said}, mean so far {mean:.3f}")
            sys.stdout.flush()
            if asked.json:
                asked.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    finally:
        params.write_text(before, encoding="utf-8")


if __name__ == "__main__":
    main()
