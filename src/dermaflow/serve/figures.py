"""What the service counts, for /metrics: answers, refusals, and whether images and patients drift.

The label `forced` tells requests with force=true apart: someone who was declined may ask for the same image
again, and such an image is counted once by those that are not forced.
"""

from functools import partial

import prometheus_client
from prometheus_client import CollectorRegistry, generate_latest, values

from dermaflow.serve.champion import Loaded
from dermaflow.serve.inference import Answer
from dermaflow.serve.openapi import REFUSALS as STATUSES
from dermaflow.serve.turnstile import GONE

# One worker's figures can be kept in memory. In files, as BentoML has it, a full disk ends the worker.
values.ValueClass = values.MutexValue

REGISTRY = CollectorRegistry()
Counter = partial(prometheus_client.Counter, registry=REGISTRY)
Gauge = partial(prometheus_client.Gauge, registry=REGISTRY)
Histogram = partial(prometheus_client.Histogram, registry=REGISTRY)

ANSWERS = Counter("dermaflow_answers", "Answers given, by most probable diagnosis.", ["diagnosis", "forced"])
ABSTENTIONS = Counter("dermaflow_abstentions", "Images taken for other things, answered or not.", ["forced"])
REFUSALS = Counter(
    "dermaflow_refusals", "Requests to /predict or /explain without an answer, by status.", ["status"]
)
SECONDS = Histogram(
    "dermaflow_predict_seconds",
    "From the request to the answer, the wait for a turn included.",
    buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
EXPLAIN_SECONDS = Histogram(
    "dermaflow_explain_seconds",
    "From the request to where the evidence lies, the wait for a turn included.",
    buckets=(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
OOD_SCORES = Histogram(
    "dermaflow_ood_score",
    "How unlike the training images an image is; above 1 it is taken for something else.",
    ["forced"],
    buckets=(0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.2, 1.5, 2, 4),
)
MALIGNANT = Histogram(
    "dermaflow_malignant_probability",
    "Malignant probability of the answers given.",
    ["forced"],
    buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1),
)
IMPUTED = Counter("dermaflow_imputed", "Patient fields that were missing, by field.", ["field", "forced"])
MODEL = Gauge("dermaflow_model_info", "1 for the bundle that answers.", ["name", "version", "digest"])


def count_answer(answer: Answer, seconds: float) -> None:
    """Count one answer, withheld or not.

    Args:
        answer: what was told.
        seconds: from the request to it.
    """
    forced = "true" if answer.forced else "false"
    SECONDS.observe(seconds)
    for field in answer.imputed:
        IMPUTED.labels(field, forced).inc()
    if answer.ood_score is not None:
        OOD_SCORES.labels(forced).observe(answer.ood_score)
    if answer.abstained:
        ABSTENTIONS.labels(forced).inc()
    if not answer.withheld:
        ANSWERS.labels(answer.top3[0][0], forced).inc()
        MALIGNANT.labels(forced).observe(answer.malignant_probability)


def count_explanation(seconds: float) -> None:
    """Count one answer to where the evidence lies; its image is counted with the diagnosis.

    Args:
        seconds: from the request to it.
    """
    EXPLAIN_SECONDS.observe(seconds)


def count_refusal(status: int) -> None:
    """Count a request to /predict or /explain that got no answer."""
    REFUSALS.labels(status).inc()


def begin(loaded: Loaded) -> None:
    """Say which bundle answers, and show a naught for each thing that may be counted.

    A row that is not there is no naught to Prometheus: a share of it has no value, and a rate misses its
    first event.
    """
    MODEL.labels(loaded.model["name"], loaded.model["version"], loaded.model["digest"]).set(1)
    for forced in ("false", "true"):
        for figure in (ABSTENTIONS, OOD_SCORES, MALIGNANT):
            figure.labels(forced)
        for code in loaded.bundle.view.classes:
            ANSWERS.labels(code, forced)
        for field in ("age", "sex", "site"):
            IMPUTED.labels(field, forced)
    for status in (*STATUSES, GONE):
        REFUSALS.labels(status)


def exposed() -> bytes:
    """Return all figures in Prometheus' text format."""
    return generate_latest(REGISTRY)
