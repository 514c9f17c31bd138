"""Fetch a release from the challenge's public archive.

Each file is written as `<name>.part`, tried again after a failure, held against what the server states of it
(see checksums), and only then given its name. After a cut a zip is continued where the server allows (Range).
A table begins anew: where no checksum is stated nothing would tell that it is halves of two versions.
Images stay in their zips: ingest reads them from there. What SHA256SUMS already lists is not fetched again.
"""

import errno
import http.client
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from dermaflow.errors import DataError
from dermaflow.releases import checksums
from dermaflow.releases.checksums import Stated

BASE_URLS: Final = (
    "https://isic-challenge-data.s3.amazonaws.com",
    "https://isic-archive.s3.amazonaws.com/challenges",
)
"""Where the challenge gives its files out, tried in turn. Below: /<year>/<file>."""

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
"""In a row that bring no byte more than there was before."""

WRONG: Final = 2
"""Whole files that don't fit the server's statement, before giving up."""

PAUSE_S: Final = 1.0
"""Seconds before the second try; doubled for each further one."""

LONGEST_PAUSE_S: Final = 60.0
TIMEOUT_S: Final = 60.0
_BLOCK: Final = 1 << 20
_OF_THE_DISK: Final = {
    errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EISDIR, errno.ENOSPC, errno.EPERM, errno.EROFS,
}  # fmt: skip
"""What no server can mend."""
_PARTIAL, _TOO_FAR, _NOT_FOUND, _FORBIDDEN = 206, 416, 404, 403

Progress = Callable[[str, int, int | None], None]
"""Called with the file's name, the bytes there, and the bytes in all (None if the server does not say)."""


@dataclass(frozen=True)
class Fetched:
    """One file of the release.

    Attributes:
        path: where it lies.
        size: bytes.
        how: what it was held against, in words.
        new: it was fetched in this run.
    """

    path: Path
    size: int
    how: str
    new: bool


def download(
    year: int,
    to: Path,
    base_urls: Sequence[str] = BASE_URLS,
    progress: Progress | None = None,
    pause_s: float = PAUSE_S,
    *,
    verify: bool = False,
) -> list[Fetched]:
    """Fetch all files of a year; what is complete is left as it is.

    Args:
        year: 2018, 2019 or 2020.
        to: folder of the release; made if absent.
        base_urls: tried in turn, each time a file fails.
        progress: told how far each file is.
        pause_s: before the second try of a file.
        verify: read the files that are there through and compare their SHA-256 with SHA256SUMS; else only
            their length.

    Returns:
        The files, and what each was held against.

    Raises:
        DataError: the year is unknown, a file can't be had, does not fit what the server or SHA256SUMS says
            of it, or the disk is too full for it.
    """
    if year not in FILES:
        raise DataError(f"no release of {year}", "download", f"Use one of {', '.join(map(str, FILES))}.")
    for base in base_urls:
        if not _is_web_address(base):
            raise DataError(f"{base!r} is no web address", "download", "Begin it with https://.")
    to.mkdir(parents=True, exist_ok=True)
    files = []
    for name in FILES[year]:
        urls = [f"{base.rstrip('/')}/{year}/{name}" for base in base_urls]
        if (to / name).exists():
            files.append(_there(urls, to / name, verify=verify))
        else:
            files.append(_fetch(urls, to / name, progress, pause_s))
    return files


def _is_web_address(base: str) -> bool:
    try:
        parts = urlsplit(base)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def _there(urls: Sequence[str], target: Path, *, verify: bool) -> Fetched:
    """Check a file that is there: against SHA256SUMS, or against the server if that does not list it."""
    known = checksums.recorded(target.parent).get(target.name)
    size = target.stat().st_size
    wrong = None
    if known is None:
        said = _ask(urls)
        found = checksums.check(target, said)
        wrong = found.wrong
    elif size != known.size:
        wrong = f"it has {size:,} bytes, {checksums.SUMS} says {known.size:,}"
    elif verify:
        found = checksums.check(target, Stated())
        if found.sha256 != known.sha256:
            wrong = f"its sha256 is {found.sha256}, {checksums.SUMS} says {known.sha256}"
    if wrong is not None:
        raise DataError(wrong, target.name, "Remove it (or move it away) and run the same command again.")
    if known is None:
        if said is not None:  # else the next run asks again
            checksums.record(target.parent, target.name, found)
        return Fetched(target, size, found.how, new=False)
    how = f"sha256 as in {checksums.SUMS}" if verify else f"length as in {checksums.SUMS}"
    return Fetched(target, size, how, new=False)


def _ask(urls: Sequence[str]) -> Stated | None:
    """Return the first server's statement about a file; None if none answers."""
    for url in urls:
        try:
            with _open(url, method="HEAD") as response:
                return checksums.stated(_headers(response), _extent(response, 0)[1], whole=True)
        except (OSError, http.client.HTTPException, _Incomplete):
            continue
    return None


def _fetch(urls: list[str], target: Path, progress: Progress | None, pause_s: float) -> Fetched:
    part = target.with_name(f"{target.name}.part")
    problem = "not tried"
    failed, wrong, number, most = 0, 0, 0, 0
    gone: set[str] = set()
    while failed < TRIES and wrong < WRONG and len(gone) < len(urls):
        url = urls[number % len(urls)]
        number += 1
        if url in gone:
            continue
        wait = 0.0
        try:
            said = _continue(url, part, target.name, progress)
            found = checksums.check(part, said)
            if found.wrong is None:
                part.replace(target)
                checksums.record(target.parent, target.name, found)
                return Fetched(target, found.size, found.how, new=True)
            problem = found.wrong
            part.unlink()
            wrong += 1
        except urllib.error.HTTPError as error:
            problem = f"the server answered {error.code} {error.reason}"
            wait = _retry_after(error)
            if error.code in {_NOT_FOUND, _FORBIDDEN}:
                gone.add(url)
            error.close()
        except (OSError, http.client.HTTPException, _Incomplete) as error:
            if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
                raise DataError(
                    f"it can't be written: {error.strerror}",
                    str(target),
                    "Make room there, or give another folder, and run the same command again.",
                ) from None
            problem = str(error) or type(error).__name__
        have = _kept(part)
        failed = 0 if have > most else failed + 1
        most = max(most, have)
        if url not in gone and failed < TRIES and wrong < WRONG:
            time.sleep(min(LONGEST_PAUSE_S, max(wait, pause_s * 2 ** max(0, failed - 1))))
    raise DataError(
        f"could not be fetched: {problem} ({_kept(part):,} bytes are kept)",
        target.name,
        "Run the same command again; a zip goes on where it stopped. If it stays so, try --mirror.",
    )


def _kept(part: Path) -> int:
    """Return the bytes that the next try goes on from: those of a zip."""
    return part.stat().st_size if part.name.endswith(".zip.part") and part.exists() else 0


class _Incomplete(Exception):  # noqa: N818 - never leaves this module
    """The connection ended before the length that was named."""


def _retry_after(error: urllib.error.HTTPError) -> float:
    """Return the seconds that a busy server asks for; 0 if it does not say."""
    value = error.headers.get("Retry-After") or ""
    return float(value) if value.isdigit() else 0.0


def _open(url: str, have: int = 0, method: str = "GET") -> http.client.HTTPResponse:
    headers = {"x-amz-checksum-mode": "ENABLED", "User-Agent": "dermaflow"}
    headers |= {"Range": f"bytes={have}-"} if have else {}
    request = urllib.request.Request(url, headers=headers, method=method)  # noqa: S310 - see download
    response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT_S)  # noqa: S310
    return response


def _headers(response: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _continue(url: str, part: Path, name: str, progress: Progress | None) -> Stated:
    """Append what is missing to the part; from the start if it is no zip or the server can't skip.

    Returns:
        The server's statement about the whole file.
    """
    have = _kept(part)
    try:
        response = _open(url, have)
    except urllib.error.HTTPError as error:
        if error.code == _TOO_FAR and have:
            return _all_there(error, url, part, have)
        raise
    with response:
        try:
            start, total = _extent(response, have)
        except _Incomplete:
            part.unlink()  # else it would be asked for again and again
            raise
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
        said = checksums.stated(_headers(response), total, whole=response.status != _PARTIAL)
        ranged = response.status == _PARTIAL
    if total is not None and have != total:
        if have > total:
            part.unlink()
        raise _Incomplete(f"{have:,} of {total:,} bytes came")
    if ranged and not said.digests:
        whole = _ask([url]) or Stated()
        return whole if whole.digests or (whole.etag and not said.etag) else said
    return said


def _all_there(error: urllib.error.HTTPError, url: str, part: Path, have: int) -> Stated:
    """Judge a part that a server has nothing to add to: it is whole, or of another version."""
    total = (error.headers.get("Content-Range") or "").rpartition("/")[2]
    error.close()
    if total.isdigit() and int(total) == have:
        return _ask([url]) or Stated(size=have)
    part.unlink()
    raise _Incomplete("what was kept does not fit the server's file") from None


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
