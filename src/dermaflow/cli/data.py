"""`dermaflow data`: take data in, check them, download them."""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from dermaflow import datadir, outputs
from dermaflow.errors import DataError
from dermaflow.params import load, names

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(help="The ISIC releases: check, link, download, export, look up.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="Holds a folder a release: isic2018 or 2018, and so on.")]


@app.command()
def check(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")] = False,  # noqa: FBT002
) -> None:
    """Print what a folder holds of each release and what is missing. Opens no image and writes nothing.

    Looks for the releases that params.yaml names, and for every year and collection (a folder with the
    metadata.csv of isic-cli) that is there. Exit 1: a release that is there can't be used; the others are
    shown all the same. Example: dermaflow data check ~/isic
    """
    from dermaflow.releases import check as checking  # noqa: PLC0415

    _require(folder)
    wanted = names("releases")
    more = [name for name in _held(folder) if name not in wanted]
    report = checking.check(folder, [*wanted, *more])
    print(json.dumps(report.to_json(), indent=1, sort_keys=True) if as_json else report.to_text())
    if report.broken:
        raise typer.Exit(1)


@app.command()
def link(folder: Folder) -> None:
    """Make FOLDER the project's data: links in data/, hashes in data.dvc (no second copy).

    Takes the years 2018 to 2020 and every folder that isic-cli downloaded. Checks the folder first and prints
    what it found. Exit 1: a release there can't be used; then nothing is changed.
    Example: dermaflow data link ~/isic
    """
    from dermaflow.releases import READERS, find_release  # noqa: PLC0415
    from dermaflow.releases import check as checking  # noqa: PLC0415

    _require(folder)
    found = {name: find_release(folder, name) for name in _held(folder)}
    if not found:
        raise DataError(
            f"none of {', '.join(READERS)} is there, nor a folder with the metadata.csv of isic-cli",
            str(folder),
            "Name a folder that holds isic2018/ (or 2018/) and so on; `dermaflow data download` gets one.",
        )
    report = checking.check(folder, list(found))
    print(report.to_text())
    report.refuse_broken()
    drawn = [folder / name for name in ("masks", "lesion_masks")]
    masks = next((place for place in drawn if place.is_dir() and any(place.iterdir())), None)
    datadir.put({**found, **({datadir.MASKS: masks} if masks else {})}, source="isic")
    named = names("releases")
    wanted = [name for name in named if name not in found]
    unnamed = [name for name in found if name not in named]
    print(f"data/ now links to {', '.join(found)}; data.dvc holds their hashes.")
    if wanted:
        print(f"params.yaml also names {', '.join(wanted)}: take them out of `releases`, or add the data.")
    if unnamed:
        print(f"params.yaml does not name {', '.join(unnamed)}: add them to `releases` to learn from them.")
    print("Next: make preset NAME=laptop (it replaces params.yaml: change `releases` then), make repro")


@app.command()
def ensure() -> None:
    """Make sure that data/ is what data.dvc says; draw the demo if that is what is absent."""
    target = datadir.data_dir()
    absent = not target.exists() or not any(target.iterdir())
    if absent and datadir.is_demo():
        from dermaflow.sample import draw  # noqa: PLC0415

        sys.stderr.write("data/ is absent: drawing the demo release\n")
        draw(target, replace=True)
    datadir.verify()


@app.command()
def download(
    year: Annotated[int, typer.Option(help="2018, 2019 or 2020.")],
    to: Annotated[Path, typer.Option(help="The release is put into TO/isic<year>.")],
    mirror: Annotated[
        list[str] | None,
        typer.Option(
            help="Address to take in place of the challenge's own; below it <year>/<file>. Repeatable."
        ),
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Hash the files that are there too.")] = False,  # noqa: FBT002
) -> None:
    """Download a release from the challenge's public archive; zips go on where they were cut off.

    Each file is held against what the server states of it (length, checksum), and a zip against its own CRCs
    if it states none; the output says which. TO/isic<year>/SHA256SUMS keeps the result, so that a second run
    fetches nothing and checks the lengths (with --verify: the hashes). Exit 1: a file can't be had, or does
    not fit. Example: dermaflow data download --year 2018 --to ~/isic
    """
    from dermaflow.releases import download as downloading  # noqa: PLC0415

    with _Bar() as bar:
        files = downloading.download(
            year, to / f"isic{year}", mirror or downloading.BASE_URLS, bar, verify=verify
        )
    for file in files:
        print(f"{file.path.name}: {file.size:,} bytes{'' if file.new else ', was there'}; {file.how}")
    if year == 2018:  # noqa: PLR2004
        print("Age, sex and site of 2018 are in HAM10000_metadata.csv (Dataverse, doi 10.7910/DVN/DBW86T).")
    print(f"{to}/isic{year} is complete. Next: make data ISIC={to}")


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="The CSV to write.")],
    hold_out: Annotated[bool, typer.Option("--hold-out", help="Give its diagnoses away, too.")] = False,  # noqa: FBT002
) -> None:
    """Write the single training table: image, diagnosis in five views, patient, group, split and fold.

    Diagnoses of the hold-out are left empty, so that nothing is chosen on it by accident.
    Example: dermaflow data export --out cases.csv
    """
    from dermaflow.releases import merge  # noqa: PLC0415
    from dermaflow.splits import export as exporting  # noqa: PLC0415

    opened = outputs.holdout.read() if hold_out else None
    cases, merged = outputs.cases.read(), merge(_tables())
    exporting.require_same(cases, merged)
    table = exporting.export(cases, merged, opened)
    _write_csv(table, out)
    counts = ", ".join(f"{count:,} {name}" for name, count in table["split"].value_counts().items())
    print(f"{out}: {len(table):,} images ({counts})" + ("" if hold_out else "; hold-out diagnoses left out"))


@app.command()
def story(
    image_id: Annotated[str, typer.Argument(help="E.g. ISIC_0024306.")],
) -> None:
    """Print what each release says of an image, which label was taken by which rule, and where it went.

    Opens the image's diagnosis even if it is in the hold-out. Example: dermaflow data story ISIC_0024306
    """
    from dermaflow.releases import merge  # noqa: PLC0415
    from dermaflow.splits import export as exporting  # noqa: PLC0415

    cases, tables = outputs.cases.read(), _tables()
    merged = merge(tables)
    exporting.require_same(cases, merged)
    told = exporting.story(image_id, tables, merged, cases)
    if not told["published"]:
        raise DataError(f"no release lists {image_id}", "outputs/releases", "Check the image's id.")
    print(json.dumps(told, indent=1))


@app.command()
def legacy_split(out: Annotated[Path, typer.Option(help="The CSV, e.g. splits/legacy.csv.")]) -> None:
    """Write the well-known split of 46,425 and 11,606 images, to see what it leaks.

    With split.file: legacy.csv in params.yaml the pipeline takes it, and the certificate refuses it.
    """
    from dermaflow.splits import legacy  # noqa: PLC0415
    from dermaflow.splits.params import SplitParams  # noqa: PLC0415

    tables = _tables()
    if not set(legacy.NEEDS) <= set(tables):
        raise DataError(f"it needs {' and '.join(legacy.NEEDS)}", "params.yaml, releases", "Name both there.")
    rows = legacy.rebuild(tables)
    _write_csv(legacy.as_file(rows, load(SplitParams).dealt(names("folds"))), out)
    told = legacy.shown(tables)["legacy_split"]
    print(
        f"{out}: {told['images']['train']:,} training and {told['images']['validation']:,} validation "
        f"images; {told['patients']['also_trained_on']:,} of the {told['patients']['tested']:,} patients "
        "validated on are also trained on."
    )


def _tables() -> "dict[str, pd.DataFrame]":
    """Read the published rows of each release in params.yaml."""
    return {name: outputs.releases.of(name).read() for name in names("releases")}


def _write_csv(table: "pd.DataFrame", out: Path) -> None:
    out = out.resolve()  # a link stays a link
    if out.exists() and not out.is_file():  # /dev/null would become a file
        raise DataError("it is no ordinary file", str(out), "Give the path of a CSV, with its file name.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".dermaflow-", dir=out.parent) as scratch:  # maybe not the project's disk
        table.to_csv(Path(scratch) / out.name, index=False)
        (Path(scratch) / out.name).replace(out)


class _Bar:
    """A progress bar a file, on a terminal only."""

    def __init__(self) -> None:
        self.name = ""
        self.bar: Any = None  # tqdm has no types

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def __call__(self, name: str, have: int, total: int | None) -> None:
        from tqdm import tqdm  # noqa: PLC0415

        if self.bar is None or name != self.name:
            self.__exit__()
            self.name = name
            self.bar = tqdm(
                desc=name, total=total, unit="B", unit_scale=True, unit_divisor=1024, disable=None
            )
        self.bar.total = total
        self.bar.update(have - self.bar.n)


def _require(folder: Path) -> None:
    """Make sure that a folder is there, and holds releases rather than being one.

    Raises:
        DataError: it is not so.
    """
    if not folder.is_dir():
        raise DataError("no such folder", str(folder), "Name the folder that holds your ISIC releases.")
    if (folder / "metadata.csv").is_file():
        raise DataError(
            "this is itself a collection (it holds metadata.csv)",
            str(folder),
            f"Name the folder above it: {folder.resolve().parent}",
        )


def _held(folder: Path) -> list[str]:
    """Return the releases that a folder holds: years by name or number, then collections."""
    from dermaflow.releases import READERS, collections  # noqa: PLC0415
    from dermaflow.releases.dispatch import folder_names  # noqa: PLC0415

    years = [name for name in READERS if any((folder / one).is_dir() for one in folder_names(name))]
    return years + collections(folder)
