"""The tables' stages at the size of the challenges and of today's whole archive, in one run.

    python benchmarks/tables.py --isic ../shared/isic [--rows 500000] [--rounds 3] [--json FILE]

Each stage is a process of its own, as DVC starts it, imports included: ingest of each release, validate,
locate, split, impute, certify. Wall and processor seconds are summed over them; the peak memory is that of
the largest process. All run on two cores, in a temporary folder in which MLflow has its database already.

What is real and what is not:
- `official` are the published tables. No image is opened: `ingest` finds empty image folders, so reading
  pixels is not in these figures (crop_resize.py measures that). Without files no row would be left to split,
  so after `ingest` its empty tables of facts are replaced by made ones: every listed image, test images too,
  under the first release that lists it, with a digest of its own and a made thumbnail.
- `archive` are `--rows` training rows in the same layouts: whole patients and lesions of the official tables
  are drawn with replacement and get new ids; test tables grow in step. Facts are made in the same way.
- A made thumbnail is a smooth random field with a dark lesion and noise, meant to be as alike by hash as real
  ones (compare `real_candidates` with `made_candidates`). Official duplicates, and two images of every
  twentieth lesion, show the same picture turned or mirrored.
- `near` is the search for near-duplicates alone, in as many made thumbnails as there are rows; one in a
  hundred is a turned copy of another, and all of these must be found.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from pyarrow import parquet

from dermaflow import outputs, releases, sources
from dermaflow.images import facts
from dermaflow.splits import near, phash
from dermaflow.splits.thumbnails import Held, Stored
from made_tables import RELEASES, SEED, make_facts, make_tables, pictures, plant, write_facts

ROOT = Path(__file__).resolve().parents[1]
STAGES = (*(f"ingest {name}" for name in RELEASES), "validate", "locate", "split", "impute", "certify")
LIMITS = {
    "official_wall_s": "under 30",
    "archive_times_per_row": "at most 1.3",
    "archive_peak_gb": "under 3",
    "near_times_per_image": "1 linear, 8.6 quadratic",
    "near_planted_missed": "0",
}


def make_near(count: int) -> None:
    """Write `count` made thumbnails, one in a hundred a copy of another."""
    pixels = pictures(count, SEED + 9)
    plant(pixels, *planted(count))
    ids = pd.Series([f"ISIC_{number:07d}" for number in range(count)])
    write_facts("isic2020", ids, pd.Series(["train"] * count), pixels)


def planted(count: int) -> np.ndarray:
    """Return the positions of originals and of copies, shape (2, count / 100)."""
    return np.random.default_rng(SEED).permutation(count)[: count // 100 * 2].reshape(2, -1)


def search_near(count: int) -> dict[str, float]:
    """Search them as the stage does and say what it took; candidates alone are timed once more."""
    cells = {"isic2020": partial(outputs.facts.of("isic2020").blocks, "thumbnail")}
    stored = Stored(cells, pd.DataFrame({"store": "isic2020", "fact": np.arange(count)}))
    start = time.perf_counter()
    found = near.find(stored, 8, 0.9)
    whole = time.perf_counter() - start
    joined = found.correlation >= 0.9
    pairs = set(zip(found.first[joined].tolist(), found.second[joined].tolist(), strict=True))
    wanted = {(min(pair), max(pair)) for pair in planted(count).T.tolist()}
    hashed = np.concatenate([phash.hashes(block) for _, block in stored], axis=1)
    start = time.perf_counter()
    first = phash.candidates(hashed, 8)[0]
    return {
        "s": whole,
        "candidates_s": time.perf_counter() - start,
        "candidates": len(first),
        "planted": len(wanted),
        "planted_missed": len(wanted - pairs),
        "others_joined": len(pairs - wanted),
    }


def search_real(isic: Path) -> dict[str, float]:
    """Search the pack's own images, and as many made ones."""
    cells = []
    for release in RELEASES:
        folder = releases.find_release(isic, release)
        source = sources.open_source(folder, releases.image_folders(release))
        cells += [row["thumbnail"] for row in facts.all_facts(source, workers=2) if row["readable"]]
    real = np.frombuffer(b"".join(cells), np.uint8).reshape(-1, 64, 64)
    result = {"real_images": float(len(real))}
    for name, pixels in (("real", real), ("made", pictures(len(real), SEED + 8))):
        hashed = np.concatenate([phash.hashes(block) for _, block in Held(pixels)], axis=1)
        start = time.perf_counter()
        near.find(pixels, 8, 0.9)
        result[f"{name}_us_per_image"] = (time.perf_counter() - start) / len(pixels) * 1e6
        result[f"{name}_candidates"] = float(len(phash.candidates(hashed, 8)[0]))
    return result


@dataclass(frozen=True)
class Spent:
    """What one process took."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def run(command: list[str], folder: Path) -> tuple[Spent, str]:
    """Run a process with its root in `folder`; return what it took and printed."""
    env = {
        **os.environ,
        "DERMAFLOW_ROOT": str(folder),
        "DERMAFLOW_PARAMS": str(ROOT / "presets" / "laptop.yaml"),
        "PYTHONPATH": str(ROOT / "src"),
        "GX_ANALYTICS_ENABLED": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    env.pop("MLFLOW_TRACKING_URI", None)
    with tempfile.TemporaryFile("w+") as said:
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, *command], cwd=folder, env=env, stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{text[-4000:]}")
    return Spent(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024), text


def stages(folder: Path) -> dict[str, Spent]:
    """Run the tables' stages one after the other; facts are made between, and not counted."""
    spent = {}
    for stage in STAGES:
        if stage == "validate":
            run([__file__, "--make-facts"], folder)
        name, *words = stage.split()
        spent[stage], _ = run([str(ROOT / "stages" / f"{name}.py"), *words], folder)
    return spent


def measure_tables(name: str, isic: Path, rows: int, rounds: int) -> dict[str, float]:
    """Return the figures of one size, medians over rounds."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        run([__file__, "--isic", str(isic.resolve()), "--make-tables", str(rows)], folder)
        run(["-c", "from dermaflow import tracking; tracking.stage('made')"], folder)
        taken = [stages(folder) for _ in range(rounds)]
        kept = parquet.read_table(folder / "outputs" / "cases.parquet", columns=["split"])["split"]
        ledger = json.loads((folder / "outputs" / "splits" / "ledger.json").read_text(encoding="utf-8"))
    figures = {"rows": len(kept), "kept": sum(value != "dropped" for value in kept.to_pylist())}
    for what in ("wall_s", "cpu_s", "peak_mb"):
        for stage in STAGES:
            figures[f"{stage} {what}"] = float(np.median([getattr(one[stage], what) for one in taken]))
        together = max if what == "peak_mb" else sum
        sums = [together(getattr(spent, what) for spent in one.values()) for one in taken]
        figures[what] = float(np.median(sums))
    print(
        f"{name}: {figures['rows']:,} training rows, {figures['kept']:,} kept, "
        f"{ledger['pairs']['near_confirmed']:,} near-duplicates joined; the stages took "
        f"{figures['wall_s']:.1f} s, {figures['cpu_s']:.1f} s of processor, "
        f"{figures['peak_mb'] / 1024:.2f} GB at most"
    )
    for stage in STAGES:
        wall, cpu, peak = (figures[f"{stage} {what}"] for what in ("wall_s", "cpu_s", "peak_mb"))
        print(f"  {stage:16}{wall:8.1f} s wall{cpu:8.1f} s processor{peak:8.0f} MB")
    return {f"{name}_{re.sub(' ', '_', key)}": value for key, value in figures.items()}


def measure_near(name: str, count: int) -> dict[str, float]:
    """Return the figures of one search."""
    with tempfile.TemporaryDirectory() as home:
        run([__file__, "--make-near", str(count)], Path(home))
        spent, text = run([__file__, "--search-near", str(count)], Path(home))
    found = json.loads(text.splitlines()[-1])
    print(
        f"{name}: {count:,} made thumbnails searched in {found['s']:.1f} s (candidates alone "
        f"{found['candidates_s']:.1f} s), {found['candidates']:,} candidates; {found['planted']:,} copies "
        f"planted, {found['planted_missed']} missed; {found['others_joined']} others joined; "
        f"{spent.peak_mb / 1024:.2f} GB"
    )
    return {f"{name}_{key}": value for key, value in {**found, "peak_mb": spent.peak_mb}.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--isic", type=Path, default=Path("../shared/isic"))
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3, help="of the official tables; the others run once")
    parser.add_argument("--only", choices=["official", "archive", "near", "real"], nargs="+")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--make-tables", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--make-facts", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--make-near", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--search-near", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.make_tables is not None:
        return make_tables(asked.isic, Path.cwd(), asked.make_tables)
    if asked.make_facts:
        return make_facts()
    if asked.make_near:
        return make_near(asked.make_near)
    if asked.search_near:
        return print(json.dumps(search_near(asked.search_near)))

    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    parts = asked.only or ["official", "archive", "near", "real"]
    figures: dict[str, float] = {}
    if "official" in parts:
        figures |= measure_tables("official", asked.isic, 0, asked.rounds)
    if "archive" in parts:
        figures |= measure_tables("archive", asked.isic, asked.rows, 1)
        figures["archive_peak_gb"] = figures["archive_peak_mb"] / 1024
    if {"official", "archive"} <= set(parts):
        each = [figures[f"{name}_wall_s"] / figures[f"{name}_rows"] for name in ("archive", "official")]
        figures["archive_times_per_row"] = each[0] / each[1]
    if "near" in parts:
        few, many = 58_000, asked.rows
        figures |= measure_near("near_few", few) | measure_near("near", many)
        figures["near_times_per_image"] = figures["near_s"] / many / (figures["near_few_s"] / few)
    if "real" in parts:
        figures |= search_real(asked.isic)
    for name, value in figures.items():
        if " " not in name:
            print(f"{name:32}{value:14.3f}   {LIMITS.get(name, '')}")
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return None


if __name__ == "__main__":
    main()
