"""Say what a folder holds of each release, before anything is made of it (`dermaflow data check`)."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pandas as pd

from dermaflow import sources
from dermaflow.errors import DataError, DermaflowError, first_ten
from dermaflow.releases import published
from dermaflow.releases.archive import ASIDE
from dermaflow.releases.dispatch import find_release, folder_names, image_folders, read, reader
from dermaflow.releases.notes import noting
from dermaflow.releases.reconcile import merge

_FIELDS: Final = ("age_years", "sex", "site", "patient_id", "lesion_id")


@dataclass(frozen=True)
class ReleaseCheck:
    """What was found of one release.

    Attributes:
        release: its name in params.yaml.
        folder: where it lies, as found; None if nowhere.
        files: each table's file name, or None if it is missing.
        problem: why the tables can't be used; None if they can.
        absent: whether there is no folder of it, which is a problem only to who asked for it.
        rows: number of rows in each part.
        images: image files of listed ids in each part, in this release's own folders.
        elsewhere: images of each part but test and validation whose file only another release's training
            folder holds; it serves this one too.
        unlisted: image files that no table lists.
        classes: diagnoses of the training rows.
        aside: rows of a collection that get no label, by reason.
        missing: share of training rows without a value, by column.
        duplicates: training images that the official list of duplicates drops.
        accepted: what in its tables is not as published and was taken all the same.
    """

    release: str
    folder: str | None
    files: dict[str, str | None] = field(default_factory=dict)
    problem: DermaflowError | None = None
    absent: bool = False
    rows: dict[str, int] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)
    elsewhere: dict[str, int] = field(default_factory=dict)
    unlisted: int = 0
    classes: dict[str, int] = field(default_factory=dict)
    aside: dict[str, int] = field(default_factory=dict)
    missing: dict[str, float] = field(default_factory=dict)
    duplicates: int = 0
    accepted: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a plain dictionary."""
        return {**vars(self), "problem": None if self.problem is None else str(self.problem)}


@dataclass(frozen=True)
class DataCheck:
    """What was found of all releases, and what they give when merged."""

    releases: tuple[ReleaseCheck, ...]
    merged: dict[str, Any] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every release asked for can be read."""
        return all(item.problem is None for item in self.releases)

    @property
    def broken(self) -> tuple[ReleaseCheck, ...]:
        """The releases that are there and can't be used."""
        return tuple(item for item in self.releases if item.problem is not None and not item.absent)

    def refuse_broken(self) -> None:
        """Make sure that every release that is there can be used.

        Raises:
            DataError: the problem of the first that can't be, and which others have one.
        """
        for item in self.broken[:1]:
            assert item.problem is not None  # noqa: S101 - or it would not be broken
            more = [other.release for other in self.broken[1:]]
            raise DataError(
                item.problem.what,
                f"{item.release}: {item.problem.where}",
                item.problem.remedy + (f" So too {first_ten(more)}: see above." if more else ""),
            )

    def to_json(self) -> dict[str, Any]:
        """Return a plain dictionary."""
        return {
            "complete": self.complete,
            "merged": self.merged,
            "releases": {item.release: item.to_json() for item in self.releases},
        }

    def to_text(self) -> str:
        """Return the same in words."""
        lines = [line for item in self.releases for line in _lines(item)]
        if self.merged:
            rows, kept, there = (self.merged[key] for key in ("rows", "after_duplicates", "with_image"))
            without = self.merged["without"]
            merged = "merged" + (f" (without {', '.join(without)})" if without else "")
            lines += [
                f"{merged}: {rows:,} images, {kept:,} without official duplicates, {there:,} with a file",
                f"  classes   {_counts(self.merged['classes'])}",
            ]
        return "\n".join(lines)


def check(data: Path, releases: Iterable[str]) -> DataCheck:
    """Look at each release below a folder.

    Args:
        data: holds a folder a release, named by release (isic2018, my_collection) or by year (2018).
        releases: names as in params.yaml.

    Returns:
        The findings; a release that can't be read has its problem, and the merge is without it.
    """
    found: list[ReleaseCheck] = []
    tables: dict[str, pd.DataFrame] = {}
    present: dict[str, dict[str, set[str]]] = {}
    for release in releases:
        try:
            module = reader(release)
        except DermaflowError as error:  # no name for one
            found.append(ReleaseCheck(release, None, problem=error))
            continue
        try:
            folder = find_release(data, release)
        except DermaflowError as error:
            absent = not any((data / name).is_dir() for name in folder_names(release))
            found.append(ReleaseCheck(release, None, problem=error, absent=absent))
            continue
        within = getattr(module, "WITHIN", ())
        files: dict[str, str | None] = {}
        images: dict[str, set[str]] = {}
        with noting() as notes:
            try:
                files = {name: _file(folder, names, within) for name, names in module.FILES.items()}
                images = _images(release, folder)
                table = read(release, folder)
            except DermaflowError as error:
                counts = {part: len(ids) for part, ids in images.items() if ids}
                found.append(ReleaseCheck(release, folder.name, files, error, images=counts))
                continue
        tables[release] = table
        present[release] = images
        seen = _describe(release, folder, files, table, images)
        found.append(replace(seen, accepted=tuple(notes)))
    shared = [
        replace(item, elsewhere=_elsewhere(item.release, tables, present)) if item.release in tables else item
        for item in found
    ]
    trained_on = set().union(*(images["train"] for images in present.values()))  # all that locate takes
    if not tables:
        return DataCheck(tuple(shared))
    without = [item.release for item in found if item.release not in tables]
    return DataCheck(tuple(shared), {**_merged(tables, trained_on), "without": without})


def _file(folder: Path, names: list[str], within: tuple[str, ...]) -> str | None:
    path = published.find(folder, names, within)
    return None if path is None else path.relative_to(folder).as_posix()


def _images(release: str, folder: Path) -> dict[str, set[str]]:
    """Return the ids of the image files of each part, by name alone (nothing is opened but zip lists)."""
    folders = image_folders(release)
    found: dict[str, set[str]] = {part: set() for part in folders}
    names = [name for part in folders.values() for name in part]
    if any(path.exists() for name in names for path in (folder / name, folder / f"{name}.zip")):
        for entry in sources.open_source(folder, folders).entries:
            found[entry.part].add(entry.image_id)
    return found


def _own(images: dict[str, set[str]], part: str) -> set[str]:
    """Return what there is of a part; rows that are set aside have no folders of their own."""
    return images.get(part, set().union(*images.values()))


def _elsewhere(
    release: str, tables: dict[str, pd.DataFrame], present: dict[str, dict[str, set[str]]]
) -> dict[str, int]:
    lent = set().union(*(images["train"] for name, images in present.items() if name != release))
    counts = {
        str(part): int(rows["image_id"].isin(lent - _own(present[release], str(part))).sum())
        for part, rows in tables[release].groupby("part", sort=False)
        if part not in ("test", "validation")  # predicted from their own folder
    }
    return {part: number for part, number in counts.items() if number}


def _describe(
    release: str,
    folder: Path,
    files: dict[str, str | None],
    table: pd.DataFrame,
    images: dict[str, set[str]],
) -> ReleaseCheck:
    everything: set[str] = set().union(*images.values())
    listed = {str(part): set(rows["image_id"]) for part, rows in table.groupby("part", sort=False)}
    train = table[table["part"] == "train"]
    reasons = table.loc[table["part"] == ASIDE, "rule_id"].str.removeprefix("archive:aside, ")
    counts = {part: len(ids & _own(images, part)) for part, ids in listed.items()}
    counts |= {part: len(ids) for part, ids in images.items() if ids and part not in listed}
    without_table = set().union(*(ids for part, ids in images.items() if part not in listed))
    return ReleaseCheck(
        release=release,
        folder=folder.name,
        files=files,
        rows={part: len(ids) for part, ids in listed.items()},
        images=counts,
        unlisted=len(everything - set(table["image_id"]) - without_table),
        classes={str(name): int(count) for name, count in train["diagnosis"].value_counts().items()},
        aside={str(reason): int(count) for reason, count in reasons.value_counts().items()},
        missing={name: round(float(train[name].isna().mean()), 4) for name in _FIELDS},
        duplicates=int(train["duplicate_of"].isin(set(train["image_id"])).sum()),
    )


def _merged(tables: dict[str, pd.DataFrame], present: set[str]) -> dict[str, Any]:
    rows = merge(tables)
    repeat = rows["duplicate_of"].isin(set(rows["image_id"]))
    kept = rows[~repeat]
    picture = rows["duplicate_of"].where(repeat, rows["image_id"])  # a repeat stands in for an absent file
    return {
        "rows": len(rows),
        "after_duplicates": len(kept),
        "with_image": int(picture[rows["image_id"].isin(present)].nunique()),
        "classes": {str(name): int(count) for name, count in kept["diagnosis"].value_counts().items()},
        "missing": {name: round(float(rows[name].isna().mean()), 4) for name in _FIELDS},
    }


def _lines(item: ReleaseCheck) -> list[str]:
    if item.folder is None:
        return [f"{item.release}: " + (f"absent ({item.problem})" if item.absent else str(item.problem))]
    module = reader(item.release)
    problem = f" can't be used: {item.problem}" if item.problem else ""
    lines = [f"{item.release} in {item.folder}/{problem}"]
    instead = getattr(module, "INSTEAD", {})
    for name, file in item.files.items():
        other = item.files.get(instead.get(name, ""))
        if file is not None:
            lines.append(f"  found     {file}")
        elif other is not None:
            lines.append(f"  absent    {module.FILES[name][0]}: its place is taken by {other}")
        else:
            need = "optional" if name in module.OPTIONAL else "needed"
            lines.append(f"  missing   {module.FILES[name][0]} ({need}; from {module.SOURCE})")
    for part, number in item.rows.items():
        there, more = item.images.get(part, 0), item.elsewhere.get(part, 0)
        borrowed = f" and {more:,} in another release's folder" if more else ""
        lines.append(
            f"  {part:<10}{number:>7,} rows, {there:>7,} images{borrowed}" + _absent(number - there - more)
        )
        folders = image_folders(item.release).get(part)
        if folders and not there + more:
            places = [". (the folder itself)" if name == "." else name for name in folders]
            lines.append(f"            looked for in {', '.join(places)}, each also as .zip")
    lines += [
        f"  {part:<10}{item.images[part]:>7,} images" + ("" if item.problem else ", no table")
        for part in sorted(set(item.images) - set(item.rows))
    ]
    if item.classes:
        lines.append(f"  classes   {_counts(item.classes)}")
        shares = [f"{name} {share:.2%}" for name, share in item.missing.items() if share]
        lines.append(f"  missing %  {', '.join(shares) or 'nothing'}")
    if item.aside:
        lines.append(f"  aside     {_counts(item.aside)}")
    if item.duplicates:
        lines.append(f"  official duplicates among the training rows: {item.duplicates}")
    if item.unlisted:
        lines.append(f"  {item.unlisted:,} image files are in no table")
    lines += [f"  accepted  {note}" for note in item.accepted]
    return lines


def _absent(number: int) -> str:
    return f" ({number:,} absent)" if number else ""


def _counts(classes: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in classes.items())
