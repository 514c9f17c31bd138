"""A table that passes between two rooms: its columns declared once, checked when it is written."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dermaflow.errors import DataError, first_ten
from dermaflow.outputs.place import name_of, path, replacing

if TYPE_CHECKING:
    import pandas as pd

_BLOCK_ROWS = 8192
_NUMBERS = ("integer", "floating", "mixed-integer-float")
_KINDS = {"bool": ("boolean",), "int": _NUMBERS, "uint": _NUMBERS, "float": _NUMBERS, "str": ("string",)}
"""What cells of a declared dtype may be, in pandas' words; whole floats pass for integers."""


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
            DataError: the file is absent or damaged.
        """
        import pandas as pd  # noqa: PLC0415 - the service imports this module's callers without pandas

        with self._opened():
            return pd.read_parquet(self.path, columns=columns)

    def read_without(self, column: str) -> "pd.DataFrame":
        """Read the table with, in place of a column of bytes, their number in `<column>_bytes`.

        Raises:
            DataError: the file is absent or damaged.
        """
        frame = self.read([name for name in self.columns if name != column])
        frame[f"{column}_bytes"] = [len(cell) for cells in self.blocks(column) for cell in cells]
        return frame

    def blocks(self, column: str) -> Iterator[list[Any]]:
        """Read one column some thousand rows at a time: thumbnails weigh 4 GB a million.

        Raises:
            DataError: the file is absent or damaged.
        """
        from pyarrow.parquet import ParquetFile  # noqa: PLC0415 - see read

        with self._opened(), ParquetFile(self.path, buffer_size=1 << 20, pre_buffer=False) as file:
            for batch in file.iter_batches(_BLOCK_ROWS, columns=[column], use_threads=False):
                yield batch.column(0).to_pylist()

    def content(self, frame: "pd.DataFrame | None" = None) -> str:
        """Digest of the rows, in whatever order they stand and whatever library wrote the file.

        Args:
            frame: of a copy that lies elsewhere.

        Raises:
            DataError: the file is absent or damaged.
        """
        frame = self.read() if frame is None else frame
        text = frame.sort_values(next(iter(self.columns)), kind="stable").to_csv(index=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @contextmanager
    def _opened(self) -> Iterator[None]:
        """Tell of a file that is absent or damaged.

        Raises:
            DataError: it is.
        """
        from pyarrow import ArrowInvalid  # noqa: PLC0415 - see read

        if not self.path.exists():
            raise DataError("no such file", name_of(self.path), "Run `dvc repro`, which makes it.")
        try:
            yield
        except (ArrowInvalid, OSError) as error:
            if getattr(error, "errno", None) is not None:  # the system's, not Arrow's
                raise
            said = " ".join(str(error).split())
            raise DataError(
                f"no Parquet table: {said}", name_of(self.path), "Remove it; `make repro` makes it."
            ) from None

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
                "Mend the room that writes this table, or declare the column in outputs.",
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
