"""The flow on a small project of its own: what it runs, logs and reports, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

PIPELINE = """
stages:
  first:
    cmd: {python} stage.py first
    deps: [stage.py]
    outs: [first.txt]
  second:
    cmd: {python} stage.py second
    deps: [first.txt]
    outs: [second.txt]
"""
STAGE = """
import json, os, sys
from llarp.progress import PREFIX
print("hello from", sys.argv[1])
print(PREFIX + json.dumps({"what": "views", "done": 1, "total": 2, "unit": "view"}))
open(sys.argv[1] + ".txt", "w").write("written\\n")
"""
BAD_INPUT = "import sys\nprint('error: params.yaml: key seed is wrong', file=sys.stderr)\nsys.exit(2)\n"
CRASH = "raise RuntimeError('broken')\n"
HANGS = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
open("pids", "w").write(f"{os.getpid()} {child.pid} ")
time.sleep(600)
"""
FLOW = (
    "from pipelines.outcome import exit_code\nfrom pipelines.retrain import retrain\n"
    "state = retrain(workspace='.', return_state=True)\nprint(state.message)\nexit(exit_code(state))"
)

ARTIFACT = """
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
with get_client(sync_client=True) as client:
    found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["stages"])))
    print(max(found, key=lambda artifact: artifact.created).data)
"""


@pytest.fixture
def small(tmp_path, request, prefect_api):
    """(folder of a small DVC project, variables for processes in it)."""
    root = str(request.config.rootpath)
    variables = {**os.environ, "PYTHONPATH": root, "PREFECT_API_URL": prefect_api, "DVC_NO_ANALYTICS": "true"}
    variables["DVC_SITE_CACHE_DIR"] = str(tmp_path / ".site")
    (tmp_path / "dvc.yaml").write_text(PIPELINE.format(python=sys.executable))
    (tmp_path / "stage.py").write_text(STAGE)
    command = [sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"]
    subprocess.run(command, cwd=tmp_path, env=variables, check=True)
    return tmp_path, variables


def flow(small):
    root, variables = small
    done = subprocess.run(
        [sys.executable, "-c", FLOW], cwd=root, env=variables, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_stale_stages_run_as_tasks_and_only_those_whose_inputs_change(small):
    code, log = flow(small)
    assert code == 0, log
    assert "Task run 'first' - hello from first" in log
    assert "Task run 'second' - hello from second" in log
    assert "::progress" not in log
    assert log.index("never run") < log.index("hello from first")
    assert "2 stages run, 0 up to date" in log

    (small[0] / "stage.py").write_text(STAGE + "# writes the same\n")
    code, log = flow(small)
    assert code == 0, log
    assert "second  follows" in log
    assert "hello from first" in log and "hello from second" not in log
    assert "1 stages run, 1 up to date" in log

    done = subprocess.run([sys.executable, "-c", ARTIFACT], env=small[1], capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout)
    assert [(row["stage"], row["did"], row["why"]) for row in rows] == [
        ("first", "run", "stage.py modified"),
        ("second", "up to date", ""),
    ]


def test_bad_input_of_a_stage_becomes_one_line_and_exit_code_2(small):
    (small[0] / "stage.py").write_text(BAD_INPUT)
    code, log = flow(small)
    assert code == 2
    assert "params.yaml: key seed is wrong" in log.splitlines()
    assert "Traceback" not in log
    assert not (small[0] / "second.txt").exists()


def test_a_crash_of_a_stage_fails_the_flow(small):
    (small[0] / "stage.py").write_text(CRASH)
    code, log = flow(small)
    assert code == 1
    assert "RuntimeError: broken" in log
    assert "stage first failed" in log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopping_the_flow_stops_the_stages_processes(small, number):
    root, variables = small
    (root / "stage.py").write_text(HANGS)
    heard = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"  # deaf where tests run with `&`
    process = subprocess.Popen(
        [sys.executable, "-c", heard + FLOW],
        cwd=root,
        env=variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not (root / "pids").exists() or len((root / "pids").read_text().split(" ")) < 3:
            assert process.poll() is None
            time.sleep(0.05)
        pids = [int(pid) for pid in (root / "pids").read_text().split()]
        assert all(psutil.pid_exists(pid) for pid in pids)
        process.send_signal(number)
        assert process.wait(60) != 0
        assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids)
    finally:
        process.kill()


def test_a_run_that_takes_too_long_is_ended_with_its_processes(small):
    root, variables = small
    (root / "stage.py").write_text(HANGS)
    command = [sys.executable, "-c", FLOW.replace("retrain(", "retrain.with_options(timeout_seconds=15)(")]
    done = subprocess.run(command, cwd=root, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "TimedOut" in done.stdout + done.stderr, done.stderr
    pids = [int(pid) for pid in (root / "pids").read_text().split()]
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids)
