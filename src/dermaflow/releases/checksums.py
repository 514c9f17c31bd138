"""Hold a downloaded file against what its server states of it, and keep its checksum beside it.

The challenge publishes no list of checksums, so the server's own statements are used, in this order: SHA-256
or SHA-1 of the whole object (x-amz-checksum-*), MD5 (Content-MD5), the ETag of S3, which is the MD5 of a file
stored in one piece and the MD5 of the parts' MD5s of one stored in several (its part size is guessed among
those that uploaders use). Where nothing of that can be compared, a zip is read through and the CRC-32 of each
member compared; any other file has only its length.

SHA256SUMS in the release's folder keeps each file's SHA-256 in the form of `sha256sum --check`, under a
comment with its length and what was compared.
"""

import base64
import binascii
import hashlib
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dermaflow.sources import DAMAGED

SUMS: Final = "SHA256SUMS"
MIB: Final = 1 << 20
PART_SIZES: Final = tuple(
    [n * MIB for n in (5, 6, 7, 8, 10, 12, 15, 16, 20, 24, 25, 32, 50, 64, 100, 128, 200, 256, 512)]
    + [n * 1_000_000 for n in (5, 8, 10, 16, 50, 100)]
)
"""Bytes; part sizes that uploaders to S3 use (aws-cli 8 MiB, s3cmd 15 MiB, the console 16 MiB, ...)."""

_BLOCK: Final = MIB
_ANY_BYTES: Final = "surrogateescape"  # others' lines are kept as they are
_ETAG: Final = re.compile(r'"?([0-9a-f]{32})(?:-(\d+))?"?')
_NO_TABLE: Final = {b"<": "a web page", b"\x1f\x8b": "packed by gzip", b"PK": "a zip"}
_LINE: Final = re.compile(r"# (\d+) bytes, (.*)\n([0-9a-f]{64}) [ *](.+)\n")


@dataclass(frozen=True)
class Stated:
    """What a server says of a whole file.

    Attributes:
        size: bytes; None if not said.
        digests: hash's name to its value in hex: sha256, sha1, md5.
        etag: MD5 in hex, or the MD5 of the parts' MD5s; None if it can't be one.
        parts: number of parts behind the ETag; 0 if it is the MD5 of the whole.
        from_s3: the server is S3, whose ETags are MD5s unless it encrypts.
    """

    size: int | None = None
    digests: tuple[tuple[str, str], ...] = ()
    etag: str | None = None
    parts: int = 0
    from_s3: bool = False


@dataclass(frozen=True)
class Checked:
    """What came of holding a file against a statement.

    Attributes:
        sha256: hex, of what lies on the disk.
        size: bytes.
        how: what was compared, for people.
        wrong: what does not fit; None if all does.
    """

    sha256: str
    size: int
    how: str
    wrong: str | None = None


def stated(headers: Mapping[str, str], size: int | None, *, whole: bool) -> Stated:
    """Read a server's statement.

    Args:
        headers: of the answer; names in lower case.
        size: the whole file's length, bytes, as worked out from the answer.
        whole: the answer is about the whole file; one about a range says only the ETag of the whole.
    """
    digests = {}
    if whole:
        for name, header in (
            ("sha256", "x-amz-checksum-sha256"),
            ("sha1", "x-amz-checksum-sha1"),
            ("md5", "content-md5"),
        ):
            value = _from_base64(
                headers.get(header, ""), hashlib.new(name, usedforsecurity=False).digest_size
            )
            if value is not None:
                digests[name] = value
    found = _ETAG.fullmatch(headers.get("etag", "").lower())
    encrypted = headers.get("x-amz-server-side-encryption", "AES256") != "AES256"
    return Stated(
        size=size,
        digests=tuple(digests.items()),
        etag=None if found is None or encrypted else found[1],
        parts=int(found[2] or 0) if found is not None else 0,
        from_s3="x-amz-request-id" in headers or headers.get("server") == "AmazonS3",
    )


def _from_base64(value: str, length: int) -> str | None:
    """Return a digest in hex; None where it is none of this length (S3 adds -N to one made of parts)."""
    try:
        digest = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
    return digest.hex() if len(digest) == length else None


def check(path: Path, answer: Stated | None) -> Checked:
    """Hold a file against its server's statement.

    Args:
        path: the file, whole.
        answer: see `stated`; None if no server answered.
    """
    said = answer or Stated()
    size = path.stat().st_size
    names = {"sha256", *(name for name, _ in said.digests), *(["md5"] if said.etag else [])}
    own = _hash(path, names, _part_sizes(size, said.parts))
    how, wrong = _compare(size, own, said)
    if not (how or wrong):
        how, wrong = _by_itself(path, answer)
    return Checked(own.digests["sha256"], size, how, wrong)


def _compare(size: int, own: "_Hashes", said: Stated) -> tuple[str, str | None]:
    """Say what was compared, or what is wrong; nothing of both where the server states too little."""
    if said.size is not None and size != said.size:
        return "", f"it has {size:,} bytes, the server states {said.size:,}"
    for name, value in said.digests:
        if own.digests[name] != value:
            return "", f"its {name} is {own.digests[name]}, the server states {value}"
    how = ""
    if said.digests:
        how = f"{' and '.join(name for name, _ in said.digests)} as the server states"
    elif said.etag is not None and not said.parts and own.digests["md5"] == said.etag:
        how = "md5 as the server states (ETag)"
    elif said.etag is not None and not said.parts and said.from_s3:
        return "", f"its md5 is {own.digests['md5']}, the server states {said.etag} (ETag)"
    for part, value in own.of_parts.items():
        if not how and value == said.etag:
            how = f"md5 of parts of {part:,} bytes as the server states (ETag)"
    return how, None


def _by_itself(path: Path, answer: Stated | None) -> tuple[str, str | None]:
    """Check what needs no server: the CRC-32 of each member of a zip; that a table begins as one."""
    silent = "the server states no checksum that can be compared"
    if answer is None:
        silent = "no server says anything of it"
    if not path.name.removesuffix(".part").endswith(".zip"):
        with path.open("rb") as file:
            begins = file.read(256).lstrip()
        what = next((what for sign, what in _NO_TABLE.items() if begins.startswith(sign)), "")
        if what or not begins:
            return "", f"it is no table but {what or 'empty'}"
        length = "nothing" if answer is None or answer.size is None else "length only"
        return f"{length}: {silent}", None
    try:
        with zipfile.ZipFile(path) as box:
            members = len(box.namelist())
            damaged = box.testzip()
    except (OSError, *DAMAGED) as error:
        return "", f"it is no whole zip ({error})"
    if damaged is not None:
        return "", f"the CRC of {damaged} inside is wrong"
    return f"CRC of each of {members:,} files inside; {silent}", None


@dataclass(frozen=True)
class _Hashes:
    digests: dict[str, str]
    of_parts: dict[int, str]


def _part_sizes(size: int, parts: int) -> list[int]:
    """Return the part sizes in bytes that cut a file into so many parts: the usual ones, and whole MiB."""
    if not parts:
        return []
    usual = [part for part in PART_SIZES if -(-size // part) == parts]
    least = max(1, -(-size // parts // MIB))
    near = [n * MIB for n in range(least, least + 3) if -(-size // (n * MIB)) == parts]
    return sorted({*usual, *near, *([size] if parts == 1 and size else [])})


def _hash(path: Path, names: Iterable[str], part_sizes: Iterable[int]) -> _Hashes:
    """Read a file once and return its digests, and for each part size the digest of the parts' MD5s."""
    whole = {name: hashlib.new(name, usedforsecurity=False) for name in names}
    parts = {size: _Parts(size) for size in part_sizes}
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            for digest in whole.values():
                digest.update(block)
            for part in parts.values():
                part.update(block)
    return _Hashes(
        {name: digest.hexdigest() for name, digest in whole.items()},
        {size: part.hexdigest() for size, part in parts.items()},
    )


class _Parts:
    """MD5 of the MD5s of a file's parts."""

    def __init__(self, size: int) -> None:
        self.size, self.left = size, size
        self.outer = hashlib.md5(usedforsecurity=False)
        self.inner = hashlib.md5(usedforsecurity=False)

    def update(self, block: bytes) -> None:
        view = memoryview(block)
        while len(view) >= self.left:
            self.inner.update(view[: self.left])
            view = view[self.left :]
            self._close()
        self.inner.update(view)
        self.left -= len(view)

    def _close(self) -> None:
        self.outer.update(self.inner.digest())
        self.inner = hashlib.md5(usedforsecurity=False)
        self.left = self.size

    def hexdigest(self) -> str:
        if self.left < self.size:
            self._close()
        return self.outer.hexdigest()


def recorded(folder: Path) -> dict[str, Checked]:
    """Return what SHA256SUMS of a folder says of the files that were downloaded, by file name."""
    return {name: Checked(sha256, int(size), how) for size, how, sha256, name in _LINE.findall(_sums(folder))}


def record(folder: Path, name: str, found: Checked) -> None:
    """Put a file's line into SHA256SUMS, sorted by name, before lines of others; it is replaced whole."""
    lines = recorded(folder) | {name: found}
    text = "".join(
        f"# {one.size} bytes, {one.how}\n{one.sha256}  {file}\n" for file, one in sorted(lines.items())
    )
    scratch = folder / f"{SUMS}.part"
    scratch.write_text(text + _LINE.sub("", _sums(folder)), encoding="utf-8", errors=_ANY_BYTES)
    scratch.replace(folder / SUMS)


def _sums(folder: Path) -> str:
    path = folder / SUMS
    return path.read_text(encoding="utf-8", errors=_ANY_BYTES) if path.is_file() else ""
