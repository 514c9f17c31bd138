"""Processes that take turns, so that each is timed alone and none sees the settings of another."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Self


class Turns:
    """One process that works when asked and else sleeps; see `take`."""

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.said()  # it is ready

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()

    def rate(self) -> float:
        """Return images/s of one epoch."""
        print("go", file=self.process.stdin, flush=True)
        return float(self.said())

    def said(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a variant ended before its turn; see its message above")
        return line


def take(epoch: Callable[[], int]) -> None:
    """Be such a process: for each line of the standard input an epoch, which returns its images."""
    epoch()  # starts the loading processes, warms the caches
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        images = epoch()
        print(images / (time.perf_counter() - start), flush=True)
