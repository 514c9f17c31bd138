"""Where and how a training computes: device, precision, processes, threads; and the same bytes again.

Called by `train.loop`, by whoever predicts, and by stage train, which asks which process it is.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs

from dermaflow.errors import TrainingError
from dermaflow.train.params import Precision

TAKEN: Final = {"float32": "no", "bf16": "bf16", "fp16": "fp16"}
"""Our words for precisions to accelerate's."""


def accelerate(precision: Precision) -> Accelerator:
    """Take the GPU if there is one, and join the processes that torchrun started.

    Args:
        precision: train.precision.

    Raises:
        TrainingError: fp16 without a GPU, or several processes that would each train alone.
    """
    gpu = torch.cuda.is_available()
    several = DistributedDataParallelKwargs(static_graph=True)  # some backbones have weights that idle
    accelerator = Accelerator(
        cpu=not gpu,
        mixed_precision=TAKEN[chosen(precision)],
        kwargs_handlers=[several],
    )
    if accelerator.num_processes != processes():
        raise TrainingError(
            f"{processes()} processes were started, {accelerator.num_processes} know of each other",
            "accelerate",
            "Without a GPU set ACCELERATE_USE_CPU=true for torchrun.",
        )
    return accelerator


def chosen(precision: Precision) -> Precision:
    """Say what `auto` means here: on a GPU bf16 if it computes that itself, else fp16; float32 elsewhere.

    On a CPU bf16 is little faster than float32 once memory is channels_last, and never chosen by itself.

    Raises:
        TrainingError: fp16 without a GPU.
    """
    gpu = torch.cuda.is_available()
    if precision == "fp16" and not gpu:
        raise TrainingError(
            "fp16 needs a CUDA GPU, and there is none",
            "params.yaml, train.precision",
            "Set it to auto, float32 or bf16.",
        )
    if precision != "auto":
        return precision
    if not gpu:
        return "float32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def precision_name(accelerator: Accelerator) -> str:
    """Return what the steps compute in: float32, bf16 or fp16."""
    return "float32" if accelerator.mixed_precision == "no" else str(accelerator.mixed_precision)


def described(precision: Precision, threads: int) -> dict[str, str]:
    """Say for the log how a training of these params computes here; on another device bytes are others."""
    cpu = f"cpu {torch.backends.cpu.get_cpu_capability()}"  # cpu AVX512: the instructions that torch takes
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else cpu,
        "precision": chosen(precision),
        "memory_format": "channels_last",
        "threads": str(threads),
        "processes": str(processes()),
    }


def processes() -> int:
    """Return how many processes torchrun started for this training; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Say whether this process is the one that writes files and tells MLflow."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def reproducible(threads: int) -> Iterator[None]:
    """Make torch give the same bytes again, for this number of threads; afterwards all is as before."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    memory: Any = torch.utils.deterministic
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    filled = memory.fill_uninitialized_memory
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = False  # for finding bugs; costs a tenth of each step
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        memory.fill_uninitialized_memory = filled


def epoch_seed(*parts: int) -> int:
    """Mix train.seed, epoch and process into one seed, so that resuming needs no state of random numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
