"""Run checks through Great Expectations."""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from dermaflow.quality import contract, prepared, published
from dermaflow.quality.report import Report, Result
from dermaflow.quality.rules import Check, Rule


def validate(tables: Mapping[str, pd.DataFrame], facts: Mapping[str, pd.DataFrame]) -> Report:
    """Hold the published tables and image facts against their suites and the contract between the years.

    Args:
        tables: rows of outputs.releases, a release.
        facts: rows of outputs.facts, a release.
    """
    return run([*published.checks(tables, facts), *contract.checks(tables, facts)])


def validate_prepared(cases: pd.DataFrame, patients: pd.DataFrame, folds: int) -> Report:
    """Hold the prepared table against its suite.

    Args:
        cases: rows of outputs.cases.
        patients: rows of outputs.patients.
        folds: number of folds that were dealt.
    """
    return run(prepared.checks(cases, patients, folds))


def run(checks: Iterable[Check]) -> Report:
    """Run each rule on its table."""
    gx = _library()
    context = _context(gx)
    source = context.data_sources.add_pandas("tables")
    results: list[Result] = []
    for check in checks:
        batch = source.add_dataframe_asset(check.suite).add_batch_definition_whole_dataframe("all")
        suite = context.suites.add(_suite(gx, check))
        definition = gx.ValidationDefinition(name=check.suite, data=batch, suite=suite)
        outcome = context.validation_definitions.add(definition).run(
            batch_parameters={"dataframe": check.frame}, result_format=_result_format(check)
        )
        results += [_result(check, item) for item in outcome.results]
    return Report(tuple(sorted(results)), context)


def _library() -> Any:  # noqa: ANN401 - untyped
    """Import great_expectations (two seconds, so only when something is validated)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it imports sre_parse and sre_constants
        import great_expectations as gx  # noqa: PLC0415
        import great_expectations.expectations  # noqa: PLC0415
    return gx


def _context(gx: Any) -> Any:  # noqa: ANN401 - see _library
    """Return a context that leaves no file behind and draws no bars."""
    context = gx.get_context(mode="ephemeral")
    from great_expectations.data_context.types.base import ProgressBarsConfig  # noqa: PLC0415

    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    return context


def _suite(gx: Any, check: Check) -> Any:  # noqa: ANN401 - see _library
    """Return the check's rules as a suite; `meta` carries each rule's id."""
    made = [
        getattr(gx.expectations, rule.kind)(
            **rule.kwargs, severity=rule.severity, description=rule.says, meta={"rule": rule.id}
        )
        for rule in check.rules
    ]
    return gx.ExpectationSuite(name=check.suite, expectations=made)


def _result_format(check: Check) -> dict[str, Any]:
    """Name offending rows by the check's key; the first ten."""
    return {
        "result_format": "SUMMARY",
        "unexpected_index_column_names": [check.key],
        "partial_unexpected_count": 10,
    }


def _result(check: Check, item: Any) -> Result:  # noqa: ANN401 - an ExpectationValidationResult
    rule = next(rule for rule in check.rules if rule.id == item.expectation_config.meta["rule"])
    found = item.result or {}
    broken = _exception(item.exception_info) if item.exception_info else ""
    unexpected = int(found.get("unexpected_count") or 0)
    return Result(
        suite=check.suite,
        rule=rule.id,
        severity="critical" if broken else rule.severity,
        success=bool(item.success),
        says=rule.says,
        kind=rule.kind,
        rows=len(check.frame),
        unexpected=unexpected,
        first=_first(check, rule, found),
        detail="" if item.success or unexpected else broken or _observed(found),
    )


def _exception(info: Mapping[str, Any]) -> str:
    """Return what an expectation stumbled over, in either of the two shapes that there are."""
    entries = [info] if "raised_exception" in info else list(info.values())
    return "; ".join(
        sorted({str(entry["exception_message"]) for entry in entries if entry.get("raised_exception")})
    )


def _first(check: Check, rule: Rule, found: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the first ten offending rows with what they hold."""
    names = []
    for row in found.get("partial_unexpected_index_list") or []:
        held = {key: value for key, value in row.items() if key != check.key and key in rule.kwargs.values()}
        values = ", ".join(f"{value}" for value in held.values() if value != "no")
        names.append(f"{row[check.key]}" + (f" ({values})" if values else ""))
    return tuple(names)


def _observed(found: Mapping[str, Any]) -> str:
    if absent := found.get("partial_missing_list"):
        return f"missing {', '.join(map(str, absent))}"
    value = found.get("observed_value")
    if isinstance(value, float):
        return f"found {value:.4g}"
    if isinstance(value, list | set | tuple):
        return f"found {sorted(map(str, value))}"
    return f"found {value}"
