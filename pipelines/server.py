"""A Prefect server for as long as this process lives, unless PREFECT_API_URL names a real one.

Prefect would start its own, but in our process group, where Ctrl-C ends it before the flow has told it of its end:
the flow then waits for it for minutes. Ours lives in a session of its own, and starts while Prefect is imported.
"""

import atexit
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from llarp.errors import UserError
from pipelines.processes import end

HOST = "127.0.0.1"
"""Nobody but this machine: the server asks for no password."""
_PERIOD_S = 0.2
_LIMIT = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"


class Server:
    """Starting since it was made, web UI included; ends with this process, after Prefect has sent its last logs."""

    def __init__(self) -> None:
        self.process: subprocess.Popen | None = None
        if "PREFECT_API_URL" in os.environ:
            return
        port = free_port()
        command = [
            sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app",
            "--host", HOST, "--port", str(port), "--log-level", "error", "--lifespan", "on",
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command, env={**os.environ, "PREFECT__SERVER_FINAL": "1"}, start_new_session=True
        )
        atexit.register(end, self.process)
        os.environ["PREFECT_API_URL"] = f"http://{HOST}:{port}/api"

    def wait(self) -> None:
        """Returns when the server answers; UserError when it does not."""
        address = os.environ["PREFECT_API_URL"].rstrip("/")
        deadline_s = time.monotonic() + float(os.environ[_LIMIT])
        while not answers(f"{address}/health"):
            if self.process is None:
                raise UserError("no Prefect server answers", f"PREFECT_API_URL {address}", "start it, or unset this")
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                raise UserError("Prefect's server did not start", address, f"see above, or raise {_LIMIT}")
            time.sleep(_PERIOD_S)


def answers(url: str) -> bool:
    """Whether a server answers there."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) != 0
