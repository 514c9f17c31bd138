"""One door to the readers of all releases."""

from pathlib import Path
from types import ModuleType
from typing import Final

import pandas as pd

from dermaflow.errors import DataError
from dermaflow.releases import isic2018, isic2019, isic2020

READERS: Final[dict[str, ModuleType]] = {"isic2018": isic2018, "isic2019": isic2019, "isic2020": isic2020}


def reader(release: str) -> ModuleType:
    """Return the module that reads a release.

    Raises:
        DataError: no such release is known.
    """
    try:
        return READERS[release]
    except KeyError:
        raise DataError(
            f"{release} is no known release", "params.yaml, releases", f"Use {', '.join(READERS)}."
        ) from None


def read(release: str, folder: Path) -> pd.DataFrame:
    """Read a release's published tables into rows of outputs.releases.

    Args:
        release: isic2018, isic2019 or isic2020.
        folder: data/<release>, in the layout of the challenge, of Kaggle or of HAM10000's Dataverse.

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


def find_release(root: Path, release: str) -> Path:
    """Return the folder of a release below a root that names it by release or by year.

    Raises:
        DataError: neither is there.
    """
    reader(release)
    for name in (release, release.removeprefix("isic")):
        if (root / name).is_dir():
            return root / name
    raise DataError(
        f"neither {release}/ nor {release.removeprefix('isic')}/ is there",
        str(root),
        "Put the release's published files into one of them.",
    )
