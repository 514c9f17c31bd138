"""Two projects' ensembles on the cases that both answered: differences with paired 95 % intervals.

    python benchmarks/side_by_side.py DIR OTHER [--hold-out] [--json FILE]

DIR and OTHER are projects that ran up to `ensemble`, on the same images and views. By default their answers
out of fold are compared (each image answered by the members that did not train on it, the temperature fitted
on these images), which is what choices are made on. `--hold-out` is for a report of what was chosen before.
"""

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from dermaflow import outputs, params
from dermaflow.bundle.apply import Calibration
from dermaflow.evaluate import evaluation, figures, intervals, members, metrics, report
from dermaflow.evaluate.answers import Answers
from dermaflow.evaluate.params import EvaluateParams
from dermaflow.taxonomy import EIGHT, SEVEN

CHALLENGES: Final = {"HAM": SEVEN, "BCN": EIGHT}
"""The diagnoses that each centre's challenge knows."""
FIGURES: Final = ("balanced_accuracy", "melanoma_auc", "log_loss")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("projects", type=Path, nargs=2)
    parser.add_argument("--hold-out", action="store_true")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    one, other = (dict(rows(project, hold_out=asked.hold_out)) for project in asked.projects)
    evaluate = params.load(EvaluateParams)  # of the second
    found = {name: compared(one[name], other[name], evaluate) for name in one if name in other}
    for name, differences in found.items():
        print(f"{name}: {differences['cases']} cases")
        for figure in FIGURES:
            said = (f"{key} {report.interval(value)}" for key, value in differences[figure].items())
            print(f"  {figure.replace('_', ' ')}: {', '.join(said)}")
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def rows(project: Path, *, hold_out: bool) -> Iterator[tuple[str, Answers]]:
    """Yield a project's answers by the row of a table, as README has them."""
    os.environ["DERMAFLOW_ROOT"] = str(project.resolve())
    found = members.read(params.names("models"), params.names("folds"))
    calibration = Calibration.from_json(outputs.read_json(outputs.path("ensemble") / "calibration.json"))
    scored = evaluation.score(found, calibration, outputs.cases.read(), outputs.holdout.read())
    answers = scored.hold_out if hold_out else scored.out_of_fold
    told = scored.hold_out_told if hold_out else scored.out_of_fold_told
    yield "all", answers
    for centre, view in CHALLENGES.items():
        if centre in told:
            yield centre, answers.where((answers.cases.centre == centre).to_numpy()).in_view(view)
            yield f"{centre}, told", told[centre].in_view(view)
    elsewhere = answers.cases.centre.isin(["MSK", members.UNKNOWN])
    if elsewhere.any():
        yield "MSK and no named centre", answers.where(elsewhere.to_numpy())


def compared(one: Answers, other: Answers, evaluate: EvaluateParams) -> dict[str, Any]:
    """Return the figures of both and the second's less the first's, on the cases that both answered."""
    one, other = (
        of.where(of.cases.image_id.isin(beside.cases.image_id).to_numpy())
        for of, beside in ((one, other), (other, one))
    )
    if one.view != other.view or not one.cases.image_id.equals(other.cases.image_id):
        raise SystemExit("error: the two projects are of different views, or list their images otherwise")
    weights = figures.weights_of(one, evaluate)
    first, second = (
        (
            figures.balanced_accuracy(of),
            figures.melanoma_auc(of),
            intervals.mean(metrics.log_losses(of.target, of.probability)),
        )
        for of in (one, other)
    )
    return {"cases": len(one)} | {
        name: {
            "first": figures.figure(before, weights),
            "second": figures.figure(after, weights),
            "difference": figures.difference(after, before, weights),
        }
        for name, before, after in zip(FIGURES, first, second, strict=True)
    }


if __name__ == "__main__":
    main()
