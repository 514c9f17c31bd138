"""The same params on the hold-outs of several splits: beyond one split's luck.

    python benchmarks/split_seeds.py --project DIR [--changes FILE] [--seeds N ...] [--json FILE]

For each seed (default 2018 2019 2020) the project's own stages deal anew (`split.seed`), train and run up to
`ensemble`, whose hold-out figures are printed. A file of changes (benchmarks/one_member.yaml: one member
alone) is merged into params.yaml, section by section, for the time of the run. Use a copy of a project:
outputs of its own split are replaced. The configuration is to be chosen before, on inner folds.
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
from dermaflow.evaluate import report
from inner_folds import merged

FIGURES = ("balanced_accuracy", "melanoma_auc", "macro_auc")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--changes", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[2018, 2019, 2020])
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    os.environ["DERMAFLOW_ROOT"] = str(asked.project.resolve())  # the stages run in another folder
    params = asked.project / "params.yaml"
    before = params.read_text(encoding="utf-8")
    changes = yaml.safe_load(asked.changes.read_text(encoding="utf-8")) if asked.changes else {}
    settings = merged(yaml.safe_load(before), changes)
    found: dict[str, Any] = {}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that params.yaml is put back then, too
    try:
        for seed in asked.seeds:
            began = time.perf_counter()
            dealt = yaml.safe_dump(merged(settings, {"split": {"seed": seed}}), sort_keys=False)
            params.write_text(dealt, encoding="utf-8")
            subprocess.run(["dvc", "repro", "ensemble"], cwd=asked.project, check=True)
            told = outputs.read_json(outputs.path("ensemble") / "metrics.json")["hold_out"]
            row = {name: told[name] for name in ("cases", *FIGURES)}
            found[str(seed)] = row | {"seconds": round(time.perf_counter() - began)}
            for name in FIGURES:
                mean = float(np.mean([one[name]["value"] for one in found.values()]))
                said = report.interval(row[name])
                print(f"seed {seed}: {name.replace('_', ' ')} {said}, mean so far {mean:.3f}")
            sys.stdout.flush()
            if asked.json:
                asked.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    finally:
        params.write_text(before, encoding="utf-8")


if __name__ == "__main__":
    main()
