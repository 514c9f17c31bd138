"""Fetch a release from the challenge's public archive.

Each file is written as `<name>.part`, continued after a cut where the server allows (Range), tried again
after a failure, compared with the length that the server names, and only then given its name. Images stay
in their zips: ingest reads them from there.
"""

import http.client
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from dermaflow.errors import DataError

BASE_URLS: Final = ("https://isic-challenge-data.s3.amazonaws.com",)
"""Where the challenge gives its files out; others may mirror it. Below: /<year>/<file>."""

FILES: Final = {
    2018: (
        "ISIC2018_Task3_Training_GroundTruth.zip",
        "ISIC2018_Task3_Training_LesionGroupings.csv",
        "ISIC2018_Task3_Validation_GroundTruth.zip",
        "ISIC2018_Task3_Training_Input.zip",
        "ISIC2018_Task3_Validation_Input.zip",
        "ISIC2018_Task3_Test_Input.zip",
    ),
    2019: (
        "ISIC_2019_Training_GroundTruth.csv",
        "ISIC_2019_Training_Metadata.csv",
        "ISIC_2019_Test_Metadata.csv",
        "ISIC_2019_Training_Input.zip",
        "ISIC_2019_Test_Input.zip",
    ),
    2020: (
        "ISIC_2020_Training_GroundTruth.csv",
        "ISIC_2020_Training_Duplicates.csv",
        "ISIC_2020_Test_Metadata.csv",
        "ISIC_2020_Training_JPEG.zip",
        "ISIC_2020_Test_JPEG.zip",
    ),
}
TRIES: Final = 6
PAUSE_S: Final = 1.0
"""Seconds before the second try; doubled for each further one."""

TIMEOUT_S: Final = 60.0
_BLOCK: Final = 1 << 20
_PARTIAL, _TOO_FAR, _NOT_FOUND, _FORBIDDEN = 206, 416, 404, 403

Progress = Callable[[str, int, int | None], None]
"""Called with the file's name, the bytes there, and the bytes in all (None if the server does not say)."""


def download(
    year: int,
    to: Path,
    base_urls: Sequence[str] = BASE_URLS,
    progress: Progress | None = None,
    pause_s: float = PAUSE_S,
) -> list[Path]:
    """Fetch all files of a year; what is complete is left as it is.

    Args:
        year: 2018, 2019 or 2020.
        to: folder of the release; made if absent.
        base_urls: tried in this order, each time a file fails.
        progress: told how far each file is.
        pause_s: before the second try of a file.

    Returns:
        The files.

    Raises:
        DataError: the year is unknown, a file can't be had, or the disk is too full for it.
    """
    if year not in FILES:
        raise DataError(f"no release of {year}", "download", f"Use one of {', '.join(map(str, FILES))}.")
    to.mkdir(parents=True, exist_ok=True)
    return [
        _fetch([f"{base.rstrip('/')}/{year}/{name}" for base in base_urls], to / name, progress, pause_s)
        for name in FILES[year]
    ]


def _fetch(urls: list[str], target: Path, progress: Progress | None, pause_s: float) -> Path:
    if target.exists():
        return target
    part = target.with_name(f"{target.name}.part")
    problem = "not tried"
    for number in range(TRIES):
        if number:
            time.sleep(pause_s * 2 ** (number - 1))
        try:
            _continue(urls[number % len(urls)], part, target.name, progress)
        except urllib.error.HTTPError as error:
            problem = f"the server answered {error.code} {error.reason}"
            if error.code in {_NOT_FOUND, _FORBIDDEN} and len(urls) == 1:
                break
        except (OSError, http.client.HTTPException, _Incomplete) as error:
            problem = str(error) or type(error).__name__
        else:
            part.replace(target)
            return target
    kept = part.stat().st_size if part.exists() else 0
    raise DataError(
        f"could not be fetched: {problem} ({kept:,} bytes are kept)",
        target.name,
        "Run the same command again; it goes on where it stopped.",
    )


class _Incomplete(Exception):  # noqa: N818 - never leaves this module
    """The connection ended before the length that was named."""


def _continue(url: str, part: Path, name: str, progress: Progress | None) -> None:
    """Append what is missing to the part, from the start if the server can't skip."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - https, or a test's own server
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code == _TOO_FAR and have:
            part.unlink()  # longer than the file: it is of another version
            raise _Incomplete("what was kept does not fit the server's file") from None
        raise
    with response:
        start, total = _extent(response, have)
        if start != have:
            have = 0
        left = None if total is None else total - have
        if left is not None and left > shutil.disk_usage(part.parent).free:
            raise DataError(f"{left:,} bytes do not fit on the disk", name, "Make room, then run it again.")
        with part.open("ab" if have else "wb") as file:
            while block := response.read(_BLOCK):
                file.write(block)
                have += len(block)
                if progress is not None:
                    progress(name, have, total)
    if total is not None and have != total:
        if have > total:
            part.unlink()
        raise _Incomplete(f"{have:,} of {total:,} bytes came")


def _extent(response: http.client.HTTPResponse, have: int) -> tuple[int, int | None]:
    """Return where the answer starts and how long the whole file is."""
    if response.status == _PARTIAL:
        unit, _, total = (response.headers.get("Content-Range") or "").partition("/")
        start = unit.removeprefix("bytes ").partition("-")[0]
        if start.isdigit() and int(start) == have:
            return have, int(total) if total.isdigit() else None
        raise _Incomplete("the server sent another range than asked")
    length = response.headers.get("Content-Length")
    return 0, int(length) if length is not None and length.isdigit() else None
