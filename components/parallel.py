"""Work spread over processes by joblib, with a progress bar; what comes back does not depend on how many there are.

The backend is a setting: `loky` takes this machine's cores, `dask` and `ray` a cluster's.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from llarp.config import Backend
from llarp.errors import UserError
from llarp.progress import Progress

_RAY_JOBS = 64
"""Jobs that a cluster of ray is given at a time."""

J = TypeVar("J")
R = TypeVar("R")


def map_jobs(
    function: Callable[[J], R],
    jobs: Sequence[J],
    workers: int,
    what: str,
    size: Callable[[J], int],
    unit: str,
    backend: Backend = "loky",
    address: str | None = None,
) -> Iterator[R]:
    """Yields function(job) for every job in order.

    Args:
        function: importable by name, on every machine of a cluster.
        jobs: arguments, one per call.
        workers: processes on this machine; with loky and one of them everything happens in this process.
        what: name of the progress bar.
        size: units of work in a job, for the bar.
        unit: name of a unit.
        backend: of joblib.
        address: of the scheduler of a dask or ray cluster; None starts one on this machine.

    Raises:
        UserError: the backend is not installed, or no cluster answers at the address.

    """
    workers = max(1, min(workers, len(jobs)))
    with Progress(what, sum(map(size, jobs)), unit) as progress, _backend(backend, workers, address):
        for job, result in zip(jobs, _results(function, jobs, backend), strict=True):
            progress.update(size(job))
            yield result


def _results(function: Callable[[J], R], jobs: Sequence[J], backend: Backend) -> Iterator[R]:
    from joblib import Parallel, delayed

    if backend != "ray":
        yield from Parallel(return_as="generator")(delayed(function)(job) for job in jobs)
        return
    for start in range(0, len(jobs), _RAY_JOBS):  # joblib has no generator of ray's results
        yield from Parallel()(delayed(function)(job) for job in jobs[start : start + _RAY_JOBS])


@contextmanager
def _backend(name: Backend, workers: int, address: str | None) -> Iterator[None]:
    """Makes `joblib.Parallel` use the backend, whose own cluster is stopped at the end."""
    from joblib import parallel_config

    if name == "loky":
        with warnings.catch_warnings():
            # Said when a process is replaced because it has grown, as it does by importing torch.
            warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given")
            with parallel_config("loky", n_jobs=workers):
                yield
    elif name == "dask":
        with _dask(workers, address), parallel_config("dask"):
            yield
    else:
        with _ray(workers, address), parallel_config("ray", n_jobs=workers if address is None else -1):
            yield


@contextmanager
def _dask(workers: int, address: str | None) -> Iterator[None]:
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError:
        raise _not_installed("dask") from None
    if address is None:
        with (
            dask.config.set({"distributed.worker.daemon": True}),
            LocalCluster(workers, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster),
        ):
            yield
        return
    try:
        client = Client(address)
    except (OSError, ValueError) as error:
        raise _no_cluster(address, error) from None
    with client:
        yield


@contextmanager
def _ray(workers: int, address: str | None) -> Iterator[None]:
    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError:
        raise _not_installed("ray") from None
    try:
        if address is None:
            ray.init(num_cpus=workers, include_dashboard=False)
        else:
            ray.init(address)
    except (OSError, ValueError, RuntimeError) as error:
        raise _no_cluster(address, error) from None
    register_ray()
    try:
        yield
    finally:
        ray.shutdown()


def _not_installed(name: str) -> UserError:
    return UserError(f"{name} is not installed", "episodes.backend", f"pip install 'llarp[{name}]', or use loky")


def _no_cluster(address: str | None, error: Exception) -> UserError:
    return UserError(f"no cluster answers at {address} ({error})", "episodes.address", "start its scheduler first")
