"""Stage certify: the suite of the prepared table and the proof of no leak; without it nothing trains."""

from dermaflow import outputs, params, quality, stage
from dermaflow.files import digest
from dermaflow.splits import leaks
from dermaflow.splits.certificate import certify
from dermaflow.splits.params import SplitParams


def main() -> None:
    cases, patients, pairs = outputs.cases.read(), outputs.patients.read(), outputs.pairs.read()
    settings = params.load(SplitParams)
    leaks.refuse(cases, pairs, settings.file)  # before the suite, which would not say how much is shared
    folds = settings.dealt(params.names("folds"))
    report = quality.validate_prepared(cases, patients, folds)
    quality.tell_warnings(report)
    quality.raise_if_critical(report, "Run `dvc repro impute`, which makes these tables anew.")
    found = certify(
        cases,
        pairs,
        outputs.read_json(outputs.path(outputs.ledger)),
        report.to_json(),
        digests={"cases": digest(outputs.cases.path), "patients": digest(outputs.patients.path)},
        dealt={"cases": digest(outputs.cases.path), "pairs": digest(outputs.pairs.path)},
    )
    outputs.write_json(outputs.path(outputs.certificate), found)


if __name__ == "__main__":
    stage.run(main)
