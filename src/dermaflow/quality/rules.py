"""The words that suites are written in: a rule is one expectation, a check is one table with its rules.

Plain data, so that suites can be read, listed and mutated without Great Expectations.
"""

from dataclasses import dataclass, field
from typing import Any, Final, Literal

import pandas as pd

Severity = Literal["critical", "warning"]
CRITICAL: Final = "critical"
WARNING: Final = "warning"


@dataclass(frozen=True)
class Rule:
    """One expectation.

    Attributes:
        id: unique within its suite.
        says: the rule in a sentence, for people.
        kind: the class in great_expectations.expectations.
        severity: critical stops the pipeline, warning is reported.
        kwargs: the arguments of that class, `column` among them.
    """

    id: str
    says: str
    kind: str
    severity: Severity
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """A table and what is expected of it; `key` is the column that names a row in messages."""

    suite: str
    frame: pd.DataFrame
    rules: tuple[Rule, ...]
    key: str = "image_id"


def given(column: str, severity: Severity = CRITICAL) -> Rule:
    """Every row has a value."""
    return Rule(
        f"{column} given",
        f"Every row has a value in {column}.",
        "ExpectColumnValuesToNotBeNull",
        severity,
        {"column": column},
    )


def unique(column: str) -> Rule:
    """No value stands twice."""
    return Rule(
        f"{column} unique",
        f"No {column} stands twice.",
        "ExpectColumnValuesToBeUnique",
        CRITICAL,
        {"column": column},
    )


def words(column: str, allowed: list[Any], severity: Severity = CRITICAL) -> Rule:
    """Only these values, or missing."""
    return Rule(
        f"{column} words",
        f"{column} is one of {len(allowed)} known values, or missing.",
        "ExpectColumnValuesToBeInSet",
        severity,
        {"column": column, "value_set": allowed},
    )


def pattern(column: str, regex: str, severity: Severity, name: str = "pattern") -> Rule:
    """Each value has this form."""
    return Rule(
        f"{column} {name}",
        f"Each {column} has the form {regex}.",
        "ExpectColumnValuesToMatchRegex",
        severity,
        {"column": column, "regex": regex},
    )


def between(column: str, low: float | None, high: float | None, severity: Severity = CRITICAL) -> Rule:
    """Each value lies within limits."""
    limits: dict[str, Any] = {"min_value": low, "max_value": high}
    bounds = {name: value for name, value in limits.items() if value is not None}
    words = [f"at least {low}"] if low is not None else []
    words += [f"at most {high}"] if high is not None else []
    return Rule(
        f"{column} range",
        f"{column} is {' and '.join(words)}.",
        "ExpectColumnValuesToBeBetween",
        severity,
        {"column": column, **bounds},
    )


def known(column: str, least: float, severity: Severity = WARNING) -> Rule:
    """A share of the rows has a value (an empty column passes every other rule)."""
    return Rule(
        f"{column} known",
        f"At least {least:.0%} of the rows have a value in {column}.",
        "ExpectColumnProportionOfNonNullValuesToBeBetween",
        severity,
        {"column": column, "min_value": least},
    )


def holds(column: str, says: str, severity: Severity = CRITICAL) -> Rule:
    """A statement, worked out as a column of true and false, is true wherever it applies."""
    return Rule(
        column, says, "ExpectColumnValuesToBeInSet", severity, {"column": column, "value_set": ["yes"]}
    )


def contains(column: str, values: list[Any], severity: Severity = WARNING) -> Rule:
    """Each of these values occurs."""
    return Rule(
        f"{column} complete",
        f"Each of the {len(values)} values of {column} occurs.",
        "ExpectColumnDistinctValuesToContainSet",
        severity,
        {"column": column, "value_set": values},
    )


def not_empty(severity: Severity = CRITICAL) -> Rule:
    """The table has a row."""
    return Rule("rows", "The table has a row.", "ExpectTableRowCountToBeBetween", severity, {"min_value": 1})


def columns(names: list[str]) -> Rule:
    """The table has exactly these columns."""
    return Rule(
        "columns",
        "The table has the declared columns and no other.",
        "ExpectTableColumnsToMatchSet",
        CRITICAL,
        {"column_set": names, "exact_match": True},
    )


def said(statement: "pd.Series[bool]", where: "pd.Series[bool] | None" = None) -> "pd.Series[str]":
    """Turn true and false into yes and no, missing where the statement does not apply."""
    text = statement.map({True: "yes", False: "no"}).astype("str")
    return text if where is None else text.where(where)
