"""The shared last step of each reader: columns of one published part -> rows of outputs.releases."""

import pandas as pd

from dermaflow import outputs

Columns = dict[str, "pd.Series[str] | pd.Series[float] | str"]
"""Columns of outputs.releases, each a series or one word for all rows."""


def part(name: str, columns: Columns) -> pd.DataFrame:
    """Return one part's rows in file order; columns that are not given are missing.

    Args:
        name: train, validation, test, or aside (see archive).
        columns: columns of outputs.releases, `image_id` among them; without `row` the rows are numbered.
    """
    frame = pd.DataFrame(columns)
    frame["part"] = name
    if "row" not in frame:
        frame["row"] = range(1, len(frame) + 1)
    for column in outputs.releases.columns:
        if column not in frame:
            frame[column] = pd.Series(pd.NA, index=frame.index, dtype="str")
    return outputs.releases.check(frame)


def join(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Stack the parts of one release."""
    return outputs.releases.check(pd.concat(parts, ignore_index=True))
