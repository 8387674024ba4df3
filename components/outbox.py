"""A thread that sends what a stage wants MLflow to know, so that no server, dead or slow, holds up the work."""

import logging
import os
import threading
from typing import TYPE_CHECKING

from components.unsent import Unsent, in_a_line

if TYPE_CHECKING:
    from mlflow import MlflowClient

FLUSH_S = 2.0
"""What has gathered is sent this often: a batch costs some 5 ms."""
MOST_PAUSE_S = 30.0
"""Between attempts while the server is away; the pauses double up to here."""
IMPATIENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # at once, for connections that the server closed while they were idle
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",  # seconds
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # it asks the server for a name, only to print it
}
"""By itself MLflow tries a request for 4 minutes, and for 20 when the server hangs; the thread is patient instead."""
HASTY = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "1"}
"""For a server that was given up."""


class Outbox:
    """Sends in order whatever is put into `unsent`, again and again until the server has taken it.

    The thread starts with the first thing to send. From then on all requests of the process are `IMPATIENT`, unless
    the user has set those variables: a stage that speaks to MLflow itself does so before.
    """

    def __init__(self, client: "MlflowClient", run_id: str) -> None:
        self.client, self.unsent = client, Unsent(run_id)
        self._thread: threading.Thread | None = None
        self._wake, self._starting = threading.Event(), threading.Lock()
        self._is_last = self._is_over = False

    def start(self) -> None:
        """There is something to send, some time soon."""
        with self._starting:  # two threads would each take away what the other one sends
            if self._thread is not None:
                return
            for name, value in IMPATIENT.items():
                os.environ.setdefault(name, value)
            logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it warns of every retry
            self._thread = threading.Thread(target=self._work, name="outbox", daemon=True)
            self._thread.start()

    def finish(self, limit_s: float) -> bool:
        """Waits until all is sent, but not for longer than `limit_s`; nothing may be added any more.

        Returns:
            Whether all is sent. If not, the thread goes on, and it can be waited for again.

        """
        self.start()
        self._is_last = True
        self._wake.set()
        assert self._thread is not None
        self._thread.join(limit_s)
        return not self._thread.is_alive()

    def give_up(self) -> None:
        """Makes no further attempt; other requests of the process, which is about to end, are `HASTY`."""
        self._is_over = True
        os.environ.update(HASTY)
        self._wake.set()

    def _work(self) -> None:
        pause_s, is_away = FLUSH_S, False
        while not self._is_over:
            self._wake.wait(pause_s)
            self._wake.clear()
            is_last = self._is_last  # before sending: what is added later needs another round
            try:
                self.unsent.send(self.client)
            except Exception as error:  # whatever a client or its plug-in raises, the work must go on
                pause_s = min(2 * pause_s, MOST_PAUSE_S)
                if not is_away and not is_last:
                    self._say(f"does not answer; what it misses is sent when it is back ({in_a_line(error)})")
                is_away = True
                continue
            if is_away:
                self._say("answers again and has got all that it had missed")
            pause_s, is_away = FLUSH_S, False
            if is_last:
                return

    def _say(self, what: str) -> None:
        if not self._is_over:  # the process may be ending, and who prints then may crash it
            print(f"MLflow at {in_a_line(self.client.tracking_uri)} {what}.", flush=True)
