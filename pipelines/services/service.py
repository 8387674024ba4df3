"""One server's process: started, waited for, ended with all its children, and found again by another process."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components import environment
from llarp.errors import UserError
from llarp.files import file_aside
from pipelines.server import HOST, is_free

if TYPE_CHECKING:
    import psutil

_PERIOD_S = 0.2
_GRACE_S = 20.0
"""Time to clean up before the processes are killed."""
_CLIENT = ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_HOME")
"""Variables of clients: a server that saw them would ask another server, or itself."""


@dataclass(frozen=True)
class Mark:
    """What a started process leaves on disk, so that another one can end it; the time tells a reused id apart."""

    pid: int
    created_s: float
    """Seconds since 1970."""

    @classmethod
    def of(cls, pid: int) -> "Mark":
        """The mark of a process that lives."""
        import psutil

        return cls(pid, psutil.Process(pid).create_time())

    @classmethod
    def read(cls, path: Path) -> "Mark | None":
        """None when there is none."""
        with suppress(OSError, ValueError, TypeError):
            return cls(**json.loads(path.read_text()))
        return None

    def write(self, path: Path) -> None:
        """Writes the file whole."""
        with file_aside(path) as aside:
            aside.write_text(json.dumps(asdict(self)) + "\n")

    def process(self) -> "psutil.Process | None":
        """The process, None when it has ended."""
        import psutil

        with suppress(psutil.NoSuchProcess):
            found = psutil.Process(self.pid)
            if abs(found.create_time() - self.created_s) < 1 and found.status() != psutil.STATUS_ZOMBIE:
                return found
        return None

    def family(self) -> list["psutil.Process"]:
        """The process and its descendants; also those of its session that outlived it, as after `kill -9`."""
        import psutil

        found = {}
        with suppress(psutil.NoSuchProcess):
            if leader := self.process():
                found = {it.pid: it for it in (leader, *leader.children(recursive=True))}
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, ProcessLookupError, PermissionError):
                if os.getsid(process.pid) == self.pid and process.create_time() >= self.created_s - 1:
                    found[process.pid] = process
        return list(found.values())


class Service:
    """A server on loopback. Passwords go to it by variables: a command line can be read by every user."""

    name = ""
    limit_s = 300.0
    """Time to start, on a busy machine."""
    stop_signal = signal.SIGTERM

    def __init__(self, root: Path, port: int | None) -> None:
        """Args:
        root: folder of all services, for the log and the mark of the process.
        port: that it listens on, None when on none.
        """
        self.root, self.port = root.resolve(), port
        self._child: subprocess.Popen | None = None
        """Ours is waited for, so that it leaves no zombie."""

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.root / "logs" / f"{self.name}.log"

    @property
    def mark(self) -> Path:
        """File that tells other processes of the one that runs."""
        return self.root / "run" / f"{self.name}.json"

    @property
    def address(self) -> str:
        """For people and clients; empty when it listens nowhere."""
        return "" if self.port is None else f"http://{HOST}:{self.port}"

    def command(self) -> Sequence[str]:
        """Its command line, without secrets."""
        raise NotImplementedError

    def variables(self) -> Mapping[str, str]:
        """Variables that it alone gets."""
        return {}

    def identity(self) -> Mapping[str, Any]:
        """Arguments of `Popen` that say as whom it runs; none: as oneself."""
        return {}

    def folder(self) -> Path:
        """Where it works."""
        return self.root

    def prepare(self) -> None:
        """What must stand before it starts."""

    def settle(self) -> None:
        """What is to be done once it answers."""

    def is_healthy(self) -> bool:
        """Whether it does its work, as far as that can be asked for."""
        return self.is_running()

    @property
    def process(self) -> "psutil.Process | None":
        """The process that runs, started by whomever."""
        mark = Mark.read(self.mark)
        return mark.process() if mark else None

    @property
    def pid(self) -> int | None:
        """Id of its process, None when it does not run."""
        process = self.process
        return process.pid if process else None

    def is_running(self) -> bool:
        """Whether its process lives."""
        return self.process is not None

    def start(self) -> None:
        """Starts it and returns at once; see `wait`.

        Raises:
            UserError: it runs already, its port is taken, or what it needs is missing.

        """
        if self.is_running():
            raise UserError(f"{self.name} runs already", self.root, "end it: `llarp services stop`")
        if self.port is not None and not is_free(self.port):
            raise UserError(f"port {self.port} is taken", self.name, f"free it, or choose --{self.name}-port")
        self.prepare()
        for folder in (self.log.parent, self.mark.parent):
            folder.mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if name not in _CLIENT}
        defaults = {**environment.THREADS, **environment.PRIVACY, **environment.SERVERS}
        with os.fdopen(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as log:
            self._child = subprocess.Popen(
                self.command(), env={**defaults, **kept, **self.variables()}, cwd=self.folder(), **self.identity(),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        Mark.of(self._child.pid).write(self.mark)

    def wait(self) -> None:
        """Returns when it is healthy; UserError when it ended or took too long."""
        deadline_s = time.monotonic() + self.limit_s
        while not self.is_healthy():
            if not self.is_running():
                raise UserError(f"{self.name} ended while it started", self.log, f"its log ends: {self._tail()}")
            if time.monotonic() > deadline_s:
                raise UserError(f"{self.name} does not answer", self.log, f"its log ends: {self._tail()}")
            time.sleep(_PERIOD_S)
        self.settle()

    def stop(self) -> None:
        """Ends it and all its children, kindly and then by force; does nothing when it does not run."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """Ends it and all its children as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        import psutil

        if mark := Mark.read(self.mark):
            leader, family = mark.process(), mark.family()
            interrupted = leader is not None and how == signal.SIGINT  # then it ends its own
            for process in [leader] if leader is not None and interrupted else family:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(how)
            _, left = psutil.wait_procs(family, _GRACE_S)
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(left, _GRACE_S)
        if self._child is not None:
            self._child.wait()
        self.mark.unlink(missing_ok=True)

    def _tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return next((line for line in reversed(lines) if line.strip()), "nothing")
