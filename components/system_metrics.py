"""Load of the machine while a stage works: MLflow's own figures, sampled by a thread of ours.

MLflow's thread asks the server for the run before every point and ends for good when there is no answer.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

_MODULE = "mlflow.system_metrics.system_metrics_monitor"


@contextmanager
def system_metrics(run_id: str, log: Callable[[int, Mapping[str, float]], None]) -> Iterator[None]:
    """Logs CPU, memory, disk, network and, with `nvidia-ml-py` and a GPU, that too, while the block lasts.

    Args:
        run_id: of the run in MLflow.
        log: called from a thread, with the number of the sample (from 0) and `system/...` figures; every 10 s, unless
            `MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL` says otherwise, and at the end.

    """
    logging.getLogger(_MODULE).setLevel(logging.WARNING)  # it tells that there is no GPU
    end = threading.Event()
    thread = threading.Thread(target=_sample, args=(run_id, log, end), name="system metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def _sample(run_id: str, log: Callable[[int, Mapping[str, float]], None], end: threading.Event) -> None:
    try:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        monitor, number = SystemMetricsMonitor(run_id), 0
        monitor.collect_metrics()  # the load of the CPU is that since the last time: at first there is none
        while True:
            is_over = end.wait(monitor.sampling_interval)
            for part in monitor.monitors:
                part.clear_metrics()
            monitor.collect_metrics()
            log(number, {f"system/{name}": value for name, value in monitor.aggregate_metrics().items()})
            if is_over:
                return
            number += 1
    except Exception as error:  # no figure of the machine is worth the work it goes beside
        print(f"The load of the machine is not recorded any more: {error}", flush=True)
