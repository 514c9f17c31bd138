"""The one family of errors that a user can cause; commands and stages print them without a traceback."""

import errno
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
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


def tell_errors(work: Callable[..., object], *arguments: object) -> None:
    """Do the work of a command or a stage; what a user can cause ends with one line and exit code 1.

    With DERMAFLOW_TRACEBACK set the traceback stands before that line. SIGTERM ends it in order, as Ctrl-C
    does: runs are closed, scratch files removed.

    Args:
        work: called with `arguments`.
        arguments: of the work.
    """
    try:
        with _ends_in_order():
            work(*arguments)
    except DermaflowError as error:
        _end(str(error))
    except OSError as error:
        error = plain(error)
        if error.errno is None:
            raise
        full = error.errno == errno.ENOSPC
        remedy = "Free some space and run again; nothing half-written is left." if full else ""
        if error.errno == errno.EXDEV:
            remedy = "outputs/, reports/ and .tmp/ must lie on one disk: move the whole project to it."
        _end(f"{error.filename or 'file'}: {error.strerror}. {remedy}".strip())


def plain(error: OSError) -> OSError:
    """Return a full disk as such, where shutil lists it file by file."""
    if isinstance(error, shutil.Error) and "[Errno 28]" in str(error):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return error


@contextmanager
def _ends_in_order() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # which has no say in signals
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(line: str) -> None:
    if os.environ.get("DERMAFLOW_TRACEBACK"):
        traceback.print_exc()
    sys.stderr.write(f"error: {' '.join(part.strip() for part in line.splitlines())}\n")
    sys.exit(1)
