"""One map over images: in order, streamed, over processes, with a progress bar.

It goes through joblib, whose backend may be set from outside (`joblib.parallel_config`), e.g. to Dask.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import cv2
import joblib
from tqdm import tqdm

T = TypeVar("T")
R = TypeVar("R")

CHUNK = 16
"""Images a task: large enough to hide what a task costs, small enough for a lively progress bar."""


def stream(
    function: Callable[[T], R], items: Sequence[T], *, workers: int, title: str, progress: bool
) -> Iterator[R]:
    """Yield `function(item)` for each item, in the order of the items.

    Results are handed on as they come, so memory does not grow with the number of items as long as the
    caller is faster than the workers.

    Args:
        function: a module's function (or a partial of one): worker processes import it.
        items: its arguments.
        workers: number of processes; 1 stays in this one.
        title: stands before the progress bar.
        progress: show the bar, if stderr is a terminal.
    """
    chunks = (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))
    with tqdm(total=len(items), desc=title, unit="image", disable=None if progress else True) as bar:
        for results in _mapped(function, chunks, workers):
            bar.update(len(results))
            yield from results


def _mapped(function: Callable[[T], R], chunks: Iterable[Sequence[T]], workers: int) -> Iterator[list[R]]:
    if workers == 1:
        yield from (_apply(function, chunk) for chunk in chunks)
        return
    pool = joblib.Parallel(n_jobs=workers, batch_size=1, pre_dispatch="4*n_jobs", return_as="generator")
    yield from pool(joblib.delayed(_apply)(function, chunk) for chunk in chunks)


def _apply(function: Callable[[T], R], chunk: Sequence[T]) -> list[R]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # one image, one core: the processes share the machine
    try:
        return [function(item) for item in chunk]
    finally:
        cv2.setNumThreads(threads)
