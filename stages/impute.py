"""Stage impute: fill missing patient data; the fit sees training rows only."""

from dermaflow import outputs, params, stage, tracking
from dermaflow.impute import fitting
from dermaflow.impute.params import ImputeParams


def main() -> None:
    cases = outputs.cases.read()
    fitted = fitting.fit(cases[cases.split == "train"], params.load(ImputeParams))
    outputs.write_json(outputs.path(outputs.imputer), fitted.to_json())
    outputs.patients.write(fitting.apply_table(fitted.imputer, cases[cases.split != "dropped"]))
    tracking.stage("impute", metrics=fitted.to_json(), later=True)


if __name__ == "__main__":
    stage.run(main)
