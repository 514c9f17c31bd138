"""Stage impute: fill missing patient data; the fit sees training rows only."""

from dermaflow import impute, outputs, params, tracking


def main() -> None:
    cases = outputs.cases.read()
    fitted = impute.fit(cases[cases.split == "train"], params.load(impute.ImputeParams))
    outputs.write_json(outputs.path(outputs.imputer), fitted.to_json())
    outputs.patients.write(impute.apply_table(fitted.imputer, cases[cases.split != "dropped"]))
    tracking.stage("impute", metrics=fitted.to_json())


if __name__ == "__main__":
    main()
