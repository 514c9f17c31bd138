"""`make serve` in a terminal of its own: it ends with Ctrl-C, and with the terminal."""

import os
import pty
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

import psutil
import pytest

from helpers_service import environment, free_port
from tests_paths import ROOT

pytestmark = pytest.mark.slow


def closed(terminal):
    terminal.close()


def interrupted(terminal):
    terminal.write(b"\x03")


def answers(port):
    with socket.socket() as asking:
        asking.settimeout(5)
        # Where nobody listens yet, a connection may by chance be from that very port, and reach itself.
        return asking.connect_ex(("127.0.0.1", port)) == 0 and asking.getsockname() != asking.getpeername()


def waits_until(wanted, port, terminal, seconds=60):
    end = time.monotonic() + seconds
    while answers(port) != wanted:
        if time.monotonic() > end:
            said = b"" if terminal.closed else terminal.read(100_000)
            pytest.fail(f"answers: {not wanted}; the terminal: {said.decode(errors='replace')}")
        time.sleep(0.2)


def end_leftovers(port):
    """Where the test fails, the service would run on."""
    for process in psutil.process_iter(["cmdline"]):
        if (process.info["cmdline"] or [])[-3:] == ["serve", "--port", str(port)]:
            process.terminate()


@pytest.mark.parametrize("end", [closed, interrupted])
def test_the_service_ends_with_its_terminal(champion, tmp_path, end):
    for name in ("champion.json", "bentofile.yaml"):
        shutil.copy(champion.root / name, tmp_path)
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/.installed").touch()
    port = free_port()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = environment(champion.root, PATH=path)
    child, opened = pty.fork()
    if not child:
        for ignored in (signal.SIGINT, signal.SIGHUP):  # by a job and by nohup, by no shell of a terminal
            signal.signal(ignored, signal.SIG_DFL)
        os.execvpe("bash", ["bash", "--norc", "-i"], env)
    try:
        with os.fdopen(opened, "r+b", buffering=0) as terminal:
            terminal.write(f"make -C {tmp_path} -f {ROOT / 'Makefile'} serve PORT={port}\n".encode())
            waits_until(True, port, terminal)
            end(terminal)
            waits_until(False, port, terminal)
    finally:
        end_leftovers(port)
    os.waitpid(child, 0)
