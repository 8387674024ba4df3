import os
import subprocess
import sys
import time

import psutil
import pytest

from llarp.progress import PREFIX, Progress
from pipelines.bar import StageBar
from pipelines.processes import Group, Tick, end_marked, parse_tick

FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"],
                         start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(600)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""


def python(code):
    return Group([sys.executable, "-c", code], os.environ)


def is_gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_lines_and_exit_code():
    with python("import sys; print('one'); print('two', file=sys.stderr, flush=True); sys.exit(7)") as group:
        assert sorted(group.lines()) == ["one", "two"]
        assert group.wait() == 7


def test_an_error_ends_the_process_and_a_child_in_another_session():
    with pytest.raises(KeyboardInterrupt), python(FAMILY) as group:
        child = int(next(group.lines()))
        assert not is_gone(child)
        raise KeyboardInterrupt
    assert is_gone(group.process.pid)
    assert is_gone(child)


def test_a_process_that_does_not_listen_is_killed(monkeypatch):
    monkeypatch.setattr("pipelines.processes._GRACE_S", 0.2)
    with python(STUBBORN) as group:
        assert next(group.lines()) == "deaf"
    assert is_gone(group.process.pid)


def test_progress_of_a_child_is_understood():
    code = "from llarp.progress import track\nfor _ in track(range(3), 'counted', unit='view'): pass"
    variables = {**os.environ, "LLARP_PROGRESS": "lines"}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    ticks = [parse_tick(line) for line in done.stdout.splitlines()]
    assert ticks[-1] == Tick("counted", 3, 3, "view")


@pytest.mark.parametrize("line", ["plain", PREFIX + "{", PREFIX + '{"what": "x"}', PREFIX + "[]"])
def test_other_lines_are_no_progress(line):
    assert parse_tick(line) is None


def test_the_bar_follows_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with StageBar() as bar:
        assert bar.show(Tick("views", 5, 10, "view")) is None
        time.sleep(0.12)
        assert bar.show(Tick("views", 10, 10, "view")) is None
        bar.hide()
        bar.show(Tick("frames", 1, 4, "frame"))
    drawn = capsys.readouterr().err
    assert "views" in drawn and "10/10" in drawn
    assert "frames" in drawn and "1/4" in drawn


def test_without_a_terminal_a_line_now_and_then(monkeypatch, capsys):
    with StageBar() as bar:
        assert bar.show(Tick("views", 1, 10, "view")) is None
        monkeypatch.setattr("pipelines.bar._SAY_S", 0.0)
        assert bar.show(Tick("views", 2, 10, "view")) == "views: 2 of 10"
    assert capsys.readouterr().err == ""


def test_progress_says_nothing_to_nobody(capsys, monkeypatch):
    monkeypatch.delenv("LLARP_PROGRESS", raising=False)
    with Progress("work", 2) as progress:
        progress.update(2)
    assert capsys.readouterr() == ("", "")


def test_a_child_whose_parent_was_killed_holds_nothing_up():
    family = FAMILY.replace("print(child.pid, flush=True)", "print(child.pid, os.getpid(), flush=True)")
    family = family.replace("stdout=subprocess.PIPE", "stdout=None").replace("child.stdout.readline()\n", "")
    with python("import os\n" + family) as group:
        lines = group.lines()
        child, parent = map(int, next(line for line in lines if " " in line).split())
        os.kill(parent, 9)
        list(lines)  # ends, though the child has the pipe
        assert group.wait() == -9 and is_gone(child)


def test_processes_are_found_by_their_mark():
    mark = f"mark-{os.getpid()}"
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    marked = subprocess.Popen(command, env={**os.environ, "LLARP_TEST_MARK": mark}, start_new_session=True)
    other = subprocess.Popen(command, env={**os.environ, "LLARP_TEST_MARK": mark + "0"})
    try:
        end_marked("LLARP_TEST_MARK", mark)
        assert is_gone(marked.pid) and other.poll() is None
    finally:
        other.kill()
        other.wait()
