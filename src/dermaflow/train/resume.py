"""The state of the last finished epoch, so that a killed training goes on where it was, bit for bit.

It lies outside the stage's outs, in a folder that the caller keys by everything that matters
(`key`), and is removed by the caller once the stage's outs are complete. No state of random numbers is in it:
each epoch seeds its own.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from dermaflow.errors import TrainingError

FILE: Final = "last.pt"


def key(parts: Mapping[str, Any]) -> str:
    """Digest of all that a training depends on: params, data and code by digest, fold, threads."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def save(folder: Path, state: Mapping[str, Any]) -> None:
    """Replace the state in one step: whoever is killed meanwhile leaves the old one whole."""
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / f"{FILE}.{os.getpid()}.tmp"
    torch.save(dict(state), scratch)
    scratch.replace(folder / FILE)


def load(folder: Path) -> dict[str, Any] | None:
    """Read the state; None if there is none.

    Raises:
        TrainingError: the file can't be read.
    """
    file = folder / FILE
    if not file.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - torch raises what the zip, the pickle or the disk does
        raise TrainingError(
            f"damaged: {error}", str(file), "Remove it; the training then starts over."
        ) from None
    return state
