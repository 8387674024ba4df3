"""A stage's process with all its children: its lines while it runs, and an end that leaves none of them behind."""

import json
import os
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from llarp.progress import PREFIX

if TYPE_CHECKING:
    import psutil

GROUP = "LLARP_GROUP"
"""Variable that marks all processes of a `Group`."""
_GRACE_S = 15.0
"""Time to clean up before the processes are killed."""
_POLL_S = 0.02


@dataclass(frozen=True)
class Tick:
    """How far a stage is."""

    what: str
    done: int
    total: int
    unit: str


def parse_tick(line: str) -> Tick | None:
    """The progress that a line tells of; None for any other line."""
    if not line.startswith(PREFIX):
        return None
    try:
        return Tick(**json.loads(line.removeprefix(PREFIX)))
    except (ValueError, TypeError):
        return None


class Group:
    """Runs a command in a session of its own; leaving the context ends everything that it has started.

    DVC does not end its stage's process when it is stopped, and the ranks of a training live in sessions of their own,
    so every descendant is ended, not only the process group.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path = Path()) -> None:
        """Args:
        command: program and arguments.
        environment: all its variables.
        folder: where it works.
        """
        self._mark = uuid.uuid4().hex
        self._watch: threading.Thread | None = None
        variables = {**environment, GROUP: self._mark}
        self.process = subprocess.Popen(
            command, env=variables, cwd=folder, text=True, bufsize=1, errors="replace", start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def __enter__(self) -> "Group":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        if self.process.stdout:
            self.process.stdout.close()

    def lines(self) -> Iterator[str]:
        """What it prints, line by line, until it ends.

        A child whose parent was killed may hold the pipe open for ever: whatever is left then is ended.
        """
        assert self.process.stdout is not None
        self._watch = threading.Thread(target=self._end_orphans, daemon=True)
        self._watch.start()
        for line in self.process.stdout:
            yield line.rstrip("\n")

    def wait(self) -> int:
        """The exit code, once the orphans that `lines` found are gone."""
        code = self.process.wait()
        if self._watch:
            self._watch.join()
        return code

    def stop(self) -> None:
        """Ends the process and all that it has started."""
        end(self.process)
        end_marked(GROUP, self._mark)

    def _end_orphans(self) -> None:
        self.process.wait()
        end_marked(GROUP, self._mark)


def end_marked(variable: str, value: str) -> None:
    """Ends the processes that were started with a variable of that value, kindly and then by force.

    Processes find no way out of it: neither a session of their own nor a parent that is gone hides them.
    """
    import psutil

    alive = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it has ended, or is somebody else's
            if process.pid != os.getpid() and process.environ().get(variable) == value:
                alive.append(process)
    _end_all(alive)


def end(process: subprocess.Popen) -> None:
    """Ends a process and all its descendants, kindly and then by force; does nothing when it has ended."""
    import psutil

    if process.poll() is not None:
        return
    leader = psutil.Process(process.pid)
    _end_all([leader, *leader.children(recursive=True)])
    process.wait()


def _end_all(processes: Sequence["psutil.Process"]) -> None:
    """Ends processes, kindly and then by force."""
    _signal(processes, "terminate")
    left = _await_end(processes)
    _signal(left, "kill")
    _await_end(left)


def _await_end(processes: Sequence["psutil.Process"]) -> list["psutil.Process"]:
    """Those that still run after the grace.

    A zombie does not: nobody may ever reap one that is no child of ours, as in a container without init.
    """
    import psutil

    deadline_s = time.monotonic() + _GRACE_S
    left = list(processes)
    while left and time.monotonic() < deadline_s:
        for process in tuple(left):
            with suppress(psutil.NoSuchProcess):
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    continue
            left.remove(process)
        time.sleep(_POLL_S if left else 0.0)
    return left


def _signal(processes: Sequence["psutil.Process"], how: Literal["terminate", "kill"]) -> None:
    import psutil

    for process in processes:
        with suppress(psutil.NoSuchProcess):
            getattr(process, how)()
