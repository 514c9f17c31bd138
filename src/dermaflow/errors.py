"""The one family of errors that a user can cause; the command line prints them without a traceback."""

from collections.abc import Iterable
from typing import Final

MOST: Final = 10
"""Items that a message lists at most."""


class DermaflowError(Exception):
    """Say what is wrong, where, and what to do about it."""

    def __init__(self, what: str, where: str, remedy: str) -> None:
        """Keep the three parts; the message is `where: what remedy`."""
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(f"{where}: {what}. {remedy}")


class ParamsError(DermaflowError):
    """A key of params.yaml is missing, unknown or out of range."""


class DataError(DermaflowError):
    """A published file, table or image is not what it should be."""


class LeakError(DermaflowError):
    """Something that must stay in one split stands in two."""


class BundleError(DermaflowError):
    """A bundle is missing, damaged or over its budget."""


class TrainingError(DermaflowError):
    """A network can't be built, loaded or trained as asked."""


def first_ten(items: Iterable[object]) -> str:
    """List at most ten items for a message, and say when there are more."""
    found = [str(item) for item in items]
    return ", ".join(found[:MOST]) + (", ..." if len(found) > MOST else "")
