"""Image bytes by id, from folders, unopened zips, or links to either, below one release's folder.

In: the release's folder and, for each part, the names that its image folders may have. Out: a `Source`
with one entry an image file, sorted by id, and their bytes. It goes to worker processes as plain data;
each process opens its zips once.
"""

import lzma
import os
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Final

from dermaflow.errors import DataError, first_ten

EXTENSIONS: Final = frozenset({".jpg", ".jpeg", ".png"})
"""Endings of image files, in any case; what a file really holds is found out when it is decoded."""
DAMAGED: Final = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError)
"""What reading a member of a zip may raise, besides OSError: broken, cut off, encrypted, packed otherwise."""
_INSIDE: Final = ".zip/"


@dataclass(frozen=True)
class Entry:
    """One image file.

    Attributes:
        image_id: its name without folder and extension.
        part: train, validation or test: in whose folder it lies.
        file: path below the release's folder; the name inside a zip follows `.zip/`.
    """

    image_id: str
    part: str
    file: str


@dataclass(frozen=True)
class Source:
    """The image files of one release, sorted by id."""

    root: Path
    entries: tuple[Entry, ...]

    def __len__(self) -> int:
        """Count the image files."""
        return len(self.entries)

    def __contains__(self, image_id: object) -> bool:
        """Tell whether there is a file of this id."""
        return image_id in self._by_id

    def entry(self, image_id: str) -> Entry:
        """Return where an image lies.

        Raises:
            DataError: there is no file of this id.
        """
        try:
            return self._by_id[image_id]
        except KeyError:
            raise DataError(f"no file of image {image_id}", str(self.root), "Check the image's id.") from None

    def read(self, image_id: str) -> bytes:
        """Return the bytes of an image file.

        Raises:
            DataError: there is no file of this id, or it can't be read.
        """
        return read_file(self.root, self.entry(image_id).file)

    @cached_property
    def _by_id(self) -> dict[str, Entry]:
        return {entry.image_id: entry for entry in self.entries}


def open_source(root: Path, folders: Mapping[str, Sequence[str]]) -> Source:
    """Find the image files of a release.

    Args:
        root: the release's folder.
        folders: part to the names that its image folders may have below `root` (`.` is the root itself). Each
            that is there counts, as a folder or as `<name>.zip` (the folder, where both are there), whatever
            lies how deep in it. None needs to be: a release's images may lie in another one's folder.

    Raises:
        DataError: a zip is damaged, holds images that the folder of its name lacks, or two files have the
            same id.
    """
    entries: list[Entry] = []
    homes: set[Path] = set()
    walked: set[Path] = set()
    for part, names in folders.items():
        for name in names:
            home = _home(root, name)
            zipped = home is not None and home.suffix == ".zip" and home.is_file()
            if home is None or home.resolve() in homes:
                continue
            if home.is_dir():
                _refuse_half_unpacked(home, root / f"{name}.zip")
            if not zipped and walked.intersection(home.parents):
                continue  # its files were found in the folder above
            homes.add(home.resolve())
            walked.add(home)
            below = "" if home == root else f"{home.relative_to(root).as_posix()}/"
            files = _zipped(home) if zipped else _unpacked(home)
            entries += [Entry(_image_id(file), part, f"{below}{file}") for file in files]
    _refuse_repeats(entries, root)
    _refuse_names(entries, root)
    return Source(root, tuple(sorted(entries, key=lambda entry: entry.image_id)))


def listed(root: Path, image_ids: Iterable[str], parts: Iterable[str], files: Iterable[str]) -> Source:
    """Make a source of files that a table of facts lists (columns image_id, part, file); opens nothing."""
    entries = (Entry(*row) for row in zip(image_ids, parts, files, strict=True))
    return Source(root, tuple(sorted(entries, key=lambda entry: entry.image_id)))


def read_file(root: Path, file: str) -> bytes:
    """Return the bytes of one file, given as in `Entry.file`.

    Raises:
        DataError: it is absent or can't be read.
    """
    archive, inside, member = file.partition(_INSIDE)
    path = root / file
    try:
        if not inside or path.is_file():
            return path.read_bytes()
        path = root / f"{archive}.zip"
        facts = path.stat()
        return _archive(path, os.getpid(), facts.st_mtime_ns, facts.st_size).read(member)
    except FileNotFoundError:
        raise DataError("no such file", file, "Put it there, or run the stage ingest again.") from None
    except (OSError, KeyError, ValueError, *DAMAGED) as error:
        raise DataError(f"can't be read: {error}", file, "Take the file again from where it came.") from None


@lru_cache(maxsize=16)
def _archive(path: Path, process: int, changed_ns: int, size: int) -> zipfile.ZipFile:
    """Open a zip once a process; a file that changed is opened anew."""
    del process, changed_ns, size
    return zipfile.ZipFile(path)


def _home(root: Path, name: str) -> Path | None:
    return next((path for path in (root / name, root / f"{name}.zip") if path.exists()), None)


def _refuse_half_unpacked(home: Path, zipped: Path) -> None:
    if not zipped.is_file():
        return
    absent = sorted(set(map(_image_id, _zipped(zipped))) - set(map(_image_id, _unpacked(home))))
    if absent:
        raise DataError(
            f"{len(absent):,} images of {zipped.name} are not in the folder {home.name}: {first_ten(absent)}",
            str(home.parent),
            "Unpack the zip again; or move it away, if they are left out on purpose; or remove the folder: "
            "images are read from the zip as well.",
        )


def _unpacked(home: Path) -> Iterator[str]:
    for folder, _, files in os.walk(home, followlinks=True):
        below = Path(folder).relative_to(home)
        yield from ((below / file).as_posix() for file in files if _is_image(file))


def _zipped(home: Path) -> Iterator[str]:
    try:
        with zipfile.ZipFile(home) as archive:
            names = archive.namelist()
    except (OSError, *DAMAGED) as error:
        raise DataError(f"not a whole zip file: {error}", home.name, "Download it again.") from None
    yield from (name for name in names if _is_image(name) and "__MACOSX" not in name)


def _image_id(file: str) -> str:
    return PurePosixPath(file.replace("\\", "/")).stem  # some zips made on Windows have the other slash


def _is_image(file: str) -> bool:
    path = PurePosixPath(file)
    return path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")


def _refuse_repeats(entries: list[Entry], root: Path) -> None:
    files: defaultdict[str, list[str]] = defaultdict(list)
    for entry in entries:
        files[entry.image_id].append(entry.file)
    repeated = {image_id: found for image_id, found in sorted(files.items()) if len(found) > 1}
    if repeated:
        listed = first_ten(" and ".join(sorted(found)) for found in repeated.values())
        raise DataError(
            f"{len(repeated)} image ids have two files: {listed}", str(root), "Leave one file an image."
        )


def _refuse_names(entries: list[Entry], root: Path) -> None:
    """No table can hold a name that is not UTF-8."""
    foreign = [
        repr(entry.file) for entry in entries if entry.file != entry.file.encode(errors="ignore").decode()
    ]
    if foreign:
        raise DataError(
            f"{len(foreign)} image files have names that are not UTF-8: {first_ten(foreign)}",
            str(root),
            "Rename them.",
        )
