"""What a report says of referrals and prediction sets, on whichever cases they were counted."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from dermaflow.evaluate import report

REFERRED: Final = {
    "sensitivity": "Malignant cases referred (sensitivity)",
    "specificity": "Benign cases not referred (specificity)",
    "referred": "All cases referred",
}


def referred(columns: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table of operating points (`figures.operating_point`), one column a set of cases."""
    rows = [
        (text, *(report.interval(point[key]) for point in columns.values())) for key, text in REFERRED.items()
    ]
    return report.table(("", *columns), rows)


def refer_rule(point: Mapping[str, Any]) -> str:
    """Say in a sentence when a case is referred."""
    threshold, classes = point["malignant_threshold"], " + ".join(point["malignant_classes"])
    return f"A case is referred from a malignant probability of {threshold:.4f} up ({classes})."


def sets(found: Mapping[str, Any], thresholds: Sequence[float], cases: str) -> str:
    """Return a table of the sets' coverage by class (`conformal.coverage`).

    Args:
        found: the coverage.
        thresholds: the bundle's, one a class.
        cases: heads the column of how many were counted.
    """
    rows = [
        (code, row["cases"], report.number(row["covered"]), f"{threshold:.4f}")
        for (code, row), threshold in zip(found["per_class"].items(), thresholds, strict=True)
    ]
    return report.table(("diagnosis", cases, "covered", "in the set from probability"), rows)


def held(found: Mapping[str, Any]) -> str:
    """Say in a sentence what the sets hold."""
    size = "not defined" if found["mean_size"] is None else f"{found['mean_size']:.2f}"
    return (
        f"they hold it in {report.number(found['covered'])} of all cases, with {size} diagnoses on average; "
        f"{report.number(found['single'])} of the sets name one diagnosis, {report.number(found['empty'])} "
        "none."
    )
