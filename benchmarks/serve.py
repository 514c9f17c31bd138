"""The service over HTTP beside the usual way and beside its bare networks, in one run on the same images.

    python benchmarks/serve.py [--bundle outputs/bundle] [--images DIR] [--clients 16] [--requests 96]
        [--rounds 3] [--json FILE]

Ours is the real `bentoml serve` of a bundle. The usual way is FastAPI, Pillow and torch eager with the same
members, views and weights (common_service.py, from outputs/models). The bare networks are `images.prepare`
and ONNX Runtime in this process, fed without HTTP by as many threads as the service has turns, or by one,
whichever is faster: what no server of theirs can exceed here. The three take turns, and who waits is idle.
Photographs are images of a folder, made 600 x 450 pixels and written as JPEG. The clients run on the same
cores as the servers. Figures are medians over the rounds, ratios are taken within a round.
"""

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import cv2
import numpy as np

from dermaflow.bundle import format as bundle_format
from dermaflow.bundle.format import Bundle
from dermaflow.bundle.run import Runner
from dermaflow.impute.apply import Patient, vectors
from dermaflow.serve.app import RUNNING

PHOTO, LARGE = (600, 450), (6000, 4000)
START_SECONDS = 120
COMMON = Path(__file__).with_name("common_service.py")


def photographs(folder: Path, count: int, size: tuple[int, int]) -> list[bytes]:
    """Return JPEG files of images of a folder, (width, height) pixels."""
    files = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in (".jpg", ".jpeg", ".png")]
    if not files:
        raise SystemExit(f"error: {folder}: no image there; name a folder of JPEG or PNG files by --images")
    chosen = files[:: max(1, len(files) // count)][:count]
    resized = [cv2.resize(cv2.imread(str(file)), size, interpolation=cv2.INTER_CUBIC) for file in chosen]
    return [bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 92])[1]) for pixels in resized]


@contextmanager
def server(command: Sequence[str], port: int, **settings: str) -> Iterator[str]:
    """Run a server until the block ends; gives the address of its /predict."""
    process = subprocess.Popen(
        command,
        env={**os.environ, "PORT": str(port), **settings},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    try:
        wait_until_up(process, f"http://127.0.0.1:{port}/openapi.json")
        yield f"http://127.0.0.1:{port}/predict"
    finally:
        process.terminate()
        process.wait()


def wait_until_up(process: subprocess.Popen[bytes], address: str) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SystemExit(f"error: {process.args}: ended before it served; run it by hand to see why")
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.1)
    raise SystemExit(f"error: {process.args}: not up after {START_SECONDS} s")


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


async def asked_for(address: str, files: Sequence[bytes], clients: int, requests: int) -> np.ndarray:
    """Send requests from clients that each wait for their answer; returns seconds an answer, (requests,)."""
    left, seconds = iter(range(requests)), []

    async def client(session: aiohttp.ClientSession) -> None:
        for number in left:
            form = aiohttp.FormData()
            form.add_field("image", files[number % len(files)], filename="a.jpg", content_type="image/jpeg")
            start = time.perf_counter()
            async with session.post(address, data=form) as answer:
                if answer.status != 200:
                    raise SystemExit(f"error: {address} answered {answer.status}: {await answer.text()}")
                await answer.read()
            seconds.append(time.perf_counter() - start)

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(client(session) for _ in range(clients)))
    return np.array(seconds)


def ask(address: str, files: Sequence[bytes], clients: int, requests: int) -> tuple[float, np.ndarray]:
    """Return answers a second, and the seconds of each."""
    start = time.perf_counter()
    seconds = asyncio.run(asked_for(address, files, clients, requests))
    return requests / (time.perf_counter() - start), seconds


def bare_rate(runner: Runner, files: Sequence[bytes], requests: int, threads: int) -> float:
    """Return answers a second of the networks without a server, with decoding and all that prepares."""
    patient = vectors([runner.bundle.imputer.fill(Patient())])

    def one(number: int) -> None:
        runner(runner.pixels([files[number % len(files)]]), patient)

    with ThreadPoolExecutor(threads) as pool:
        start = time.perf_counter()
        list(pool.map(one, range(requests)))
        return requests / (time.perf_counter() - start)


def measure(asked: argparse.Namespace, bundle: Bundle) -> dict[str, float]:
    files = photographs(asked.images, 64, PHOTO)
    large = photographs(asked.images, 2, LARGE)
    members = [str(asked.models / member.model / str(member.fold)) for member in bundle.members]
    common = [sys.executable, str(COMMON), "--views", str(bundle.views), "--members", *members]
    ports = free_port(), free_port()
    bentoml = [str(Path(sys.executable).parent / "bentoml"), "serve"]
    ours = server(bentoml, ports[0], DERMAFLOW_BUNDLE=str(asked.bundle.resolve()))
    usual = server([*common, "--port", str(ports[1])], ports[1])
    rounds: list[dict[str, float]] = []
    alone: list[np.ndarray] = []
    with ours as our_address, usual as common_address:
        runner = Runner(bundle)
        for address in (our_address, common_address):
            ask(address, files, 1, 8)  # warm
        bare_rate(runner, files, 8, 1)
        for _ in range(asked.rounds):
            alone.append(ask(our_address, files, 1, asked.requests)[1])
            bare = max(bare_rate(runner, files, asked.requests, threads) for threads in (1, RUNNING))
            rate, _ = ask(our_address, files, asked.clients, asked.requests)
            few = max(asked.clients, asked.requests // 4)
            common_rate, _ = ask(common_address, files, asked.clients, few)
            common_alone = ask(common_address, files, 1, few // 2)[1]
            rounds.append(
                {
                    "answers_per_s": rate,
                    "bare_networks_per_s": bare,
                    "common_service_per_s": common_rate,
                    "common_service_p50_ms": 1000 * float(np.median(common_alone)),
                    "of_bare_networks": rate / bare,
                    "times_common_service": rate / common_rate,
                }
            )
        largest = max(ask(our_address, large, 1, 4)[1])
    figures = {name: float(np.median([one[name] for one in rounds])) for name in rounds[0]}
    for share in (50, 99):
        figures[f"p{share}_ms"] = 1000 * float(np.percentile(np.concatenate(alone), share))
    return figures | {"largest_image_ms": 1000 * float(largest)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, default=Path("outputs/bundle"))
    parser.add_argument("--models", type=Path, default=Path("outputs/models"))
    parser.add_argument("--images", type=Path, default=Path("data/isic2018/ISIC2018_Task3_Training_Input"))
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--requests", type=int, default=96, help="of a round; the usual way gets fewer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    bundle = bundle_format.read(asked.bundle)
    print(
        f"{len(bundle.members)} networks, {bundle.views} views, {bundle.multiply_adds:.2g} multiply-adds an "
        f"answer; {os.cpu_count()} cores",
        flush=True,
    )
    figures = measure(asked, bundle)
    for name, value in figures.items():
        print(f"{name:26}{value:10.3f}")
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
