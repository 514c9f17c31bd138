"""Published tables and image facts of any size, made from the official tables (see tables.py)."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from dermaflow import outputs, releases
from dermaflow.splits import groups, near

RELEASES = ("isic2018", "isic2019", "isic2020")
SEED = 2020
WAVES, LESION = 30.0, 60.0
"""Grey levels: chosen so that as many made pictures as real ones are alike by hash."""


@dataclass(frozen=True)
class File:
    """A published table and which of its columns hold ids."""

    release: str
    name: str
    images: tuple[str, ...]
    lesion: str | None = None
    patient: str | None = None


FILES = (
    File("isic2018", "ISIC2018_Task3_Training_GroundTruth.csv", ("image",)),
    File("isic2018", "ISIC2018_Task3_Validation_GroundTruth.csv", ("image",)),
    File("isic2018", "ISIC2018_Task3_Training_LesionGroupings.csv", ("image",), lesion="lesion_id"),
    File("isic2018", "HAM10000_metadata.csv", ("image_id",), lesion="lesion_id"),
    File("isic2019", "ISIC_2019_Training_GroundTruth.csv", ("image",)),
    File("isic2019", "ISIC_2019_Training_Metadata.csv", ("image",), lesion="lesion_id"),
    File("isic2019", "ISIC_2019_Test_Metadata.csv", ("image",)),
    File("isic2020", "train.csv", ("image_name",), patient="patient_id"),
    File("isic2020", "test.csv", ("image_name",), patient="patient_id"),
    File("isic2020", "2020_Challenge_duplicates.csv", ("ISIC_id", "ISIC_id_paired")),
)
TRAINED_ON = ("ISIC_2019_Training_GroundTruth.csv", "train.csv")


def make_tables(isic: Path, folder: Path, rows: int) -> None:
    """Put published tables into data/: the official ones, or `rows` training rows drawn from them."""
    for release in RELEASES:
        home = folder / "data" / release
        for names in releases.image_folders(release).values():
            for name in names[:1]:
                (home / name).mkdir(parents=True)
    cells = {
        file: pd.read_csv(
            releases.find_release(isic, file.release) / file.name, dtype="str", keep_default_na=False
        )
        for file in FILES
    }
    for file, table in (drawn(cells, rows) if rows else cells).items():
        table.to_csv(folder / "data" / file.release / file.name, index=False)


def drawn(cells: dict[File, pd.DataFrame], rows: int) -> dict[File, pd.DataFrame]:
    """Draw units (what patients, lesions and duplicates join) until there are `rows` training rows."""
    listed = pd.Index(
        sorted({name for file in cells for column in file.images for name in cells[file][column]})
    )
    unit = _units(cells, listed)
    draw = _draw(cells, listed, unit, rows)
    image = _Renamed(unit, draw, unit.max() + 1)
    people = {kind: _People.of(kind, cells, listed, unit, draw) for kind in ("lesion", "patient")}
    result = {}
    for file, table in cells.items():
        position = {column: listed.get_indexer(table[column]) for column in file.images}
        row, copy = _rows_of(unit[position[file.images[0]]], draw, unit.max() + 1)
        new = table.iloc[row].reset_index(drop=True)
        for column in file.images:
            rest = new[column].str.replace(r"^ISIC_\d+", "", regex=True)
            new[column] = "ISIC_" + image.number(position[column][row], copy) + rest
        for kind, known in people.items():
            column = getattr(file, kind)
            if column:
                new[column] = known.renamed(new[column], copy)
        result[file] = new
    return result


def _draw(cells: dict[File, pd.DataFrame], listed: pd.Index, unit: np.ndarray, rows: int) -> np.ndarray:
    """Return units, most of them several times, that hold exactly `rows` training rows."""
    trained = np.zeros(len(listed), bool)
    for file, table in cells.items():
        if file.name in TRAINED_ON:
            trained[listed.get_indexer(table[file.images[0]])] = True
    weight, size = np.bincount(unit, trained), np.bincount(unit)
    rng = np.random.default_rng(SEED)
    draw = rng.integers(0, len(size), int(2 * rows / weight.mean()))
    draw = draw[: np.searchsorted(np.cumsum(weight[draw]), rows, "right")]
    single = np.flatnonzero((weight == 1) & (size == 1))
    return np.concatenate([draw, rng.choice(single, int(rows - weight[draw].sum()))])


def _units(cells: dict[File, pd.DataFrame], listed: pd.Index) -> np.ndarray:
    edges = []
    for file, table in cells.items():
        position = [listed.get_indexer(table[column]) for column in file.images]
        for column in filter(None, (file.lesion, file.patient)):
            first, second = groups.same(table[column].where(table[column] != ""))
            edges.append((position[0][first], position[0][second]))
        edges += [(position[0], other) for other in position[1:]]
    return groups.join(len(listed), edges)


def _rows_of(unit: np.ndarray, draw: np.ndarray, units: int) -> tuple[np.ndarray, np.ndarray]:
    """Return, for all rows of the drawn units, the row and which draw it belongs to."""
    order, size = np.argsort(unit, kind="stable"), np.bincount(unit, minlength=units)
    start, count = np.cumsum(size) - size, size[draw]
    copy = np.repeat(np.arange(len(draw)), count)
    offset = np.arange(len(copy)) - np.repeat(np.cumsum(count) - count, count)
    return order[start[draw][copy] + offset], copy


class _Renamed:
    """New numbers of seven digits: those of a draw follow on those of the draw before."""

    def __init__(self, unit: np.ndarray, draw: np.ndarray, units: int) -> None:
        count = np.bincount(unit, minlength=units)[draw]
        self.base = np.cumsum(count) - count
        self.rank = pd.Series(unit).groupby(unit).cumcount().to_numpy()

    def number(self, item: np.ndarray, copy: np.ndarray) -> pd.Series:
        return pd.Series(self.base[copy] + self.rank[item]).astype("str").str.zfill(7)


@dataclass(frozen=True)
class _People:
    """Lesions or patients of all tables, and their new numbers."""

    words: pd.Index
    new: _Renamed

    @classmethod
    def of(
        cls, kind: str, cells: dict[File, pd.DataFrame], listed: pd.Index, unit: np.ndarray, draw: np.ndarray
    ) -> "_People":
        belongs: dict[str, int] = {}
        for file, table in cells.items():
            column = getattr(file, kind)
            if column:
                belongs |= dict(
                    zip(table[column], unit[listed.get_indexer(table[file.images[0]])], strict=True)
                )
        belongs.pop("", None)
        return cls(pd.Index(belongs), _Renamed(np.array(list(belongs.values())), draw, unit.max() + 1))

    def renamed(self, cells: pd.Series, copy: np.ndarray) -> pd.Series:
        start = cells.str.replace(r"\d+$", "", regex=True)
        number = self.new.number(np.maximum(self.words.get_indexer(cells), 0), copy)
        return (start + number).where(cells != "", "")


def make_facts() -> None:
    """Replace the empty tables of facts by made ones, each listed image under the first that lists it."""
    taken: set[str] = set()
    for number, release in enumerate(RELEASES):
        table = outputs.releases.of(release).read()
        own = table[~table["image_id"].isin(taken)].sort_values("image_id").reset_index(drop=True)
        taken |= set(own["image_id"])
        pixels = pictures(len(own), SEED + number)
        plant(pixels, *twins(own))
        write_facts(release, own["image_id"], own["part"].replace("validation", "test"), pixels)


def twins(own: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of official pairs, and of two images of every twentieth lesion."""
    index = pd.Index(own["image_id"])
    kept = index.get_indexer(own["duplicate_of"].fillna(""))
    dropped = np.flatnonzero(kept >= 0)
    known = own[own["lesion_id"].notna()]
    rank = known.groupby("lesion_id").cumcount()
    some = pd.factorize(known["lesion_id"])[0] % 20 == 0
    first, second = (
        pd.Series(known.index[some & (rank == place)], known["lesion_id"][some & (rank == place)])
        for place in (0, 1)
    )
    return (
        np.concatenate([kept[dropped], first[second.index].to_numpy()]),
        np.concatenate([dropped, second.to_numpy()]),
    )


def pictures(count: int, seed: int) -> np.ndarray:
    """Return grey thumbnails, shape (count, 64, 64), unlike each other."""
    rng = np.random.default_rng(seed)
    k = np.arange(8)
    waves = np.cos(np.pi * k[:, None] * (2 * np.arange(64) + 1) / 128).astype(np.float32)  # (8, 64)
    fall = (WAVES / (1 + k[:, None] + k[None, :])).astype(np.float32)
    y, x = np.mgrid[:64, :64] - 31.5
    lesion = (LESION * np.exp(-(x**2 + y**2) / (2 * 14**2))).astype(np.float32)
    made = np.empty((count, 64, 64), np.uint8)
    for start in range(0, count, 8192):
        block = made[start : start + 8192]
        field = waves.T @ (rng.standard_normal((len(block), 8, 8), np.float32) * fall) @ waves
        field += 150 - lesion + rng.integers(0, 16, field.shape, np.uint8)
        block[:] = np.clip(field, 0, 255)
    return made


def plant(pixels: np.ndarray, originals: np.ndarray, copies: np.ndarray) -> None:
    """Turn copies, in place, into their originals in one of the 8 orientations, slightly noisy."""
    rng = np.random.default_rng(SEED)
    for number, (one, other) in enumerate(zip(originals, copies, strict=True)):
        same = near.turned(pixels[one : one + 1], number % near.ORIENTATIONS)[0]
        pixels[other] = np.clip(same + rng.integers(-2, 3, same.shape), 0, 255)


def write_facts(release: str, ids: pd.Series, part: pd.Series, pixels: np.ndarray) -> None:
    """Write a table of facts as `ingest` would (in one row group), without a frame of Python's bytes."""
    frame = pd.DataFrame(
        {
            "image_id": ids,
            "part": part,
            "file": part + "/" + ids + ".jpg",
            "width": np.int32(1024),
            "height": np.int32(768),
            "bytes": np.int64(200_000),
            "sha256": [hashlib.sha256(name.encode()).hexdigest() for name in ids],
            "phash": np.uint64(0),
            "readable": True,
            "problem": pd.Series([None] * len(ids), dtype="str"),
        }
    )
    blocks = []
    for start in range(0, len(pixels), 8192):
        block = pixels[start : start + 8192]
        ends = np.arange(len(block) + 1, dtype=np.int32) * 4096
        buffers = [None, pa.py_buffer(ends), pa.py_buffer(block)]
        blocks.append(pa.Array.from_buffers(pa.binary(), len(block), buffers))
    table = pa.Table.from_pandas(frame, preserve_index=False)
    place = list(outputs.facts.columns).index("thumbnail")
    table = table.add_column(place, "thumbnail", pa.chunked_array(blocks, pa.binary()))
    outputs.facts.of(release).path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, outputs.facts.of(release).path, compression="zstd")
