"""The gate: fixed limits that a bundle must keep, each with its figure. It ranks no candidates."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from dermaflow.bundle.params import GateParams

AT_LEAST: Final = ("balanced_accuracy", "melanoma_auc", "macro_auc")
"""Figures with a lower limit; the others, `ece` and `stress.<name>`, have an upper one."""

ALWAYS: Final = (*AT_LEAST, "ece")
"""Figures that every verdict has; which stress tests there are is the releases' affair."""


def joined(reports: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Join the releases' stress reports to one share of flipped decisions a kind of stress.

    Args:
        reports: stress/{release}.json, each with `perturbations.<name>.images` and `decision_flipped`.

    Returns:
        Shares over all images; None for a kind that met no image.
    """
    shares: dict[str, float | None] = {}
    for name in sorted({name for report in reports for name in report["perturbations"]}):
        parts = [report["perturbations"][name] for report in reports if name in report["perturbations"]]
        images = sum(part["images"] for part in parts)
        # Shares are written with six digits; what they stand for are whole numbers of decisions.
        flipped = sum(round(part["images"] * part["decision_flipped"]) for part in parts if part["images"])
        shares[name] = flipped / images if images else None
    return shares


def gate(
    bundle: str, metrics: Mapping[str, Any], stress: Mapping[str, float | None], params: GateParams
) -> dict[str, Any]:
    """Hold the ensemble's figures against the limits.

    Args:
        bundle: digest of the bundle that is judged.
        metrics: ensemble/metrics.json.
        stress: what `joined` returned.
        params: the limits.

    Returns:
        `bundle`, `passed`, and one entry a limit: figure, limit, passed. A figure that is not defined
        (melanoma AUC without a melanoma in the hold-out, say) fails. Balanced accuracy and macro AUC are
        over the classes that have a case; `absent_classes` of the metrics names the others.
    """
    figures = {name: _value(metrics["hold_out"].get(name)) for name in ALWAYS}
    figures |= {
        f"stress.{name}": flipped
        for name, flipped in stress.items()
        if name != "masked_lesion"  # there the decision should change
    }
    checks = {
        name: _check(figure, limit(name, params), at_least=name in AT_LEAST)
        for name, figure in figures.items()
    }
    passed = all(check["passed"] for check in checks.values())
    return {"bundle": bundle, "passed": passed, "checks": checks}


def limit(check: str, params: GateParams) -> float:
    """Return the limit of one check by its name in gate.json."""
    if check in AT_LEAST:
        return float(getattr(params, f"min_{check}"))
    return params.max_calibration_error if check == "ece" else params.max_flipped


def failures(result: Mapping[str, Any]) -> list[str]:
    """Say each failed limit in words."""
    return [
        f"{name} {'not defined' if check['figure'] is None else format(check['figure'], '.3f')}, "
        f"{check['kind']} {check['limit']:g} asked"
        for name, check in sorted(result["checks"].items())
        if not check["passed"]
    ]


def _value(figure: Any) -> float | None:  # noqa: ANN401 - a number or {"value": ...}
    if isinstance(figure, Mapping):
        figure = figure.get("value")
    return None if figure is None else float(figure)


def _check(figure: float | None, limit: float, *, at_least: bool) -> dict[str, Any]:
    passed = figure is not None and (figure >= limit if at_least else figure <= limit)
    return {
        "figure": figure,
        "limit": limit,
        "kind": "at least" if at_least else "at most",
        "passed": passed,
    }
