"""The folder data/: what `dvc repro` reads. data.dvc in git says which data that is, by hash.

Only `dermaflow data link` (`make data`) and `dermaflow sample` say which data are meant; everything else
compares. The hashes meant stand in data.dvc's meta, since `dvc repro` itself takes changed data silently and
writes their hashes to the outs. Data lie there as links, never as a second copy, hashed but not cached.
"""

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from dermaflow import outputs
from dermaflow.errors import DataError, first_ten
from dermaflow.params import root

if TYPE_CHECKING:
    from dvc.repo import Repo

MASKS = "masks"
DEMO = "demo"
_BACK = "`git checkout data.dvc` goes back to what was committed."


@dataclass(frozen=True)
class Difference:
    """One out of data.dvc whose content is not what data.dvc says."""

    name: str
    wanted: str
    found: str


@contextmanager
def repository() -> "Iterator[Repo]":
    """Open the project as DVC sees it.

    Raises:
        DataError: there is no DVC project here, or dvc.yaml or a file that it reads is not what DVC expects.
    """
    from dvc.exceptions import DvcException  # noqa: PLC0415 - half a second
    from dvc.repo import Repo  # noqa: PLC0415

    try:
        with Repo(str(root())) as repo:
            yield repo
    except DvcException as error:
        raise DataError(
            " ".join(str(error).split()), "DVC", "Run in the project's root, and mend what is named."
        ) from None


def drop_torn_lock() -> None:
    """Remove DVC's list of who reads and writes what, if a full disk tore it: DVC starts no more with it."""
    from dvc.lock import make_lock  # noqa: PLC0415 - half a second

    folder = root() / ".dvc" / "tmp"
    listed = folder / "rwlock"
    if not listed.exists():
        return
    with make_lock(str(folder / "rwlock.lock"), tmp_dir=str(folder)):  # else DVC may be writing it
        try:
            json.loads(listed.read_text(encoding="utf-8"))
        except ValueError:
            listed.unlink()


@contextmanager
def alone(folder: Path) -> "Iterator[None]":
    """Keep DVC out of a folder.

    Raises:
        DataError: a process of DVC works in this project, or runs a stage that reads or writes there.
    """
    from dvc.lock import LockError  # noqa: PLC0415 - half a second
    from dvc.rwlock import rwlock  # noqa: PLC0415

    with repository() as repo:
        try:
            with repo.lock, rwlock(repo.tmp_dir, repo.fs, "dermaflow repro", [], [str(folder)], False):
                yield
        except LockError as error:
            raise DataError(
                " ".join(str(error).split()).rstrip("."),
                folder.name,
                "Wait until it has ended, or work in a git worktree.",
            ) from None


def data_dir() -> Path:
    """Return data/ in the project's root."""
    return root() / "data"


def is_demo() -> bool:
    """Tell whether data.dvc speaks of the drawn demo release."""
    return bool(_declared().get("meta", {}).get("source") == DEMO)


def differences() -> list[Difference]:
    """Compare data/ with data.dvc, by DVC's own hashes."""
    found = []
    wanted = _wanted()
    with repository() as repo:
        for stage in repo.stage.load_all("data.dvc"):
            for out in stage.outs:
                now = "nothing"
                if (root() / out.def_path).exists():  # DVC's own `exists` is true for a link to nothing
                    now = str(out.get_hash().value)
                if now != wanted[out.def_path]:
                    found.append(Difference(out.def_path, wanted[out.def_path], now))
    return found


def verify() -> None:
    """Make sure that data/ is what data.dvc says.

    Raises:
        DataError: names the wanted and the found hash, and the command.
    """
    _refuse(differences())


def verify_declared() -> None:
    """Make sure that the hashes that DVC wrote to data.dvc before this stage are those that are meant.

    Opens nothing but data.dvc. Called by the stages ingest and stress; where DVC has seen the other data
    before it takes their outputs from its cache, and only `verify` (`make repro`) notices.

    Raises:
        DataError: as `verify`, or data.dvc names a source but not the hashes that are meant: then DVC's own
            are those of whatever data it found.
    """
    meta = _declared().get("meta", {})
    unsaid = [name for name in _hashed() if name not in meta.get("md5", {})] if "source" in meta else []
    if unsaid:
        declares = "`dermaflow sample data --replace`" if is_demo() else "`make data ISIC=DIR`"
        raise DataError(
            f"which data are meant is not said of {first_ten(unsaid)}",
            "data.dvc, meta.md5",
            f"{declares} names the data and writes data.dvc anew; {_BACK}",
        )
    wanted = _wanted()
    _refuse([Difference(name, wanted[name], md5) for name, md5 in _hashed().items() if md5 != wanted[name]])


def _refuse(wrong: list[Difference]) -> None:
    if not wrong:
        return
    what = "; ".join(f"{item.name}: wanted {item.wanted}, found {item.found}" for item in wrong)
    remedy = (
        "`rm -r data && make repro` draws the demo again; `make data ISIC=DIR` takes your own data."
        if is_demo()
        else f"`make data ISIC=DIR` takes the data in DIR and updates data.dvc; {_BACK}"
    )
    raise DataError(f"the data differ from data.dvc: {what}", "data/", remedy)


def put(entries: Mapping[str, Path], *, source: str) -> None:
    """Link folders into data/ and let DVC write their hashes to data.dvc.

    Args:
        entries: name below data/ (a release, or masks) to the folder it stands for.
        source: what stands in data.dvc's meta: `demo` or `isic`.

    Raises:
        DataError: data/ holds something that is neither a link nor the untouched demo (the user's files are
            never removed), or a folder to link lies in data/ itself or holds a link to a folder or nowhere;
            or this is no project of DVC's, or one that something else works in.
    """
    _require_free_project()
    target = data_dir()
    real = {name: folder.resolve() for name, folder in entries.items()}  # data/ itself may be named
    for name, folder in real.items():
        _refuse_what_dvc_cannot_follow(name, folder)
    _clear_links(target, keep=real)
    target.mkdir(exist_ok=True)
    for name, folder in real.items():
        (target / name).symlink_to(os.path.relpath(folder, target.resolve()))
    if MASKS not in entries:
        (target / MASKS).mkdir(exist_ok=True)
    declare([*entries, *([] if MASKS in entries else [MASKS])], source=source)


def _require_free_project() -> None:
    from dvc.exceptions import DvcException  # noqa: PLC0415 - half a second

    with repository() as repo:
        try:
            with repo.lock:
                pass
        except DvcException as error:
            raise DataError(
                f"data/ can't be changed now: {' '.join(str(error).split())}",
                "DVC",
                "Wait for what runs in this project, then try again.",
            ) from None


def declare(names: list[str], *, source: str) -> None:
    """Hash what lies in data/ now and put data.dvc in place whole: DVC's hashes and, the same, those meant.

    Whatever ends it before that (a folder that is absent, Ctrl-C, a kill) leaves data.dvc as it was, so that
    data already changed differ from it and are refused.

    Args:
        names: entries of data/.
        source: what stands in data.dvc's meta: `demo` or `isic`.

    Raises:
        DataError: DVC can't hash an entry.
    """
    outs = _hash([f"data/{name}" for name in names])
    meant = {out["path"]: out["md5"] for out in outs}
    text = yaml.safe_dump({"meta": {"source": source, "md5": meant}, "outs": outs}, sort_keys=False)
    outputs.write_text(root() / "data.dvc", text)


def _hash(paths: list[str]) -> list[dict[str, Any]]:
    """Return the outs of data.dvc as `dvc commit` would write them; what it hashed is not hashed again."""
    from dvc.exceptions import DvcException  # noqa: PLC0415 - half a second
    from dvc.stage import Stage, create_stage  # noqa: PLC0415

    logging.getLogger("dvc.output").setLevel(logging.ERROR)  # it warns of data/masks where there are none
    with repository() as repo:
        try:
            with repo.lock:
                stage = create_stage(
                    Stage, repo, str(root() / "data.dvc"), wdir=str(root()), outs_no_cache=paths
                )
                stage.save(run_cache=False)
        except DvcException as error:
            raise DataError(
                f"DVC could not hash the data: {' '.join(str(error).split())}",
                "data.dvc",
                "Mend that and try again.",
            ) from None
        return [{"path": out.def_path, "cache": False, **out.dumpd()} for out in stage.outs]


def _refuse_what_dvc_cannot_follow(name: str, folder: Path) -> None:
    """DVC follows a link to a file and the release's own, but passes over a linked folder without a word."""
    for above, folders, files in os.walk(folder):
        nowhere = [Path(above) / file for file in files if not (Path(above) / file).exists()]
        if nowhere:
            raise DataError(
                f"{first_ten(nowhere)} is a link that leads nowhere",
                name,
                "Remove it, or put the file there that it is to lead to.",
            )
        linked = [Path(above) / below for below in folders if (Path(above) / below).is_symlink()]
        if linked:
            raise DataError(
                f"{first_ten(linked)} is a link to a folder, whose changes DVC would not see",
                name,
                "Keep tables and image folders together in one real folder (a link to that is fine), or link "
                "a zip of the images.",
            )


def _clear_links(target: Path, keep: Mapping[str, Path]) -> None:
    if target.is_symlink():
        target.unlink()
    if not target.exists():
        return
    entries = list(target.iterdir())
    real = [entry for entry in entries if not entry.is_symlink() and not _is_empty(entry)]
    drawn = {out["path"] for out in _declared().get("outs", [])} if is_demo() else set()
    theirs = [entry.name for entry in real if f"data/{entry.name}" not in drawn]
    if theirs:
        raise DataError(
            f"{len(theirs)} entries are no links: {first_ten(theirs)}",
            "data/",
            "Move them away (or `dermaflow data link` the folder that you move them to).",
        )
    if real and differences():
        raise DataError(
            "the demo there was changed by hand", "data/", "Move data/ away if you need it, else remove it."
        )
    within = [name for name, folder in keep.items() if target.resolve() in folder.parents]
    if within:
        raise DataError(
            f"{first_ten(within)} would link to what lies in data/ itself",
            "data/",
            "Name the folder that your own data lie in.",
        )
    for entry in entries:
        entry.unlink() if entry.is_symlink() else shutil.rmtree(entry)


def _is_empty(entry: Path) -> bool:
    return entry.is_dir() and not any(entry.iterdir())


def _wanted() -> dict[str, str]:
    """Return the hash that is meant of each out; a data.dvc of before holds them as DVC's alone."""
    meant: dict[str, str] = _declared().get("meta", {}).get("md5", {})
    return _hashed() | meant


def _hashed() -> dict[str, str]:
    """Return the hash of each out as DVC wrote it."""
    return {out["path"]: str(out.get("md5", "nothing")) for out in _declared().get("outs", [])}


def _declared() -> dict[str, Any]:
    """Return data.dvc as a dictionary: meta and outs.

    Raises:
        DataError: it is no such thing, say by marks of an unfinished merge.
    """
    file = root() / "data.dvc"
    if not file.exists():
        return {}
    try:
        value = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise DataError(f"not valid YAML: {' '.join(str(error).split())}", file.name, _BACK) from None
    declared: dict[str, Any] = value if isinstance(value, dict) else {"outs": None}
    meta, outs = declared.get("meta", {}), declared.get("outs", [])
    if not (isinstance(meta, dict) and isinstance(meta.get("md5", {}), dict) and isinstance(outs, list)):
        raise DataError("not a file of meta and outs", file.name, _BACK)
    if not all(isinstance(out, dict) and "path" in out for out in outs):
        raise DataError("an out there names no path", file.name, _BACK)
    return declared
