"""What is accepted of a table although it is not as published, for `dermaflow data check` to say."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_NOTES: ContextVar[list[str] | None] = ContextVar("notes", default=None)


@contextmanager
def noting() -> Iterator[list[str]]:
    """Collect what is accepted although it is not as published, of all tables read in this block."""
    notes: list[str] = []
    token = _NOTES.set(notes)
    try:
        yield notes
    finally:
        _NOTES.reset(token)


def note(name: str, what: str) -> None:
    """Say what of a table is accepted although it is not as published (see `noting`).

    Args:
        name: of the table.
        what: is accepted.
    """
    notes = _NOTES.get()
    if notes is not None:
        notes.append(f"{name}: {what}")
