"""A real tracking server that can be killed and started again on the same store and port."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress


class Server:
    def __init__(self, folder):
        self.folder, self.process = folder, None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self, limit_s=120):
        command = [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}",
            "--artifacts-destination", str(self.folder / "mlartifacts"),
        ]  # fmt: skip
        variables = {
            **os.environ,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # more processes, for nothing that is used here
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
        }
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(command, env=variables, stdout=log, stderr=log, start_new_session=True)
        end_s = time.monotonic() + limit_s
        while time.monotonic() < end_s and self.process.poll() is None:
            with suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                return
            time.sleep(0.2)
        raise RuntimeError((self.folder / "server.log").read_text())

    def signal(self, number):
        os.killpg(self.process.pid, number)  # all of them are in one session, which is the server's own

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGKILL)
            self.process.wait()
