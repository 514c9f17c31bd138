"""How long an answer takes on this machine: what a promotion notes beside the figures."""

import time
from dataclasses import replace

import cv2
import numpy as np

from dermaflow.bundle.format import Bundle
from dermaflow.bundle.run import Runner
from dermaflow.impute.apply import Patient, vectors


def latencies_ms(bundle: Bundle) -> dict[str, float]:
    """Measure an answer of each model alone, all its folds, and of the `ensemble`: `latency_ms` by name."""
    whole = round(latency_ms(bundle), 1)
    models = dict.fromkeys(member.model for member in bundle.members)
    if len(models) == 1:
        return {**dict.fromkeys(models, whole), "ensemble": whole}
    parts = {
        name: replace(
            bundle,
            members=tuple(member for member in bundle.members if member.model == name),
            ood_sha256=None,  # it is of all members
        )
        for name in models
    }
    return {**{name: round(latency_ms(part), 1) for name, part in parts.items()}, "ensemble": whole}


def latency_ms(bundle: Bundle, repeats: int = 15) -> float:
    """Median time from the bytes of one 600 x 450 JPEG to the logits of all members, milliseconds."""
    runner = Runner(bundle, threads=2)
    noise = np.random.default_rng(0).integers(0, 256, (45, 60, 3), dtype=np.uint8)
    file = cv2.imencode(".jpg", cv2.resize(noise, (600, 450)))[1].tobytes()
    patient = vectors([bundle.imputer.fill(Patient())])
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        runner(runner.pixels([file]), patient)
        times.append(time.perf_counter() - start)
    return float(np.median(times) * 1000)
