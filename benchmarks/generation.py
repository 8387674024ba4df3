"""How fast episodes are generated and proved, how much memory that takes, and how large and quick the store is.

`python benchmarks/generation.py --train 150000` measures the paper's scale; nothing is extrapolated. Memory is the sum
of all processes' resident memory, sampled five times a second.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

PERIOD_S = 0.2


class Memory:
    """Largest resident memory of this process and its children, bytes."""

    def __init__(self) -> None:
        self.peak, self._ended = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        here = psutil.Process()
        while not self._ended.wait(PERIOD_S):
            total = 0
            for process in (here, *here.children(recursive=True)):
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.peak = max(self.peak, total)


def processor_s() -> float:
    """Processor time that this process and its living children have used."""
    here = psutil.Process()
    times = [process.cpu_times() for process in (here, *here.children(recursive=True))]
    return sum(entry.user + entry.system for entry in times)


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Notes the wall time of a block."""
    start_s = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start_s


def main() -> None:
    """Generates a data set in a temporary folder and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=int, default=10_000, help="training episodes")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--keep", type=Path, help="folder to keep the data set in")
    arguments = parser.parse_args()

    from components.episodes import similarities
    from components.generation import which, write_shards
    from llarp.config import load_params
    from llarp.tasks.data import card
    from llarp.tasks.data.dataset import Report
    from llarp.tasks.data.store import Episodes

    params = load_params()
    changes = {"train": arguments.train, "workers": arguments.workers}
    config = params.episodes.model_copy(update=changes)
    params = params.model_copy(update={"episodes": config, "seed": arguments.seed})
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        with Memory() as generating, timed(seconds, "generate"):
            used_s = -processor_s()
            write_shards(folder, arguments.seed, config)
            used_s += processor_s()
        with Memory() as reporting:
            with timed(seconds, "report"):
                report = Report.of(folder, arguments.seed, which(config))
                report.refuse_leaks()
            with timed(seconds, "similarity"):
                report = report.with_similarity(similarities(folder, params))
            with timed(seconds, "card"):
                card.write(report, folder / card.CARD)
        size = sum(path.stat().st_size for path in (folder / "train").iterdir())
        with timed(seconds, "open"):
            episodes = Episodes.open(folder / "train")
        with timed(seconds, "item"):
            _ = episodes[len(episodes) // 2]
        with timed(seconds, "read"):
            count = sum(1 for _ in episodes)

    total = report.episodes
    print(f"{total:,} episodes ({count:,} of training) by {arguments.workers} processes, each proved")
    print(f"generate and prove   {seconds['generate']:8.1f} s   {total / seconds['generate']:8.0f} episodes/s")
    print(f"  processor time     {used_s:8.1f} s   {total / used_s:8.0f} episodes/s of one core")
    print(f"leaks and counts     {seconds['report']:8.1f} s")
    print(f"similarity           {seconds['similarity']:8.1f} s")
    print(f"data card            {seconds['card']:8.1f} s")
    print(
        f"most memory          {generating.peak / 2**30:8.2f} GiB while generating, {reporting.peak / 2**30:.2f} after"
    )
    print(f"store                {size / 1e6:8.1f} MB   {size / count:8.0f} bytes per episode")
    print(f"open                 {1000 * seconds['open']:8.1f} ms, the middle episode {1000 * seconds['item']:.1f} ms")
    print(f"read all             {seconds['read']:8.1f} s   {count / seconds['read']:8.0f} episodes/s")


if __name__ == "__main__":
    main()
