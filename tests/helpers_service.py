"""Start the real `bentoml serve` on a free loopback port, and end it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests_paths import ROOT

BENTOML = str(Path(sys.executable).parent / "bentoml")


def environment(root: Path, **changes: str | None) -> dict[str, str]:
    """The tests' own environment with the scratch root's store, none of the user's settings; None unsets."""
    env = {**os.environ, "BENTOML_HOME": str(root / "bentoml"), "PYTHONPATH": str(ROOT / "src")}
    for name in ("DERMAFLOW_ROOT", "DERMAFLOW_BUNDLE", "PORT", "BENTOML_HOST", "PROMETHEUS_MULTIPROC_DIR"):
        env.pop(name, None)
    return {name: value for name, value in {**env, **changes}.items() if value is not None}


def scratch_root(folder: Path) -> Path:
    """A project root with nothing but what `bentoml serve` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bentoml").mkdir(exist_ok=True)
    shutil.copy(ROOT / "bentofile.yaml", folder)
    return folder


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return opened.getsockname()[1]


@contextmanager
def serving(root: Path, *arguments: str, log: Path, cwd: Path | None = None, **changes: str | None):
    """Run `bentoml serve ARGUMENTS` in a root and give its address; the port comes from PORT."""
    port = free_port()
    with log.open("wb") as opened:
        process = subprocess.Popen(
            [BENTOML, "serve", *arguments],
            cwd=cwd or root,
            env=environment(root, PORT=str(port), **changes),
            stdout=opened,
            stderr=subprocess.STDOUT,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(process, address, log)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process, address, log, seconds=90):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(f"{address}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"not ready after {seconds} s: {log.read_text()}")
