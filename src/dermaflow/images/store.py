"""The stored images: Arrow IPC shards, written once, memory-mapped by whoever reads.

    <size>/<release>/00.arrow, 01.arrow, ...   one row an image (`SCHEMA`), sorted by id, uncompressed
    <size>/<release>/index.json                the shards and their counts, and the recipe
    <size>/<release>/unreadable.json           images that could not be decoded, with the reason

Equal images and recipe give equal bytes whatever the number of workers, and a release more leaves the
shards of the others as they are.
"""

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dermaflow.errors import DataError, first_ten
from dermaflow.images import parallel
from dermaflow.images.decode import Pixels
from dermaflow.images.prepare import Recipe, Stored, decode_stored, encode_stored
from dermaflow.sources import Source, read_file

SCHEMA: Final = pa.schema(
    [
        ("image_id", pa.string()),
        ("encoded", pa.binary()),  # PNG or JPEG, stored_px x stored_px
        ("width", pa.int32()),  # of the upright original, pixels
        ("height", pa.int32()),
        ("crop_left", pa.int32()),  # the box that was kept, pixels of the upright original
        ("crop_top", pa.int32()),
        ("crop_width", pa.int32()),
        ("crop_height", pa.int32()),
        ("scale", pa.float64()),  # stored pixels an original pixel; never fed to a model
    ]
)
SHARD_IMAGES: Final = 1024
BATCH_IMAGES: Final = 64
"""Rows of a record batch: all that is held in memory while a shard is written."""
PNG_BYTES: Final = 2.0
"""A pixel, for the estimate of space."""
JPEG_BYTES: Final = {50: 0.1, 75: 0.16, 90: 0.3, 95: 0.45, 98: 0.7, 99: 0.9, 100: 1.1}
"""A pixel, by quality: 1.8 times the mean of 44 training images of 2020 stored at 384 px (at 768 px they need
a sixth less)."""
INDEX: Final = "index.json"
UNREADABLE: Final = "unreadable.json"


@dataclass(frozen=True)
class Summary:
    """What `write_shards` did.

    Attributes:
        written: number of images stored.
        unreadable: id and reason of each image that was not.
    """

    written: int
    unreadable: list[tuple[str, str]]


def write_shards(
    source: Source,
    image_ids: Iterable[str],
    recipe: Recipe,
    out_dir: Path,
    *,
    shard_size: int = SHARD_IMAGES,
    workers: int = 1,
    max_unreadable: int = 0,
    progress: bool = True,
) -> Summary:
    """Store images, each cropped and resized once.

    Args:
        source: where their files lie.
        image_ids: which; they are stored sorted. None at all is fine.
        recipe: how; its input_px does not matter here.
        out_dir: an empty folder, renamed by the caller when all is written.
        shard_size: images a shard.
        workers: processes.
        max_unreadable: so many files may fail to decode.
        progress: show a bar, if stderr is a terminal.

    Raises:
        DataError: an id has no file, stands twice, or more than `max_unreadable` files do not decode.
    """
    wanted = sorted(image_ids)
    repeated = sorted({a for a, b in itertools.pairwise(wanted) if a == b})
    if repeated:
        raise DataError(f"images listed twice: {first_ten(repeated)}", str(source.root), "List each once.")
    absent = [image_id for image_id in wanted if image_id not in source]
    if absent:
        raise DataError(
            f"{len(absent)} images have no file: {first_ten(absent)}",
            str(source.root),
            "Put the files back, or run the stage ingest again.",
        )
    files = [source.entry(image_id).file for image_id in wanted]
    results = parallel.stream(
        partial(_store_one, source.root, recipe),
        files,
        workers=workers,
        title=f"{recipe.stored_px} px",
        progress=progress,
    )
    unreadable: list[tuple[str, str]] = []
    counts = _write_all(_readable(wanted, results, unreadable), out_dir, shard_size)
    if len(unreadable) > max_unreadable:
        listed = first_ten(f"{image_id} ({reason})" for image_id, reason in unreadable)
        raise DataError(
            f"{len(unreadable)} images can't be decoded, {max_unreadable} may: {listed}",
            str(source.root),
            "Mend or remove the files (`dvc repro validate` lists them in reports/quality/unreadable.csv), "
            "or raise images.max_unreadable.",
        )
    described = {key: value for key, value in recipe.to_json().items() if key != "input_px"}
    _write_json(out_dir / INDEX, {"shards": counts, "recipe": described})
    _write_json(out_dir / UNREADABLE, [{"image_id": i, "reason": reason} for i, reason in unreadable])
    return Summary(sum(counts.values()), unreadable)


def estimated_bytes(images: int, recipe: Recipe) -> int:
    """Return about how much disk the shards of so many images take, rather too much than too little."""
    quality, jpeg = zip(*JPEG_BYTES.items(), strict=True)
    a_pixel = PNG_BYTES if recipe.lossless else float(np.interp(recipe.jpeg_quality, quality, jpeg))
    return int(images * (300 + recipe.stored_px**2 * a_pixel))


def shard_digests(size_dir: Path, releases: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return sha256 and number of images of each shard, by `<release>/<nn>.arrow`.

    Raises:
        DataError: a release or a shard is absent.
    """
    found: dict[str, dict[str, Any]] = {}
    for release in releases:
        for name, count in _index(size_dir / release)["shards"].items():
            with _existing(size_dir / release / name).open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
            found[f"{release}/{name}"] = {"sha256": digest, "images": count}
    return found


def stored_recipe(size_dir: Path, releases: Sequence[str]) -> dict[str, Any]:
    """Return how the stored images were made: the keys of `prepare.Recipe` but input_px.

    Raises:
        DataError: a release is absent, or two were stored in different ways.
    """
    found = {release: _index(size_dir / release)["recipe"] for release in releases}
    first, *others = found
    for other in others:
        if found[other] != found[first]:
            raise DataError(
                f"{first} and {other} were stored in different ways",
                str(size_dir),
                "Run `dvc repro`, which stores both as params.yaml says.",
            )
    return dict(found[first])


class ShardReader:
    """Random access to the stored images of one size, over all releases.

    Shards are memory-mapped; a pickled reader opens them anew in the process that unpickles it.
    """

    def __init__(self, size_dir: Path, releases: Sequence[str]) -> None:
        """Open the shards.

        Args:
            size_dir: folder of one size, outputs/images/<size>.
            releases: whose shards; each must be there.

        Raises:
            DataError: a shard is absent or damaged, or an image is stored twice.
        """
        self.size_dir, self.releases = Path(size_dir), tuple(releases)
        self._open()

    def __len__(self) -> int:
        """Count the stored images."""
        return len(self._where)

    def __contains__(self, image_id: object) -> bool:
        """Tell whether an image is stored."""
        return image_id in self._where

    def __iter__(self) -> Iterator[tuple[str, Stored]]:
        """Yield each id with what is stored, in the order of the shards."""
        return ((image_id, self.get(image_id)) for image_id in self._where)

    @property
    def ids(self) -> list[str]:
        """The stored ids in the order of the shards."""
        return list(self._where)

    def get(self, image_id: str) -> Stored:
        """Return all that is stored of one image.

        Raises:
            DataError: it is not stored.
        """
        batch, row = self._at(image_id)
        values = {name: batch.column(name)[row].as_py() for name in SCHEMA.names}
        box = tuple(values[f"crop_{edge}"] for edge in ("left", "top", "width", "height"))
        return Stored(values["encoded"], values["width"], values["height"], box, values["scale"])

    def encoded(self, image_id: str) -> bytes:
        """Return the stored PNG or JPEG of one image.

        Raises:
            DataError: it is not stored.
        """
        batch, row = self._at(image_id)
        return bytes(batch.column("encoded")[row].as_buffer())

    def pixels(self, image_id: str, input_px: int) -> Pixels:
        """Return one image as the network sees it: shape (input_px, input_px, 3), RGB.

        Raises:
            DataError: it is not stored.
        """
        return decode_stored(self.encoded(image_id), input_px)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle where the shards lie, not what is in them."""
        return {"size_dir": self.size_dir, "releases": self.releases}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the shards again."""
        self.size_dir, self.releases = state["size_dir"], state["releases"]
        self._open()

    def _open(self) -> None:
        self._where: dict[str, tuple[pa.RecordBatch, int]] = {}
        for release in self.releases:
            for name, count in _index(self.size_dir / release)["shards"].items():
                self._open_shard(_existing(self.size_dir / release / name), count)

    def _open_shard(self, path: Path, count: int) -> None:
        remedy = "Run `dvc repro --force crop_resize`."
        try:
            opened = pa.ipc.open_file(pa.memory_map(str(path)))
            batches = [opened.get_batch(number) for number in range(opened.num_record_batches)]
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"damaged: {error}", str(path), remedy) from None
        if sum(batch.num_rows for batch in batches) != count:
            raise DataError(f"holds another number of images than {INDEX} says", str(path), remedy)
        for batch in batches:
            for row, image_id in enumerate(batch.column("image_id").to_pylist()):
                if image_id in self._where:
                    raise DataError(f"image {image_id} is stored twice", str(path), remedy)
                self._where[image_id] = batch, row

    def _at(self, image_id: str) -> tuple[pa.RecordBatch, int]:
        try:
            return self._where[image_id]
        except KeyError:
            raise DataError(
                f"image {image_id} is not stored",
                str(self.size_dir),
                f"Check the id; stored are {', '.join(self.releases)}. Else run `dvc repro crop_resize`.",
            ) from None


def _store_one(root: Path, recipe: Recipe, file: str) -> Stored | str:
    """Return what a shard keeps, or why it can't (in a worker process)."""
    try:
        return encode_stored(read_file(root, file), recipe, file)
    except DataError as error:
        return error.what


def _readable(
    image_ids: Sequence[str], results: Iterable[Stored | str], unreadable: list[tuple[str, str]]
) -> Iterator[tuple[str, Stored]]:
    """Pass on what was decoded; note the rest in `unreadable`."""
    for image_id, result in zip(image_ids, results, strict=True):
        if isinstance(result, str):
            unreadable.append((image_id, result))
        else:
            yield image_id, result


def _write_all(rows: Iterator[tuple[str, Stored]], out_dir: Path, shard_size: int) -> dict[str, int]:
    """Write shard after shard; return the count of each."""
    counts: dict[str, int] = {}
    first = next(rows, None)
    while first is not None:
        name = f"{len(counts):02d}.arrow"
        counts[name] = 0
        with pa.OSFile(str(out_dir / name), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            while first is not None and counts[name] < shard_size:
                batch = [first]
                room = min(BATCH_IMAGES, shard_size - counts[name])
                while len(batch) < room and (row := next(rows, None)) is not None:
                    batch.append(row)
                writer.write_batch(_batch(batch))
                counts[name] += len(batch)
                first = next(rows, None)
    return counts


def _batch(rows: list[tuple[str, Stored]]) -> pa.RecordBatch:
    columns = zip(*((i, s.encoded, s.width, s.height, *s.crop_box_px, s.scale) for i, s in rows), strict=True)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=SCHEMA)


def _index(folder: Path) -> dict[str, Any]:
    index: dict[str, Any] = json.loads(_existing(folder / INDEX).read_text(encoding="utf-8"))
    return index


def _existing(path: Path) -> Path:
    if not path.exists():
        raise DataError(
            "no such file", str(path), "Name its size in `sizes` of params.yaml, and run `dvc repro`."
        )
    return path


def _write_json(path: Path, value: object) -> None:
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
