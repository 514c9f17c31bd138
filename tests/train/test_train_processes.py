"""Two processes train as one does, over loopback."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent

pytestmark = [pytest.mark.slow, pytest.mark.skipif(torch.cuda.is_available(), reason="of CPU and gloo")]


def started(folder, processes, script, *words):
    folder.mkdir()
    script = [str(HERE / script), str(folder), *words]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(HERE)]), "OMP_NUM_THREADS": "1"}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    torchrun = torchrun if processes > 1 else []
    done = subprocess.run(
        [sys.executable, *torchrun, *script],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(processes)]


@pytest.fixture(scope="module", params=["test_efficientnet", "test_convnext"])
def runs(request, tmp_path_factory):
    """What one process and what two saw and lost; the second backbone has weights that idle."""
    home = tmp_path_factory.mktemp("torchrun")
    script = "two_processes.py"
    one = started(home / "one", 1, script, request.param)[0]
    return one, started(home / "two", 2, script, request.param)


def test_two_processes_have_the_losses_of_one_with_the_same_global_batch(runs):
    one, two = runs
    both = [(a + b) / 2 for a, b in zip(two[0]["losses"], two[1]["losses"], strict=True)]
    assert len(both) == 8
    assert both == pytest.approx(one["losses"], abs=1e-3)
    assert max(one["losses"]) - min(one["losses"]) > 0.05  # the weights did move
    assert two[0]["losses"] != pytest.approx(two[1]["losses"], abs=1e-3)  # of different images
    assert two[0]["history"] == two[1]["history"]
    for name in ("train_loss", "valid_loss"):
        assert two[0]["history"][0][name] == pytest.approx(one["history"][0][name], abs=1e-3)


def test_each_image_is_seen_once_by_one_of_the_processes(runs):
    one, two = runs
    seen = Counter(two[0]["seen"] + two[1]["seen"])
    assert set(seen.values()) == {1}
    assert set(seen) == set(one["seen"])
    assert len(seen) == 128
    assert len(two[0]["seen"]) == len(two[1]["seen"]) == 64


def test_validation_is_shared_and_its_figures_are_of_all_its_images(runs):
    one, two = runs
    assert set(two[0]["validated"] + two[1]["validated"]) == set(one["validated"])
    assert max(len(part["validated"]) for part in two) == 7  # of 13


def test_both_processes_end_with_the_same_weights_and_one_tells_its_epochs(runs):
    _, two = runs
    assert two[0]["weights"] == two[1]["weights"]
    assert [part["told"] for part in two] == [1, 0]


def test_hosts_that_share_no_folder_resume_from_the_first_ones_state(tmp_path):
    first, second = started(tmp_path / "two", 2, "resumed_on_two.py")
    assert (first["kept"], second["kept"]) == (True, False)
    assert first["resumed"] == first["whole"] == second["whole"] == second["resumed"]
