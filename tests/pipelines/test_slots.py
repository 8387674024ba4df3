"""Slots on a real Prefect server, which is killed, and requests to one that is away."""

import os
import signal
import subprocess
import sys
import threading
import time

import httpx
import pytest

from components import environment
from pipelines import patience
from pipelines.patience import patiently
from pipelines.processes import end
from pipelines.server import Server
from pipelines.slots import slot

HOLD = """
import sys, time
from pipelines.slots import slot
with slot("held", 1, 0, print):
    print("held", flush=True)
    time.sleep(600)
"""
WAIT = """
import math, signal
from pipelines.slots import slot
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it, and hand that down
with slot("held", 1, math.inf, lambda line: print(line, flush=True)):
    print("held", flush=True)
"""


def failed(status):
    request = httpx.Request("GET", "http://127.0.0.1")
    return httpx.HTTPStatusError(str(status), request=request, response=httpx.Response(status, request=request))


def request_with(*errors):
    """A request that ends in one error after the other before it is answered."""
    left = list(reversed(errors))

    def request():
        if left:
            raise left.pop()
        return "answer"

    return request


def test_a_request_is_made_again_until_somebody_answers(monkeypatch):
    monkeypatch.setattr(patience, "_PAUSE_S", 0.0)
    assert patiently(request_with(httpx.ConnectError("refused"), failed(500), failed(503))) == "answer"
    with pytest.raises(httpx.HTTPStatusError, match="423"):
        patiently(request_with(failed(423)))
    monkeypatch.setattr(patience, "PATIENCE_S", -1.0)
    with pytest.raises(httpx.ConnectError):
        patiently(request_with(httpx.ConnectError("refused")))


@pytest.fixture
def server(tmp_path, monkeypatch, request):
    """Starts a server of this folder when called, on another port each time."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    for name, value in {**environment.defaults(tmp_path), "PREFECT_HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PREFECT_CLIENT_MAX_RETRIES", "0")
    monkeypatch.setenv("PYTHONPATH", str(request.config.rootpath))
    started = []

    def start():
        monkeypatch.delenv("PREFECT_API_URL", raising=False)
        server = Server()
        started.append(server.process)
        server.wait()
        settings = temporary_settings({PREFECT_API_URL: os.environ["PREFECT_API_URL"]})
        settings.__enter__()
        request.addfinalizer(lambda: settings.__exit__(None, None, None))
        return server.process

    yield start
    for process in started:
        end(process)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)


def test_one_holds_it_and_the_other_waits(server):
    process, said = server(), []

    def wait():
        with slot("one", 1, 60, said.append):
            pass

    with slot("one", 1, 0, said.append):
        with pytest.raises(TimeoutError, match="all slots of one are held"), slot("one", 1, 0, said.append):
            pass
        assert said == []
        waiting = threading.Thread(target=wait)
        waiting.start()
        while not said:
            time.sleep(0.05)
    waiting.join(30)
    assert len(said) == 1 and said[0].startswith("Waiting for a slot of one")
    with slot("other", 1, 0, said.append):
        process.kill()
        process.wait()  # leaving it does not fail, though nobody is there to take the slot back


def test_a_slot_comes_free_though_its_holder_and_the_server_were_killed_and_who_waits_can_be_stopped(server):
    first = server()
    holder = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    for process in (first, holder):
        process.kill()
        process.wait()
    server()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    waiting = [subprocess.Popen([sys.executable, "-c", WAIT], **pipes) for _ in range(2)]
    for process in waiting:
        line = process.stdout.readline()
        assert line.startswith("Waiting for a slot of held"), line + process.communicate()[0]
    waiting[0].send_signal(signal.SIGINT)
    assert waiting[0].wait(20) not in (0, None)
    assert waiting[1].communicate(timeout=150)[0].endswith("held\n") and waiting[1].returncode == 0
