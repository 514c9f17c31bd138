"""Draw the demo release: decide on a world, draw its pictures in processes, write its tables, rename.

In: an empty or absent folder. Out: isic2018/, isic2019/, isic2020/ and masks/ in it, the same to the byte
on every machine for the same seed and number of images, whatever the number of processes.
"""

import errno
import hashlib
import io
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import joblib
from PIL import Image

from dermaflow.errors import DataError
from dermaflow.sample.integers import Stream
from dermaflow.sample.lesion import paint
from dermaflow.sample.photo import CAMERAS, Bytes, enlarged, photograph
from dermaflow.sample.png import encode_mask
from dermaflow.sample.tables import write_tables
from dermaflow.sample.world import FOLDERS, FULL_IMAGES, Picture, World, populate
from dermaflow.taxonomy import DIAGNOSES

SEED: Final = 2020
"""The committed demo's seed."""
ENTRIES: Final = ("isic2018", "isic2019", "isic2020", "masks")
"""What is written in the target folder."""
ROOM_BYTES: Final = 60_000_000
"""Free space asked for before the work starts: the release takes up to 40 MB."""

_QUALITY: Final = 82
_COPY_QUALITY: Final = 70

Progress = Callable[[int, int], None]
"""Told how many lesions are drawn, and of how many."""


@dataclass(frozen=True)
class SampleSummary:
    """What was drawn.

    Attributes:
        folder: the target.
        images: different image ids, by release and part, e.g. `{"isic2018 train": 120}`; the 2018 images
            that 2019 lists too count under 2018.
        diagnoses: labelled training images by diagnosis.
        lesions: training lesions by diagnosis.
        patients: patients of 2020's training part.
        files: all files.
        size_bytes: of all files.
        digest: sha256 over all relative names and contents, hex.
    """

    folder: Path
    images: dict[str, int]
    diagnoses: dict[str, int]
    lesions: dict[str, int]
    patients: int
    files: int
    size_bytes: int
    digest: str


def draw(
    target: Path,
    *,
    images: int | None = None,
    seed: int = SEED,
    replace: bool = False,
    workers: int = 2,
    progress: Progress | None = None,
) -> SampleSummary:
    """Draw the demo release into a folder.

    Args:
        target: absent or empty, or `replace`.
        images: wanted number of different images, about; None is the committed demo's. Below about 100
            it grows no smaller: every diagnosis keeps lesions for two folds and a hold-out.
        seed: another one makes another world.
        replace: put the four folders in place of those that stand there; other entries stay.
        workers: processes; the result does not depend on it.
        progress: called after each lesion.

    Raises:
        DataError: the target holds something, the disk is full, or too many images are wanted; nothing
            half-written is left.
    """
    world = populate(FULL_IMAGES if images is None else images, seed)
    _refuse_if_occupied(target, replace=replace)
    place = target.resolve()
    with _scratch(place) as scratch:
        for folder in {*FOLDERS.values(), "masks"}:
            (scratch / folder).mkdir(parents=True)
        write_tables(world, scratch)
        _draw_pictures(world, scratch, workers, progress)
        summary = _summary(world, target, scratch)
        _put_in_place(scratch, place)
    return summary


def tree_digest(folder: Path) -> str:
    """Return one sha256 over the names and contents of all files below a folder."""
    digest = hashlib.sha256()
    for file in sorted(item for item in folder.rglob("*") if item.is_file()):
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _draw_pictures(world: World, scratch: Path, workers: int, progress: Progress | None) -> None:
    by_lesion: dict[str, list[Picture]] = {}
    for picture in world.pictures:
        by_lesion.setdefault(picture.lesion.name, []).append(picture)
    jobs = (joblib.delayed(_draw_lesion)(world.seed, pictures, scratch) for pictures in by_lesion.values())
    parallel = joblib.Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=4)
    for done, _ in enumerate(parallel(jobs), start=1):
        if progress:
            progress(done, len(by_lesion))


def _draw_lesion(seed: int, pictures: list[Picture], scratch: Path) -> None:
    """Paint one lesion and write all of its photographs and masks."""
    lesion = pictures[0].lesion
    stream = Stream(seed, lesion.name)
    texture = paint(lesion.diagnosis, lesion.patient.tone, stream)
    camera = CAMERAS["MSK" if lesion.centre == "unknown" else lesion.centre]
    for picture in pictures:
        size = (picture.width, picture.height)
        pixels, mask = photograph(texture, camera, size, stream.child("view", picture.view))
        if picture.copy:
            pixels, mask = pixels[:, ::-1], mask[:, ::-1]
        pixels = enlarged(pixels, picture.factor)
        jpeg = _jpeg(pixels, _COPY_QUALITY if picture.copy else _QUALITY)
        for file in picture.files:
            (scratch / file).write_bytes(jpeg)
        for image_id in picture.masks:
            (scratch / "masks" / f"{image_id}_segmentation.png").write_bytes(encode_mask(mask))


def _jpeg(pixels: Bytes, quality: int) -> bytes:
    """Encode RGB pixels; libjpeg-turbo's integer transform is the same with and without SIMD (tested)."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return file.getvalue()


def _refuse_if_occupied(target: Path, *, replace: bool) -> None:
    if target.exists() and not target.is_dir():
        raise DataError("this is a file", str(target), "Name a folder.")
    if replace or not target.exists():
        return
    found = sorted(entry.name for entry in target.iterdir())
    if found:
        raise DataError(
            f"the folder holds {len(found)} entries: {', '.join(found[:10])}",
            str(target),
            "Name an absent or empty folder, or remove what is there.",
        )


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """Give a scratch folder on the target's own disk; it is gone afterwards, whatever happens."""
    home = target if target.is_mount() else target.parent
    home.mkdir(parents=True, exist_ok=True)
    remedy = "Free some space, or name a folder on another disk."
    free = shutil.disk_usage(home).free
    if free < ROOM_BYTES:
        wanted = f"only {free // 1_000_000} MB are free, {ROOM_BYTES // 1_000_000} MB are needed"
        raise DataError(wanted, str(home), remedy)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=home))
    try:
        yield scratch
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError("the disk is full", str(home), remedy) from error
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _put_in_place(scratch: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for name in ENTRIES:
        if (target / name).is_symlink() or (target / name).exists():
            (target / name).replace(scratch / f"replaced-{name}")
        (scratch / name).replace(target / name)


def _summary(world: World, target: Path, scratch: Path) -> SampleSummary:
    train = [item for item in world.listings if item.part == "train"]
    files = [file for file in scratch.rglob("*") if file.is_file()]
    images = Counter(f"{item.release} {item.part}" for item in world.listings)
    diagnoses = Counter(item.lesion.diagnosis for item in train)
    lesions = Counter(code for code, _ in {(item.lesion.diagnosis, item.lesion.name) for item in train})
    return SampleSummary(
        folder=target,
        images=dict(sorted(images.items())),
        diagnoses={code: diagnoses[code] for code in DIAGNOSES},
        lesions={code: lesions[code] for code in DIAGNOSES},
        patients=len({item.lesion.patient.patient_id for item in train if item.release == "isic2020"}),
        files=len(files),
        size_bytes=sum(file.stat().st_size for file in files),
        digest=tree_digest(scratch),
    )
