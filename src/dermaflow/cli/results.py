"""`dermaflow evaluate`: the table of results that `make repro` ends with."""

from collections.abc import Mapping
from typing import Any

from dermaflow import outputs, params
from dermaflow.errors import BundleError, first_ten
from dermaflow.evaluate import openings
from dermaflow.evaluate.intervals import FEW


def evaluate() -> None:
    """Print the hold-out's figures per model and for the ensemble, with 95 % intervals.

    Writes nothing; `dvc repro` makes what it prints. What is not made yet, or of other params, is an
    error.
    """
    models = params.names("models")
    metrics = {
        name: outputs.read_json(outputs.path(f"evaluation/{name}/metrics.json"))["hold_out"]
        for name in models
    }
    metrics["ensemble"] = outputs.read_json(outputs.path("ensemble/metrics.json"))["hold_out"]
    bundle = outputs.read_json(outputs.path("bundle/bundle.json"))
    shipped = {member["model"] for member in bundle["members"]}
    if shipped != set(models):
        raise BundleError(
            f"its networks are of {first_ten(sorted(shipped))}, params.yaml names {first_ten(models)}",
            "outputs/bundle",
            "Run `dvc repro`.",
        )
    if bundle["metrics"] != metrics["ensemble"]:
        raise BundleError(
            "its figures are others than those in ensemble/metrics.json", "outputs/bundle", "Run `dvc repro`."
        )
    sizes = _sizes(bundle)
    latency = _latencies_ms(bundle["digest"])
    heads = ("", "balanced accuracy", "melanoma AUC", "macro AUC", "MB", "latency ms")
    rows = [
        (
            name,
            *(_figure(figures[key]) for key in ("balanced_accuracy", "melanoma_auc", "macro_auc")),
            f"{sizes[name]:.1f}",
            f"{latency[name]:.0f}" if name in latency else "",
        )
        for name, figures in metrics.items()
    ]
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    print(f"Hold-out, {metrics['ensemble']['cases']} cases, 95 % intervals ({FEW}).")
    print(f"Not a medical device. {bundle['notice']}")
    for row in [heads, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    scored = openings.count(outputs.reports_dir(""), bundle["inputs"]["holdout"])
    if scored:
        print(
            f"This hold-out was scored {scored} times in this folder (each model and ensemble that differs)."
        )
    else:
        print("These figures were made in another folder: this hold-out was never scored here.")


def _sizes(bundle: Mapping[str, Any]) -> dict[str, float]:
    """MB of the exported networks, per model and together."""
    sizes: dict[str, float] = {}
    for member in bundle["members"]:
        size = (outputs.path("bundle") / member["file"]).stat().st_size / 1e6
        sizes[member["model"]] = sizes.get(member["model"], 0) + size
    return {**sizes, "ensemble": sum(sizes.values())}


def _latencies_ms(digest: str) -> dict[str, float]:
    """Return what promotion measured of this bundle; nothing where it has not decided on this one."""
    file = outputs.path("decision.json")
    decision = outputs.read_json(file) if file.exists() else {}
    found: dict[str, float] = decision.get("latencies_ms", {}) if decision.get("digest") == digest else {}
    return found


def _figure(figure: Mapping[str, float | None]) -> str:
    if figure["value"] is None:
        return "not defined"
    if figure["low"] is None or figure["high"] is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} ({figure['low']:.3f}-{figure['high']:.3f})"
