"""Our own report of what was expected and found: stable, sorted, small; a DVC output.

Great Expectations' JSON holds random ids and times, so it is not kept.
"""

from dataclasses import dataclass, field
from typing import Any

from dermaflow.errors import DataError
from dermaflow.quality.rules import CRITICAL, WARNING


@dataclass(frozen=True, order=True)
class Result:
    """What came of one rule.

    Attributes:
        suite, rule, says, severity, kind: see rules.Rule.
        success: it holds.
        rows: how many were looked at.
        unexpected: how many of them break it.
        first: the first ten that do, by name.
        detail: what was found, where no single row is at fault, or the exception.
    """

    suite: str
    rule: str
    severity: str
    success: bool
    says: str = ""
    kind: str = ""
    rows: int = 0
    unexpected: int = 0
    first: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True)
class Report:
    """All results, sorted by suite and rule.

    `context` is Great Expectations' record of the run, for Data Docs, not in the JSON.
    """

    results: tuple[Result, ...]
    context: Any = field(default=None, repr=False, compare=False)

    @property
    def failed_critical(self) -> tuple[Result, ...]:
        """The results that stop the pipeline."""
        return tuple(item for item in self.results if not item.success and item.severity == CRITICAL)

    @property
    def failed_warning(self) -> tuple[Result, ...]:
        """The results that are reported, no more."""
        return tuple(item for item in self.results if not item.success and item.severity == WARNING)

    @property
    def counts(self) -> dict[str, int]:
        """How many rules were checked and failed."""
        return {
            "checked": len(self.results),
            "critical_failures": len(self.failed_critical),
            "warnings": len(self.failed_warning),
        }

    def to_json(self) -> dict[str, Any]:
        """Return a plain dictionary: the counts, and every result."""
        rows = [{**vars(item), "first": list(item.first)} for item in self.results]
        return {**self.counts, "results": rows}


def raise_if_critical(
    report: Report,
    remedy: str = "Mend these rows in the published files; reports/quality shows all results.",
) -> None:
    """Stop if a critical rule is broken.

    Args:
        report: what was found.
        remedy: what to do; by default as for published tables.

    Raises:
        DataError: names each broken rule with its first offending rows.
    """
    failed = report.failed_critical
    if not failed:
        return
    lines = [_line(item) for item in failed]
    raise DataError(
        f"{len(failed)} critical expectation{'s' if len(failed) > 1 else ''} failed: "
        + " / ".join(lines[:10]),
        ", ".join(sorted({item.suite for item in failed})),
        remedy,
    )


def tell_warnings(report: Report) -> None:
    """Print a line a failed warning: its table, what should hold, how many rows break it, the first of them.

    Args:
        report: what was found.
    """
    for item in report.failed_warning:
        print(f"warning: {item.suite}: {_line(item)}")


def _line(item: Result) -> str:
    return f"{item.says} {describe(item)}"


def describe(item: Result) -> str:
    """Say in a few words how a rule is broken."""
    if item.unexpected:
        names = ", ".join(item.first) + (", ..." if item.unexpected > len(item.first) else "")
        return f"({item.unexpected} of {item.rows} rows: {names})"
    return f"({item.detail})"
