"""Work spread over processes, with a progress bar; what comes back does not depend on how many there are."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

from llarp.progress import Progress

J = TypeVar("J")
R = TypeVar("R")


def map_jobs(
    function: Callable[[J], R], jobs: Sequence[J], workers: int, what: str, size: Callable[[J], int], unit: str
) -> Iterator[R]:
    """Yields function(job) for every job in order.

    Args:
        function: importable by name.
        jobs: arguments, one per call.
        workers: processes; with 1 everything happens in this one.
        what: name of the progress bar.
        size: units of work in a job, for the bar.
        unit: name of a unit.

    """
    workers = min(workers, len(jobs))
    with Progress(what, sum(map(size, jobs)), unit) as progress:
        if workers <= 1:
            for job in jobs:
                yield function(job)
                progress.update(size(job))
            return
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:  # threads do not survive a fork
            try:
                for job, result in zip(jobs, pool.map(function, jobs), strict=True):
                    progress.update(size(job))
                    yield result
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
