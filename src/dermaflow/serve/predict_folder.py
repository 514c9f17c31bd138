"""Score many images with one bundle and write them in a challenge's columns.

Called by `dermaflow predict` and `assess` (a folder) and by the stage predict (a release). A file that can't
be read costs its own row only.
"""

import csv
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, TextIO

import numpy as np
from numpy.typing import NDArray

from dermaflow.bundle.apply import Calibration, Floats
from dermaflow.bundle.format import Bundle
from dermaflow.bundle.run import Runner
from dermaflow.errors import DataError, first_ten
from dermaflow.images.prepare import Recipe
from dermaflow.impute.apply import Patient, vectors
from dermaflow.serve import formats
from dermaflow.serve.champion import Loaded
from dermaflow.serve.formats import Scored
from dermaflow.serve.metadata import IMAGE_TYPES, image_id, read_metadata

BATCH: Final = 16
"""Images of one pass: more takes more memory and saves no time."""
READERS: Final = 2
"""Threads that read and decode a batch."""

Problem = tuple[str, str]
"""An image that could not be read, and why."""
Pixels = dict[Recipe, NDArray[np.uint8]]


def score(
    loaded: Loaded,
    images: Path,
    metadata: Path | None,
    layout: str,
    out: Path,
    centre: str | None = None,
) -> tuple[list[Problem], list[str]]:
    """Score a folder of images and write one CSV; its place is made sure of before any image is read.

    Args:
        loaded: the bundle.
        images: a folder; its .jpg, .jpeg and .png files are scored, in the order of their names.
        metadata: a CSV as `read_metadata` takes it; without it all patient fields are imputed.
        layout: a key of `formats.FORMATS`.
        out: the CSV to write.
        centre: where all images are from, if that is known and training held images from there.

    Returns:
        The files that could not be read (all others are in the CSV), and the ids in `metadata` that no
        image has.

    Raises:
        DataError: no images, none that can be read, a wrong table or one that names none of the images, or no
            place for the CSV; what stood there is left as it was.
        BundleError: the bundle can't answer in this format, or did not learn from that centre.
    """
    formats.check(layout, loaded.bundle.view)
    calibration(loaded.bundle, centre)
    if not out.parent.is_dir():
        raise DataError("no such folder", str(out.parent), "Make it, or give another path for the CSV.")
    out = out.resolve()  # a link stays a link
    if out.exists() and not out.is_file():  # /dev/null would become a file
        raise DataError("it is no ordinary file", str(out), "Give the path of a CSV, with its file name.")
    files = image_files(images)
    patients = read_metadata(metadata) if metadata else {}
    unused = [name for name in patients if name not in files]
    if metadata and unused == list(patients):
        raise DataError(
            f"none of its images is in {images}; it names {first_ten(unused) or 'none'}",
            metadata.name,
            "Give the images' file names in the column image, with or without their endings.",
        )
    if out.suffix.lower() in IMAGE_TYPES or (metadata and out.resolve() == metadata.resolve()):
        raise DataError(
            "an image or the patients' table would lie there", str(out), "Give the CSV another name."
        )
    with _replacing(out) as opened:
        scored, problems = predict_folder(loaded.open(), files, patients, centre)
        if not scored.images:
            raise DataError(
                f"none of the {len(files)} images can be read; {': '.join(problems[0])}",
                str(images),
                "Give JPEG or PNG files.",
            )
        _write(scored, layout, opened)
    return problems, unused


def image_files(folder: Path) -> dict[str, Callable[[], bytes]]:
    """List the images of a folder: id to what reads its bytes.

    Raises:
        DataError: no such folder, no image in it, two files of one id, or a name that no CSV can hold.
    """
    if not folder.is_dir():
        raise DataError("no such folder", str(folder), "Give a folder with JPEG or PNG files.")
    named = (file for file in folder.iterdir() if not file.name.startswith("."))  # ._a.jpg is macOS's own
    files = sorted(file for file in named if file.suffix.lower() in IMAGE_TYPES)
    found = {image_id(file.name): file for file in files}
    if not files:
        raise DataError(
            "no .jpg, .jpeg or .png file there", str(folder), "Give the folder that holds the images."
        )
    if len(found) < len(files):
        twice = first_ten(file.name for file in files if found[image_id(file.name)] != file)
        raise DataError(f"two files of the same id: {twice}", str(folder), "Keep one of them.")
    if foreign := [repr(name) for name in found if name != name.encode(errors="ignore").decode()]:
        raise DataError(
            f"file names that are not UTF-8: {first_ten(foreign)}", str(folder), "Rename these files."
        )
    return {name: partial(_bytes, file) for name, file in found.items()}


def _bytes(file: Path) -> bytes:
    """Read an image's file; a named pipe would be waited for for ever."""
    if file.exists() and not file.is_file():
        raise DataError("it is no ordinary file", str(file), "Take it out of the folder.")
    return file.read_bytes()


def left_out(folder: Path) -> list[str]:
    """Name what lies in a folder beside the images that are scored: other files, and folders."""
    names = (file.name for file in folder.iterdir() if file.suffix.lower() not in IMAGE_TYPES)
    return sorted(name for name in names if not name.startswith("."))


def predict_folder(
    runner: Runner,
    images: Mapping[str, Callable[[], bytes]],
    patients: Mapping[str, Patient],
    centre: str | None = None,
    batch: int = BATCH,
) -> tuple[Scored, list[Problem]]:
    """Score images in their order.

    Args:
        runner: the open networks.
        images: id to what reads the file's bytes.
        patients: what is known, by image id; an image without an entry has all fields imputed.
        centre: as for `score`.
        batch: images of one pass.

    Returns:
        The answers, and the images that could not be read.

    Raises:
        BundleError: the bundle did not learn from that centre.
    """
    bundle = runner.bundle
    calibrated = calibration(bundle, centre)
    done: list[str] = []
    imputed: list[tuple[str, ...]] = []
    answers: list[Floats] = [np.empty((0, len(bundle.view.classes)))]
    ood: list[Floats] = [np.empty(0)]
    problems: list[Problem] = []
    for names, pixels in _batches(runner, images, batch, problems):
        filled = [bundle.imputer.fill(patients.get(name, Patient())) for name in names]
        said = runner(pixels, vectors(filled))
        answers.append(calibrated.probabilities(said.logits))
        if said.ood_scores is not None:
            ood.append(said.ood_scores)
        imputed += [patient.imputed for patient in filled]
        done += names
    scored = Scored(
        done,
        np.concatenate(answers),
        imputed,
        np.concatenate(ood) if bundle.ood_sha256 else None,
        bundle.view,
        calibrated.prior,
    )
    return scored, problems


def calibration(bundle: Bundle, centre: str | None) -> Calibration:
    """Return how logits become probabilities for images of one centre, or of any.

    Raises:
        BundleError: the bundle did not learn from that centre.
    """
    return bundle.calibration if centre is None else bundle.calibration.told(centre)


def write_csv(scored: Scored, layout: str, target: Path) -> None:
    """Write the answers in a challenge's columns; the file is put in place whole.

    Raises:
        DataError: no such format, or no place for the CSV.
        BundleError: the bundle can't answer in it.
    """
    with _replacing(target) as opened:
        _write(scored, layout, opened)


def _write(scored: Scored, layout: str, opened: TextIO) -> None:
    csv.writer(opened, lineterminator="\n").writerows(formats.lines(scored, layout))


@contextmanager
def _replacing(target: Path) -> Iterator[TextIO]:
    """Open a scratch file beside `target`; on success it is renamed to it, on an error removed."""
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        opened = scratch.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise _unwritable(target, error) from None
    try:
        with opened:
            yield opened
        scratch.replace(target)
    except OSError as error:
        if error.filename not in (None, str(scratch)):  # of another file
            raise
        raise _unwritable(target, error) from None
    finally:
        scratch.unlink(missing_ok=True)


def _unwritable(target: Path, error: OSError) -> DataError:
    return DataError(f"it can't be written: {error.strerror}", str(target), "Give another path for the CSV.")


def _batches(
    runner: Runner, images: Mapping[str, Callable[[], bytes]], batch: int, problems: list[Problem]
) -> Iterator[tuple[list[str], Pixels]]:
    """Give the readable images of each batch, one array a recipe; note the others in `problems`."""
    names = list(images)
    with ThreadPoolExecutor(READERS) as pool:
        for start in range(0, len(names), batch):
            chosen = names[start : start + batch]
            good: dict[str, Pixels] = {}
            for name, read in zip(chosen, pool.map(partial(_pixels, runner, images), chosen), strict=True):
                if isinstance(read, str):
                    problems.append((name, read))
                else:
                    good[name] = read
            if good:
                recipes = next(iter(good.values()))
                yield list(good), {at: np.concatenate([one[at] for one in good.values()]) for at in recipes}


def _pixels(runner: Runner, images: Mapping[str, Callable[[], bytes]], name: str) -> Pixels | str:
    """Return one image's pixels, shape (1, ...) a recipe, or why it can't be read."""
    try:
        return runner.pixels([images[name]()])
    except DataError as error:
        return error.what
    except OSError as error:
        return error.strerror or "can't be opened"
