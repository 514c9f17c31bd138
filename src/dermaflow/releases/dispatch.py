"""One door to the readers of all releases: three years by name, any other name an archive collection."""

import re
from pathlib import Path
from types import ModuleType
from typing import Final

import pandas as pd

from dermaflow.errors import DataError
from dermaflow.releases import archive, isic2018, isic2019, isic2020

READERS: Final[dict[str, ModuleType]] = {"isic2018": isic2018, "isic2019": isic2019, "isic2020": isic2020}


_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_TAKEN: Final = frozenset({"masks", "lesion_masks"})


def reader(release: str) -> ModuleType:
    """Return the module that reads a release: a year's own, or the archive's for any other name.

    Raises:
        DataError: the name can't be one.
    """
    if release in READERS:
        return READERS[release]
    if not _NAME.fullmatch(release) or release in _TAKEN:
        raise DataError(
            f"{release!r} can't name a release",
            "data",
            f"Use {', '.join(READERS)}, or letters, digits, - and _ for a collection of the archive: rename "
            "its folder, and its name in `releases` of params.yaml.",
        )
    return archive


def read(release: str, folder: Path) -> pd.DataFrame:
    """Read a release's published tables into rows of outputs.releases.

    Args:
        release: isic2018, isic2019, isic2020, or any other name for a collection of the ISIC Archive.
        folder: data/<release>, in the layout of the challenge, of Kaggle, of HAM10000's Dataverse, or of
            isic-cli.

    Raises:
        DataError: the folder or the ground truth is absent, or a table holds what can't be meant.
    """
    module = reader(release)
    if not folder.is_dir():
        raise DataError(
            f"no folder for {release}",
            str(folder),
            "Run `make data ISIC=<folder>`, or remove it from releases.",
        )
    if module is archive and not archive.holds(folder):
        raise DataError(
            f"{release} is no known release, and there is no metadata.csv of the ISIC Archive",
            str(folder),
            f"Use {', '.join(READERS)}, or download the collection with isic-cli into this folder.",
        )
    table: pd.DataFrame = module.read(folder)
    repeated = table["image_id"].duplicated(keep=False)
    if repeated.any():
        ids = table["image_id"][repeated].unique()
        raise DataError(
            f"{len(ids)} images stand in two parts: {', '.join(ids[:10])}",
            release,
            "Take the files as published.",
        )
    return table


def image_folders(release: str) -> dict[str, list[str]]:
    """Return each part's image folders below data/<release>; each may also be a zip of that name."""
    module = reader(release)
    return {part: list(folders) for part, folders in module.FOLDERS.items()}


def folder_names(release: str) -> tuple[str, ...]:
    """Return the names that a release's folder may have: its own, and a year's number."""
    return (release, release.removeprefix("isic")) if release in READERS else (release,)


def find_release(root: Path, release: str) -> Path:
    """Return the folder of a release below a root; a year may be named by release or by number.

    Raises:
        DataError: it is not there, or both names are.
    """
    reader(release)
    names = folder_names(release)
    there = [root / name for name in names if (root / name).is_dir()]
    if len(there) == 1:
        return there[0]
    if there:
        raise DataError(
            f"both {' and '.join(f'{name}/' for name in names)} are there",
            str(root),
            "Put the release's published files into one of them.",
        )
    wanted = " nor ".join(f"{name}/" for name in names)
    raise DataError(
        f"neither {wanted} is there" if len(names) > 1 else f"{wanted} is not there",
        str(root),
        "Put the release's published files into one of them." if len(names) > 1 else "Put it there.",
    )


def collections(root: Path) -> list[str]:
    """Return the names of the folders below a root that are collections of the ISIC Archive, sorted."""
    years = {name for release in READERS for name in folder_names(release)}
    return sorted(
        folder.name
        for folder in root.iterdir()
        if folder.is_dir()
        and folder.name not in years | _TAKEN
        and not folder.name.startswith(".")
        and archive.holds(folder)
    )
