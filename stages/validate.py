"""Stage validate: hold the published tables against the Great Expectations suites."""

from dermaflow import outputs, params, quality, stage, tracking


def main() -> None:
    names = params.names("releases")
    tables = {name: outputs.releases.of(name).read() for name in names}
    facts = {name: outputs.facts.of(name).read_without("thumbnail") for name in names}
    report = quality.validate(tables, facts)
    quality.data_docs(outputs.reports_dir("quality"), report, tables, facts)
    outputs.write_json(outputs.path(outputs.quality_report), report.to_json())
    tracking.stage("validate", metrics=report.counts, artifacts={"reports/quality": "data_docs"}, later=True)
    quality.tell_warnings(report)
    quality.raise_if_critical(report)


if __name__ == "__main__":
    stage.run(main)
