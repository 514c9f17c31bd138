"""Where each stage's files lie, what their columns are, and how they are opened.

Every table that passes between two rooms is declared here once: column, dtype, meaning, unit. `write`
checks a table against its declaration and puts the file in place whole: it is written to `.tmp/`
beside outputs/ and renamed. Paths are relative to the project's root.
"""

import hashlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dermaflow.errors import DataError, first_ten
from dermaflow.params import root

if TYPE_CHECKING:
    import pandas as pd

DIR = "outputs"
_BLOCK_ROWS = 8192
_NUMBERS = ("integer", "floating", "mixed-integer-float")
_KINDS = {"bool": ("boolean",), "int": _NUMBERS, "uint": _NUMBERS, "float": _NUMBERS, "str": ("string",)}
"""What cells of a declared dtype may be, in pandas' words; whole floats pass for integers."""


def path(relative: str) -> Path:
    """Return the full path of an output, e.g. `path("models/lite0/0")`."""
    return root() / DIR / relative


@contextmanager
def replacing(target: Path, *, folder: bool = False) -> Iterator[Path]:
    """Give a scratch path to write to; on success it is renamed to `target`, on an error removed.

    What a killed process of this machine left in `.tmp/` is removed by the next that writes there.

    Args:
        target: the final file or folder; what stood there is replaced.
        folder: make the scratch path a folder.
    """
    box = Path(tempfile.mkdtemp(prefix=f"{_machine()}-{os.getpid()}-", dir=_swept_home()))
    scratch = box / target.name
    if folder:
        scratch.mkdir()
    try:
        yield scratch
        target.parent.mkdir(parents=True, exist_ok=True)
        if folder and target.exists():
            target.replace(box / "replaced")
        scratch.replace(target)
    finally:
        shutil.rmtree(box, ignore_errors=True)


def _machine() -> str:
    """Name what process ids count on: the host, and the container (which may bear the host's name)."""
    numbers = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()}-{numbers.stat().st_ino if numbers.exists() else 0}"


def _swept_home() -> Path:
    """Return `.tmp/`, without the boxes of processes that are no more."""
    home = root() / ".tmp"
    home.mkdir(exist_ok=True)
    ours = f"{_machine()}-"
    for box in home.iterdir():
        pid = box.name.removeprefix(ours).partition("-")[0]
        if box.name.startswith(ours) and pid.isdecimal() and not _lives(int(pid)):
            shutil.rmtree(box, ignore_errors=True)  # another process may be at it too
    return home


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return True


def require_space(needed: int, what: str) -> None:
    """Make sure, before work starts, that the disk holds what is to be written.

    Args:
        needed: bytes.
        what: for the message.

    Raises:
        DataError: less is free.
    """
    _swept_home()
    free = shutil.disk_usage(root()).free
    if free < needed:
        raise DataError(
            f"{what} needs about {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free",
            str(root()),
            "Free some space, or take out a size that no model needs (params.yaml: sizes).",
        )


def write_json(target: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file as `json_text` has it."""
    write_text(target, json_text(value))


def json_text(value: Mapping[str, Any]) -> str:
    """Return JSON with sorted keys, so that equal content gives equal bytes."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write_text(target: Path, text: str) -> None:
    """Write a text file whole."""
    with replacing(target) as scratch:
        scratch.write_text(text, encoding="utf-8")


def write_lines(target: Path, lines: Iterable[str]) -> None:
    """Write one text line an item."""
    write_text(target, "".join(f"{line}\n" for line in lines))


def read_lines(source: Path) -> list[str]:
    """Read what `write_lines` wrote.

    Raises:
        DataError: the file is absent.
    """
    if not source.exists():
        raise DataError("no such file", _name(source), "Run `dvc repro`, which makes it.")
    return source.read_text(encoding="utf-8").splitlines()


def read_json(source: Path) -> dict[str, Any]:
    """Read a JSON object that a stage wrote.

    Raises:
        DataError: the file is absent or damaged; the message names the command that makes it.
    """
    if not source.exists():
        raise DataError("no such file", _name(source), "Run `dvc repro`, which makes it.")
    try:
        value: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(
            f"not valid JSON: {error}", _name(source), "Remove it; `make repro` makes it."
        ) from None
    return value


@dataclass(frozen=True)
class Column:
    """One column: its pandas dtype, whether cells may be missing, and what it means (with the unit)."""

    dtype: str
    meaning: str
    missing: bool = False


@dataclass(frozen=True)
class Table:
    """A Parquet file under outputs/ with declared columns.

    Attributes:
        file: path below outputs/; `{}` is filled by `of(name)`.
        columns: name to declaration, in the order of the file.
        open_ended: other columns may follow (per class logits and the like).
    """

    file: str
    columns: Mapping[str, Column]
    open_ended: bool = False

    def of(self, *names: object) -> "Table":
        """Fill the name's gaps: `releases.of("isic2018")`."""
        return Table(self.file.format(*names), self.columns, self.open_ended)

    @property
    def path(self) -> Path:
        """The file's full path."""
        return path(self.file)

    def read(self, columns: list[str] | None = None) -> "pd.DataFrame":
        """Read the table (or some columns).

        Raises:
            DataError: the file is absent.
        """
        import pandas as pd  # noqa: PLC0415 - the service imports this module's callers without pandas

        self._require()
        return pd.read_parquet(self.path, columns=columns)

    def read_without(self, column: str) -> "pd.DataFrame":
        """Read the table with, in place of a column of bytes, their number in `<column>_bytes`.

        Raises:
            DataError: the file is absent.
        """
        frame = self.read([name for name in self.columns if name != column])
        frame[f"{column}_bytes"] = [len(cell) for cells in self.blocks(column) for cell in cells]
        return frame

    def blocks(self, column: str) -> Iterator[list[Any]]:
        """Read one column some thousand rows at a time: thumbnails weigh 4 GB a million.

        Raises:
            DataError: the file is absent.
        """
        from pyarrow.parquet import ParquetFile  # noqa: PLC0415 - see read

        self._require()
        with ParquetFile(self.path, buffer_size=1 << 20, pre_buffer=False) as file:
            for batch in file.iter_batches(_BLOCK_ROWS, columns=[column], use_threads=False):
                yield batch.column(0).to_pylist()

    def content(self) -> str:
        """Digest of the rows, in whatever order they stand and whatever library wrote the file.

        Raises:
            DataError: the file is absent.
        """
        frame = self.read()
        text = frame.sort_values(next(iter(self.columns)), kind="stable").to_csv(index=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def _require(self) -> None:
        if not self.path.exists():
            raise DataError("no such file", _name(self.path), "Run `dvc repro`, which makes it.")

    def check(self, frame: "pd.DataFrame") -> "pd.DataFrame":
        """Return the frame in the declared order and dtypes.

        Raises:
            DataError: a column is absent, unknown, of a wrong type, or has forbidden missing cells.
        """
        absent = [name for name in self.columns if name not in frame]
        extra = [str(name) for name in frame if name not in self.columns]
        if absent or (extra and not self.open_ended):
            raise DataError(
                f"columns absent: {absent}, not declared: {extra}",
                self.file,
                "Mend the room that writes this table, or declare the column in outputs.py.",
            )
        ordered = frame[[*self.columns, *extra]].reset_index(drop=True)
        for name, column in self.columns.items():
            if not column.missing and ordered[name].isna().any():
                rows = ordered.index[ordered[name].isna()]
                raise DataError(
                    f"{len(rows)} rows have no {name}: rows {first_ten(rows)}",
                    self.file,
                    "Mend the room that writes this table.",
                )
            ordered[name] = self._cast(ordered[name], column)
        return ordered

    def _cast(self, cells: "pd.Series[Any]", column: Column) -> "pd.Series[Any]":
        """Return a column in its declared dtype; that may change its width (floats are rounded), no value."""
        import numpy as np  # noqa: PLC0415 - see read
        from pandas.api.types import infer_dtype  # noqa: PLC0415

        given = cells.dropna()
        found, fits = infer_dtype(given), _KINDS.get(column.dtype.rstrip("0123456789"), ())
        wrong = given if fits and found not in {*fits, "empty"} else given[:0]
        if wrong.empty:
            with np.errstate(invalid="ignore"):  # looked at below
                cast: pd.Series[Any] = cells.astype(column.dtype)  # type: ignore[call-overload]
            if "int" in column.dtype:
                wrong = given[(cast != given).to_numpy()]
        if not wrong.empty:
            raise DataError(
                f"{cells.name} is declared as {column.dtype}, but rows {first_ten(wrong.index)} hold "
                f"{first_ten(map(repr, wrong))} ({found})",
                self.file,
                "Mend the room that writes this table.",
            )
        return cast

    def write(self, frame: "pd.DataFrame") -> None:
        """Check the table and put it in place whole; equal content gives equal bytes."""
        checked = self.check(frame)
        with replacing(self.path) as scratch:
            checked.to_parquet(scratch, index=False, compression="zstd")


def _name(file: Path) -> str:
    return str(file.relative_to(root())) if file.is_relative_to(root()) else str(file)


_ID = Column("str", "image id as published, without extension or folder")
_PATIENT_FIELDS = {
    "age_years": Column("float32", "approximate age, years", missing=True),
    "sex": Column("str", "female, male", missing=True),
    "site": Column("str", "one of the six sites of taxonomy.SITES", missing=True),
}
_IDS = {
    "patient_id": Column("str", "as published; unknown where missing", missing=True),
    "lesion_id": Column("str", "as published; unknown where missing", missing=True),
}

releases = Table(
    "releases/{}.parquet",
    {
        "image_id": _ID,
        "part": Column(
            "str", "train, validation or test, as the challenge gave it out; aside: no usable label"
        ),
        "row": Column("int32", "data row in the file that lists the image, from 1"),
        "raw_label": Column("str", "the diagnosis as published", missing=True),
        "diagnosis": Column("str", "taxonomy code; missing if unlabelled", missing=True),
        "rule_id": Column("str", "the rule that mapped raw_label, e.g. isic2020:nevus", missing=True),
        **_PATIENT_FIELDS,
        "raw_site": Column("str", "the site as published", missing=True),
        **_IDS,
        "duplicate_of": Column("str", "kept image of an official duplicate pair", missing=True),
        "confirm_type": Column("str", "how the diagnosis was confirmed", missing=True),
        "centre": Column("str", "HAM, BCN, MSK, SIIM or unknown: where the image was taken"),
    },
)
"""Rows as published, one release a file, in the order of the published file."""

facts = Table(
    "facts/{}.parquet",
    {
        "image_id": _ID,
        "part": Column("str", "train or test: in whose folder the file lies"),
        "file": Column("str", "path below data/<release>; name in a zip after `.zip/`"),
        "width": Column("int32", "pixels as decoded, after EXIF orientation; 0 if unreadable"),
        "height": Column("int32", "pixels as decoded, after EXIF orientation; 0 if unreadable"),
        "bytes": Column("int64", "size of the file"),
        "sha256": Column("str", "of the file, hex"),
        "phash": Column("uint64", "64-bit perceptual hash of the grey thumbnail"),
        "thumbnail": Column("object", "64 x 64 grey pixels, 4096 bytes, row by row"),
        "readable": Column("bool", "the file decodes"),
        "problem": Column("str", "why it does not decode", missing=True),
    },
)
"""What the pixels say, one image file a row, sorted by image_id; whatever the tables list."""

located = "located/{}.txt"
"""Image ids that one release's shards store, one a line: each image under the first release that holds it."""

quality_report = "quality/report.json"

cases = Table(
    "cases.parquet",
    {
        "image_id": _ID,
        "release": Column("str", "the first release in params that lists the image"),
        "store": Column("str", "the release whose shards hold the image", missing=True),
        "diagnosis": Column("str", "one of taxonomy.DIAGNOSES; missing in hold-out rows", missing=True),
        "group": Column("int32", "images of one group never part; -1 if dropped"),
        "split": Column("str", "train, hold_out or dropped"),
        "fold": Column("int8", "0 to folds-1 in train rows, else -1"),
        "why_dropped": Column("str", "the reason; missing unless dropped", missing=True),
        **_PATIENT_FIELDS,
        **_IDS,
        "confirm_type": Column("str", "how the diagnosis was confirmed", missing=True),
        "centre": Column("str", "where the image was taken"),
        "width": Column("int32", "original width, pixels; 0 if there is no file"),
        "height": Column("int32", "original height, pixels; 0 if there is no file"),
    },
)
"""The only list of images after `split`: one row an image of the merged training tables."""

holdout = Table("holdout.parquet", {"image_id": _ID, "diagnosis": Column("str", "one of taxonomy.DIAGNOSES")})
"""The hold-out's diagnoses; only evaluate, ensemble and promotion read them."""

pairs = Table(
    "splits/pairs.parquet",
    {
        "image_a": _ID,
        "image_b": _ID,
        "kind": Column("str", "official, identical or near"),
        "hamming": Column("int16", "bits between the hashes; -1: not compared"),
        "correlation": Column("float32", "of the high-passed thumbnails, three decimals; -1: not compared"),
        "joined": Column("bool", "the pair was confirmed and its groups joined"),
    },
)
"""Pairs of images that show the same picture, and those narrowly refused."""

ledger = "splits/ledger.json"
funnel = "splits/funnel.csv"
certificate = "certificate.json"

patients = Table(
    "patients.parquet",
    {
        "image_id": _ID,
        "age_years": Column("float32", "age, years; imputed where age_missing"),
        "sex": Column("str", "female, male, or unknown if not imputed"),
        "site": Column("str", "one of taxonomy.SITES, or unknown if not imputed"),
        "age_missing": Column("bool", "no age was published"),
        "sex_missing": Column("bool", "no sex was published"),
        "site_missing": Column("bool", "no site was published"),
    },
)
"""Patient fields of every case in train or hold_out, filled."""

imputer = "imputer.json"

predictions = Table(
    "models/{}/{}/predictions.parquet",
    {
        "image_id": _ID,
        "split": Column("str", "out_of_fold or hold_out"),
        "features": Column("object", "pooled features, mean over the views, float32 list"),
        "middle": Column("object", "means and deviations of the half-way maps, untouched view, float32 list"),
    },
    open_ended=True,
)
"""One member's logits, mean over the views: `logit_<class>` with, `plain_<class>` without patient data."""

ensemble_predictions = Table(
    "ensemble/predictions.parquet",
    {"image_id": _ID, "split": Column("str", "out_of_fold or hold_out")},
    open_ended=True,
)
"""The blend's calibrated `probability_<class>` and `decision_<class>`."""


def images_dir(size_px: int, release: str | None = None) -> Path:
    """Folder of the shards of one size (of one release)."""
    return path(f"images/{size_px}") if release is None else path(f"images/{size_px}/{release}")


def sheets_dir(kind: int | str, name: int | str) -> Path:
    """Folder of a contact sheet: of a stored size and release, or of `augment/<model>` and fold."""
    return path(f"sheets/{kind}/{name}")


def inputs(model: str) -> Path:
    """The list of shards that a model reads, with their digests."""
    return path(f"inputs/{model}.json")


def member_dir(model: str, fold: str | int) -> Path:
    """Folder of one trained member."""
    return path(f"models/{model}/{fold}")


def reports_dir(name: str) -> Path:
    """Folder of what people read and no hash covers (Data Docs, timings)."""
    return root() / "reports" / name
