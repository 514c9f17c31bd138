"""crop_resize beside the usual Pillow script and beside the decoder alone, in one run on the same files.

    python benchmarks/crop_resize.py --isic ../shared/isic [--repeat 2] [--size 224] [--json FILE]
        [--bundle outputs/bundle]

Rates are medians over rounds in which all variants take turns. `--memory 1000 10000` compares the peak
memory (all processes) of two numbers of small images; `--memory 0 0` leaves it out.
"""

import argparse
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import psutil
from PIL import Image

from dermaflow.bundle.apply import decision_scores
from dermaflow.bundle.format import read as read_bundle
from dermaflow.bundle.run import Runner
from dermaflow.evaluate.answers import malignant_classes
from dermaflow.images import crop, parallel, store
from dermaflow.images.decode import checked_header, decode, reduction_for
from dermaflow.images.prepare import Recipe, encode_stored, prepare
from dermaflow.impute.apply import FEATURES
from dermaflow.sources import Entry, Source, open_source, read_file

LARGE = ("2020", {"train": ["train"]})
EQUAL_DB = 100
SMALL = ("2018", {"train": ["ISIC2018_Task3_Training_Input"]})


def pillow(root: Path, size: int, file: str, *, draft: bool) -> int:
    """Do what the usual script does; `draft` lets Pillow decode at a fraction."""
    image = Image.open(io.BytesIO(read_file(root, file)))
    if draft:
        image.draft("RGB", (size, size))
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    square = (
        image.convert("RGB").crop((left, top, left + side, top + side)).resize((size, size), Image.LANCZOS)
    )
    out = io.BytesIO()
    square.save(out, "JPEG", quality=95)
    return len(out.getvalue())


def only_decode(root: Path, size: int, file: str) -> int:
    """Do the reduced decode and nothing else."""
    content = read_file(root, file)
    header = checked_header(content, 10**9, file)
    side = crop.short_side("center", header.width, header.height)
    return decode(content, header, reduction_for(header, side, size), file).pixels.size


def mapped(function: Callable[[str], int], files: list[str], workers: int) -> None:
    for _ in parallel.stream(function, files, workers=workers, title="", progress=False):
        pass


def shards(source: Source, recipe: Recipe, workers: int, keep: Path | None = None) -> None:
    folder = keep or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    ids = [entry.image_id for entry in source.entries]
    store.write_shards(source, ids, recipe, folder, workers=workers, progress=False)
    if keep is None:
        shutil.rmtree(folder)


def repeated(source: Source, wanted: int) -> Source:
    """Return a source of `wanted` images, the same files again under other ids."""
    entries = [source.entries[n % len(source)] for n in range(wanted)]
    return Source(
        source.root, tuple(Entry(f"{n:06d}", "train", entry.file) for n, entry in enumerate(entries))
    )


def rates(source: Source, recipe: Recipe, workers: int, rounds: int) -> dict[str, float]:
    files = [entry.file for entry in source.entries]
    root, size = source.root, recipe.stored_px
    some = files[::4]  # enough for the slow one
    variants: dict[str, tuple[int, Callable[[], None]]] = {
        "pillow_1": (len(some), lambda: mapped(partial(pillow, root, size, draft=False), some, 1)),
        "pillow_draft_n": (
            len(files),
            lambda: mapped(partial(pillow, root, size, draft=True), files, workers),
        ),
        "decode_n": (len(files), lambda: mapped(partial(only_decode, root, size), files, workers)),
        "ours_n": (len(files), lambda: shards(source, recipe, workers)),
    }
    variants["ours_n"][1]()  # starts the worker processes
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, (_, run) in variants.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: count / float(np.median(seconds[name])) for name, (count, _) in variants.items()}


def quality(source: Source, recipe: Recipe) -> dict[str, float]:
    """Return the mean PSNR of a stored square against a full decode and area resize, dB.

    Before encoding it is over the images whose decode was reduced: the others are equal.
    """
    before, after = [], []
    plain = Recipe(**{**recipe.to_json(), "lossless_up_to_px": 10**6})
    for entry in source.entries:
        file = source.read(entry.image_id)
        wanted = in_full(file, recipe)
        unlike = cv2.PSNR(prepare(file, plain), wanted)
        before += [unlike] if unlike < EQUAL_DB else []
        after.append(cv2.PSNR(prepare(file, recipe), wanted))
    return {"psnr_before_db": float(np.mean(before)), "psnr_db": float(np.mean(after))}


def in_full(file: bytes, recipe: Recipe) -> np.ndarray:
    """Return what the network would see after a full decode and one area resize, nothing encoded."""
    left, top, width, height = encode_stored(file, recipe).crop_box_px
    whole = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)
    part, size = whole[top : top + height, left : left + width], (recipe.input_px, recipe.input_px)
    way = cv2.INTER_AREA if width > recipe.input_px else cv2.INTER_CUBIC
    return cv2.cvtColor(cv2.resize(part, size, interpolation=way), cv2.COLOR_BGR2RGB)


def flips(source: Source, folder: Path) -> dict[str, float]:
    """Return how a bundle's answers to images differ from those after a full decode: the share of other
    decisions, and the mean change of the malignant probability.
    """
    bundle = read_bundle(folder)
    runner, malignant = Runner(bundle), malignant_classes(bundle.view)
    files = [source.read(entry.image_id) for entry in source.entries]
    nobody = np.zeros((len(files), len(FEATURES)), np.float32)
    decided, probability = [], []
    for way in (prepare, in_full):
        pixels = {
            recipe: np.stack([way(file, recipe) for file in files])
            for recipe in {member.recipe for member in bundle.members}
        }
        found = bundle.calibration.probabilities(runner(pixels, nobody).plain_logits)
        decided.append(decision_scores(found, bundle.calibration.prior).argmax(axis=1))
        probability.append(found[:, malignant].sum(axis=1))
    return {
        "decisions_flipped": float(np.mean(decided[0] != decided[1])),
        "malignant_probability_change": float(np.abs(probability[0] - probability[1]).mean()),
    }


def reading(small: Source, images: int) -> dict[str, float]:
    """Return random reads and decodes a second of a 128 px shard, by one core's own time."""
    with tempfile.TemporaryDirectory() as home:
        recipe = Recipe("center", 128, 128, 256, 95, 10**9)
        shards(repeated(small, images), recipe, 1, Path(home) / "128" / "a")
        reader = store.ShardReader(Path(home) / "128", ["a"])
        cv2.setNumThreads(1)
        order = np.random.default_rng(0).permutation(reader.ids).tolist()
        start = time.process_time()
        total = sum(len(reader.encoded(image_id)) for image_id in order)
        raw = time.process_time() - start
        start = time.process_time()
        for image_id in order:
            reader.pixels(image_id, 128)
        decoded = time.process_time() - start
    print(f"128 px: {total / len(order) / 1000:.1f} kB an image")
    return {"raw_reads_per_s": len(order) / raw, "decodes_per_s": len(order) / decoded}


def of_decode_cpu(source: Source, recipe: Recipe) -> float:
    """Return the decoder's processor time as a share of ours, one thread: steadier on a shared machine."""
    cv2.setNumThreads(1)
    spent = []
    files = [(entry.file, source.read(entry.image_id)) for entry in source.entries]
    ways = (
        lambda file, _: only_decode(source.root, recipe.stored_px, file),
        lambda _, content: encode_stored(content, recipe),
    )
    for run in ways:
        start = time.process_time()
        for file, content in files:
            run(file, content)
        spent.append(time.process_time() - start)
    return spent[0] / spent[1]


def peak_memory(isic: Path, images: int, workers: int) -> float:
    """Return the peak of what one writing holds, all its processes together, MB."""
    command = [
        sys.executable,
        __file__,
        "--isic",
        str(isic),
        "--workers",
        str(workers),
        "--only-write",
        str(images),
    ]
    peak = 0.0
    with subprocess.Popen(command) as writing:
        while writing.poll() is None:
            peak = max(peak, held_mb(psutil.Process(writing.pid)))
            time.sleep(0.05)
    if writing.returncode:
        raise SystemExit(f"writing {images} images failed")
    return peak


def held_mb(process: psutil.Process) -> float:
    try:
        return sum(one.memory_info().rss for one in (process, *process.children(recursive=True))) / 1e6
    except psutil.Error:  # one of them ended meanwhile
        return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--isic", type=Path, default=Path("../shared/isic"))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeat", type=int, default=2, help="each large file so many times")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--memory", type=int, nargs=2, default=(1000, 10_000))
    parser.add_argument("--only-write", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--bundle", type=Path, help="tell how many of its decisions a full decode would flip")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()

    large = open_source(asked.isic / LARGE[0], LARGE[1])
    small = open_source(asked.isic / SMALL[0], SMALL[1])
    if asked.only_write:
        shards(repeated(small, asked.only_write), Recipe("center", 128, 128, 256, 95, 10**9), asked.workers)
        return
    recipe = Recipe("center", asked.size, asked.size, 256, 95, 10**9)
    figures: dict[str, float] = {}
    for title, source in (
        ("large", repeated(large, asked.repeat * len(large))),
        ("small", repeated(small, 800)),
    ):
        found = rates(source, recipe, asked.workers, asked.rounds)
        print(
            f"{title} images to {asked.size} px, images/s: "
            + ", ".join(f"{k} {v:.0f}" for k, v in found.items())
        )
        names = {
            "times_pillow": found["ours_n"] / found["pillow_1"],
            "times_pillow_parallel": found["ours_n"] / found["pillow_draft_n"],
            "of_decode_rate": found["ours_n"] / found["decode_n"],
        }
        figures |= names if title == "large" else {f"small_{key}": value for key, value in names.items()}
    figures |= quality(large, Recipe("center", asked.size, asked.size, 0, 95, 10**9))
    if asked.bundle:
        figures |= flips(large, asked.bundle)
    figures["of_decode_cpu"] = of_decode_cpu(large, recipe)
    figures |= reading(small, 2000)
    if asked.memory[1]:
        few, many = (peak_memory(asked.isic, count, asked.workers) for count in asked.memory)
        print(f"peak memory: {few:.0f} MB for {asked.memory[0]}, {many:.0f} MB for {asked.memory[1]} images")
        figures["memory_growth"] = many / few - 1
    for name, value in figures.items():
        print(f"{name:30}{value:12.3f}")
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
