"""The sessions that a server keeps for its clients: a bounded number, each under an id that nobody can guess."""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from llarp.serving.agent import Agent, Session, SessionEndedError

UNKNOWN = "no such session"
REMEMBERED = 10_000
"""Ended sessions of which it is still known that there were such."""


class FullError(Exception):
    """As many sessions are open as may be, and all are in use."""


class UnknownError(Exception):
    """There never was such a session, or its end was forgotten."""


@dataclass
class _Entry:
    session: Session
    used_s: float


class Sessions:
    """Open sessions by id. One in use never ends for another's sake: only what nobody uses any more makes room."""

    def __init__(self, agent: Agent, most: int, idle_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Args:
        agent: whose sessions they are.
        most: open at once.
        idle_s: seconds without a step after which a session ends.
        clock: seconds that never go back.
        """
        self.agent, self.most, self.idle_s, self._clock = agent, most, idle_s, clock
        self.started = 0
        """Sessions begun so far."""
        self._open: OrderedDict[str, _Entry] = OrderedDict()  # used least recently first
        self._ended: OrderedDict[str, str] = OrderedDict()
        self._lock = Lock()

    def start(self, instruction: str) -> str:
        """The new session's id; FullError, or UserError as `Agent.start`."""
        with self._lock:
            self._end_idle()
            if len(self._open) >= self.most:
                raise FullError(f"all {self.most} sessions are in use")
            session, key = self.agent.start(instruction), secrets.token_urlsafe(16)
            self._open[key] = _Entry(session, self._clock())
            self.started += 1
        return key

    def get(self, key: str) -> Session:
        """The open session of an id, which counts as used; UnknownError or SessionEndedError."""
        with self._lock:
            self._end_idle()
            if key in self._open:
                self._open.move_to_end(key)
                self._open[key].used_s = self._clock()
                return self._open[key].session
            if key in self._ended:
                raise SessionEndedError(self._ended[key])
        raise UnknownError(UNKNOWN)

    def end(self, key: str, why: str) -> None:
        """Ends a session and frees what it keeps, unless it has ended before; UnknownError."""
        with self._lock:
            if key in self._open:
                self._end(key, why)
            elif key not in self._ended:
                raise UnknownError(UNKNOWN)

    def end_all(self, why: str) -> None:
        """Ends every session."""
        with self._lock:
            for key in list(self._open):
                self._end(key, why)

    def __len__(self) -> int:
        """Sessions open now."""
        with self._lock:
            self._end_idle()
            return len(self._open)

    def _end_idle(self) -> None:
        latest_s = self._clock() - self.idle_s
        while self._open:
            key, entry = next(iter(self._open.items()))
            if entry.used_s > latest_s:
                return
            self._end(key, f"the session was idle for {self.idle_s:g} s and has ended: start another")

    def _end(self, key: str, why: str) -> None:
        self._open.pop(key).session.close()
        self._ended[key] = why
        if len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)
