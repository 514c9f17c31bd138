"""Where and how a training computes is chosen by what the machine has."""

import os
import platform
import subprocess
import sys

import pytest
import torch

from dermaflow.errors import TrainingError
from dermaflow.train import machine
from dermaflow.train.params import TrainParams
from tests_paths import ROOT


@pytest.fixture
def gpu(monkeypatch):
    def there(*, bf16=True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")

    return there


@pytest.fixture
def asked(monkeypatch):
    """What accelerate is asked for, without asking it."""
    told = {}

    class Recorded:
        def __init__(self, **arguments):
            told.update(arguments)
            self.num_processes = 1

    monkeypatch.setattr(machine, "Accelerator", Recorded)
    return told


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_training_is_in_float32_and_fp16_is_refused():
    assert machine.chosen("auto") == "float32"
    assert machine.chosen("bf16") == "bf16"
    with pytest.raises(
        TrainingError, match=r"params\.yaml, train\.precision: fp16 needs a CUDA GPU.* Set it to auto"
    ):
        machine.accelerate("fp16")


@pytest.mark.parametrize(("bf16", "wanted"), [(True, "bf16"), (False, "fp16")])
def test_auto_takes_bf16_on_a_gpu_that_computes_it_itself_and_else_fp16(bf16, wanted, gpu, asked):
    gpu(bf16=bf16)
    machine.accelerate("auto")
    assert (asked["mixed_precision"], asked["cpu"]) == (wanted, False)


@pytest.mark.parametrize(("precision", "wanted"), [("float32", "no"), ("bf16", "bf16"), ("fp16", "fp16")])
def test_what_is_asked_for_on_a_gpu_is_taken(precision, wanted, gpu, asked):
    gpu()
    machine.accelerate(precision)
    assert asked["mixed_precision"] == wanted


NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("precision", ["float32", "bf16", pytest.param("fp16", marks=NEEDS_GPU)])
def test_a_step_is_taken_in_each_precision_and_fp16_has_a_scale_of_the_loss(precision, tiny_model):
    from dermaflow.model.network import build
    from dermaflow.train.loop import Fitting

    model, accelerator = tiny_model(), machine.accelerate(precision)
    fitting = Fitting.start(build(model, 3), accelerator, model, 1, [1, 1, 1], [[0, 0, 0]])
    target, centre = torch.tensor([0, 1, 2, 0]), torch.zeros(4, dtype=torch.int64)
    batch = (torch.zeros((4, 32, 32, 3), dtype=torch.uint8), torch.zeros((4, 11)), target, centre)
    before = [parameter.detach().clone() for parameter in fitting.plain.parameters()]
    assert fitting.one_step(batch) > 0
    if precision != "fp16":  # whose first scale may be too large, and then only the scale changes
        assert any(not torch.equal(*pair) for pair in zip(before, fitting.plain.parameters(), strict=True))
    assert (fitting.state()["scaler"].get("scale", 0) > 1) == (precision == "fp16")


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="'auto', 'float32', 'bf16' or 'fp16'"):
        TrainParams(precision="int8")


def test_processes_that_do_not_know_each_other_are_refused(monkeypatch, asked):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrainingError, match="2 processes were started, 1 know of each other"):
        machine.accelerate("float32")


def test_the_log_says_how_a_training_computes(gpu, monkeypatch):
    gpu(bf16=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert machine.described("auto", 3) == {
        "device": "a GPU",
        "precision": "fp16",
        "memory_format": "channels_last",
        "threads": "3",
        "processes": "2",
    }


def test_a_processor_of_other_instructions_is_another_device(monkeypatch):
    monkeypatch.setattr(machine.torch.cuda, "is_available", lambda: False)
    seen = []
    for capability in ("AVX2", "AVX512"):
        monkeypatch.setattr(machine.torch.backends.cpu, "get_cpu_capability", lambda of=capability: of)
        seen.append(machine.described("auto", 2)["device"])
    assert seen == ["cpu AVX2", "cpu AVX512"]


def test_the_first_process_is_the_one_that_writes(monkeypatch):
    assert machine.is_first()
    monkeypatch.setenv("RANK", "1")
    assert not machine.is_first()


STEP = """
import resource, {first}
def freed_and_taken():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        bytearray(80_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
freed_and_taken()
print(freed_and_taken())
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc of glibc only")
def test_freed_memory_is_taken_again_without_asking_the_system():
    """Each page that comes anew from the system is a fault: 80 MB four times are 80,000."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    faults = {}
    for first in ("sys", "dermaflow.train"):
        done = subprocess.run(
            [sys.executable, "-c", STEP.format(first=first)],
            cwd=ROOT, env=env, capture_output=True, text=True, check=True,
        )  # fmt: skip
        faults[first] = int(done.stdout)
    assert faults["dermaflow.train"] < 0.1 * faults["sys"]


@pytest.mark.slow
def test_in_the_stage_torchs_threads_wait_only_a_little():
    """They read the variable once, when torch is loaded, so it must be set before."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    script = "import runpy; runpy.run_path('stages/train.py', run_name='imported')"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT, env={**env, "OMP_DISPLAY_ENV": "verbose"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = [line for line in done.stderr.splitlines() if "GOMP_SPINCOUNT" in line]
    assert told
    assert all("'10000'" in line for line in told), told
