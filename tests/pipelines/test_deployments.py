"""Deployments on a real Prefect server on PostgreSQL, with a real worker that is killed: what runs when, and again."""

import json
import os
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import psutil
import pytest
from lab import Lab, flow_of, kill_tree
from project_copy import PARTS, Project

from pipelines.services.postgres import program
from pipelines.services.secrets import passwords

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PIPELINE = """
stages:
  first:
    cmd: python stage.py first
    meta: {accelerator: true}
    deps: [stage.py]
    params: [seed]
    outs: [first.txt]
  second:
    cmd: python stage.py second
    deps: [stage.py, first.txt]
    outs: [second.txt]
"""
STAGE = """
import os, pathlib, sys, time, yaml
name, switches = sys.argv[1], pathlib.Path(os.environ["LLARP_TEST_SWITCHES"])
seed = yaml.safe_load(open("params.yaml"))["seed"]
with (switches / "ran").open("a") as log:
    log.write(f"{name} {seed} {os.getpid()} {os.getcwd()}\\n")
while (switches / f"hold-{name}-{seed}").exists():
    time.sleep(0.1)
if (switches / f"fail-{seed}").exists():
    raise RuntimeError("broken as asked")
open(name + ".txt", "w").write(f"{seed}\\n")
"""


class Webhook(BaseHTTPRequestHandler):
    told: ClassVar[list] = []

    def do_POST(self):
        self.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def lab(request, tmp_path_factory, services):
    root = tmp_path_factory.mktemp("lab")
    (root / "switches").mkdir()
    webhook = HTTPServer(("127.0.0.1", 0), Webhook)
    threading.Thread(target=webhook.serve_forever, daemon=True).start()
    variables = {
        "LLARP_TEST_SWITCHES": str(root / "switches"),
        "LLARP_WEBHOOK": f"http://127.0.0.1:{webhook.server_port}/secret-of-the-webhook",
    }
    project = Project(request.config.rootpath, root / "project", variables, (*PARTS, "prefect.yaml"))
    (project.root / "dvc.yaml").write_text(PIPELINE)
    (project.root / "stage.py").write_text(STAGE)
    project.commit("a pipeline in small")
    made = Lab(project, services)
    made.switches = root / "switches"
    made.deploy()
    yield made
    made.stop()
    webhook.shutdown()


@pytest.fixture(scope="module")
def late(lab):
    """A run that was due while no worker ran; afterwards one runs."""
    run = lab.run("retrain", {"overrides": {"seed": 1}})
    was = lab.wait(run, lambda state: state.name == "Late", 120)
    lab.start_worker()
    return run, was


def ran(lab, seed):
    lines = [line.split(" ") for line in (lab.switches / "ran").read_text().splitlines()]
    return [(line[0], int(line[2]), line[3]) for line in lines if line[1] == str(seed)]


def hold(lab, stage, seed):
    (lab.switches / f"hold-{stage}-{seed}").touch()


def go(lab, stage, seed):
    (lab.switches / f"hold-{stage}-{seed}").unlink()


def running(lab, stage, seed, times=1):
    """Waits until a stage has begun for the given time; returns its process."""
    end_s = time.monotonic() + 240
    while time.monotonic() < end_s:
        pids = [pid for name, pid, _ in ran(lab, seed) if name == stage] if (lab.switches / "ran").exists() else []
        if len(pids) >= times and psutil.pid_exists(pids[-1]):
            return pids[-1]
        time.sleep(0.2)
    raise AssertionError(lab.worker_log()[-5000:])


def is_gone(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_runs_are_scheduled_as_prefect_yaml_says(lab):
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName

    with lab.client() as client:
        deployments = {each.name: each for each in client.read_deployments()}
        assert deployments.keys() == {"retrain", "evaluate", "promote", "rollback"}
        crons = {name: [each.schedule.cron for each in found.schedules] for name, found in deployments.items()}
        assert crons == {"retrain": ["0 3 * * 1"], "evaluate": ["0 1 * * *"], "promote": [], "rollback": []}
        end_s = time.monotonic() + 120
        due = []
        while not due and time.monotonic() < end_s:  # Prefect's scheduler comes round now and then
            name = DeploymentFilterName(any_=["retrain"])
            found = client.read_flow_runs(deployment_filter=DeploymentFilter(name=name))
            due = [each.expected_start_time for each in found if each.auto_scheduled]
            time.sleep(1)
    assert due and all((each.weekday(), each.hour, each.minute) == (0, 3, 0) for each in due)


def test_prefects_form_has_every_parameter_typed(lab):
    with lab.client() as client:
        schema = client.read_deployment_by_name("retrain/retrain").parameter_openapi_schema
    definitions = schema["definitions"]
    epochs = definitions["SomeTrainConfig"]["properties"]["epochs"]
    assert epochs["description"]
    kinds = {kind.get("type") for kind in epochs["anyOf"]}
    assert kinds == {"number", "null"} and "required" not in definitions["SomeTrainConfig"]


def test_an_override_of_an_unknown_key_is_refused_before_anything_is_scheduled(lab):
    from prefect.exceptions import PrefectHTTPStatusError

    with pytest.raises(PrefectHTTPStatusError, match="train.*epoch"):
        lab.run("retrain", {"overrides": {"train": {"epoch": 3}}})


def test_a_late_run_is_picked_up_by_the_worker_and_works_in_a_workspace_of_its_own(lab, late):
    run, was = late
    assert was.is_scheduled()
    assert lab.end(run).name == "Completed"
    assert [(name, folder) for name, _, folder in ran(lab, 1)] == [
        ("first", str(lab.workspace(run))),
        ("second", str(lab.workspace(run))),
    ]
    assert (lab.workspace(run) / "second.txt").read_text() == "1\n"
    assert not (lab.project.root / "first.txt").exists()
    assert lab.project.run("git", "status", "--porcelain").stdout == ""


def test_nothing_that_was_made_in_one_workspace_is_made_again_in_another(lab, late):
    lab.end(late[0])
    before = len(ran(lab, 1))
    state = lab.end(lab.run("retrain", {"overrides": {"seed": 1}}))
    assert state.name == "Completed" and state.message.startswith("0 stages run, 2 up to date")
    assert len(ran(lab, 1)) == before


def test_two_runs_at_once_disturb_neither_each_other_nor_the_checkout(lab, late):
    hold(lab, "second", 21)
    one = lab.run("retrain", {"overrides": {"seed": 21}})
    running(lab, "second", 21)
    (lab.project.root / "stage.py").write_text("nonsense\n")  # somebody edits
    two = lab.run("retrain", {"overrides": {"seed": 22}})
    assert lab.end(two).name == "Completed"
    go(lab, "second", 21)
    assert lab.end(one).name == "Completed"
    lab.project.run("git", "checkout", "--quiet", "stage.py")
    assert [(lab.workspace(run) / "second.txt").read_text() for run in (one, two)] == ["21\n", "22\n"]


def test_one_stage_at_a_time_uses_the_accelerator(lab, late):
    hold(lab, "first", 31)
    one = lab.run("retrain", {"overrides": {"seed": 31}})
    running(lab, "first", 31)
    two = lab.run("retrain", {"overrides": {"seed": 32}})
    lab.wait(two, lambda state: state.is_running())
    time.sleep(10)
    assert not ran(lab, 32)
    go(lab, "first", 31)
    assert lab.end(one).name == lab.end(two).name == "Completed"


def test_a_cancelled_run_leaves_no_process_behind(lab, late):
    from prefect.states import Cancelling

    hold(lab, "first", 41)
    run = lab.run("retrain", {"overrides": {"seed": 41}})
    pid = running(lab, "first", 41)
    with lab.client() as client:
        client.set_flow_run_state(run, Cancelling())
    assert lab.end(run).name == "Cancelled"
    end_s = time.monotonic() + 30
    while not is_gone(pid) and time.monotonic() < end_s:
        time.sleep(0.2)
    assert is_gone(pid)
    go(lab, "first", 41)


def test_a_killed_flow_goes_on_in_its_workspace_with_finished_stages_kept(lab, late):
    hold(lab, "second", 51)
    run = lab.run("retrain", {"overrides": {"seed": 51}})
    stage = psutil.Process(running(lab, "second", 51))
    kill_tree(flow_of(stage).pid)
    running(lab, "second", 51, times=2)
    go(lab, "second", 51)
    assert lab.end(run).name == "Completed"
    assert [name for name, _, _ in ran(lab, 51)] == ["first", "second", "second"]
    assert lab.read(run).run_count == 2


def test_a_stage_that_is_killed_is_tried_again_and_one_that_fails_is_not_and_the_webhook_is_told(lab, late):
    hold(lab, "first", 61)
    run = lab.run("retrain", {"overrides": {"seed": 61}})
    os.kill(running(lab, "first", 61), 9)
    running(lab, "first", 61, times=2)
    (lab.switches / "fail-61").touch()
    go(lab, "first", 61)
    state = lab.end(run)
    assert state.is_failed() and len(ran(lab, 61)) == 2
    told = [each for each in Webhook.told if each["flow_run"] == str(run)]
    assert len(told) == 1 and told[0]["state"] == state.name and "stage first" in told[0]["message"]
    assert "secret-of-the-webhook" not in lab.worker_log()


def test_a_worker_that_dies_with_its_runs_is_noticed_by_silence_and_another_goes_on(lab, late):
    hold(lab, "second", 71)
    run = lab.run("retrain", {"overrides": {"seed": 71}})
    running(lab, "second", 71)
    for process in lab.processes:
        kill_tree(process.pid)  # as a machine that loses power: nobody is left to tell
        process.wait()
    lab.wait(run, lambda state: state.is_crashed(), 300)
    lab.start_worker()
    running(lab, "second", 71, times=2)
    go(lab, "second", 71)
    assert lab.end(run).name == "Completed"
    assert [name for name, _, _ in ran(lab, 71)] == ["first", "second", "second"]


def test_what_a_stage_makes_is_told_as_an_asset_with_its_hash(lab, late):
    lab.end(late[0])
    wanted = {"filter": {"event": {"name": ["prefect.asset.materialization.succeeded"]}}}
    end_s, made = time.monotonic() + 60, []
    with lab.client() as client:
        while not made and time.monotonic() < end_s:  # Prefect writes events down now and then
            events = client.request("POST", "/events/filter", json=wanted).json()["events"]
            made = [each for each in events if each["resource"]["prefect.resource.id"] == "dvc://llarp/second.txt"]
            time.sleep(1)
    assert made and len(made[0]["payload"]["md5"]) == 32, made
    assert any(each["prefect.resource.id"] == "dvc://llarp/first.txt" for each in made[0]["related"])


def test_no_secret_is_in_a_log_or_a_database(lab, services, late):
    lab.end(late[0])
    secrets = passwords(services.root / "passwords", True)
    hidden = [*secrets.values(), "secret-of-the-webhook"]
    told = {"worker": lab.worker_log()}
    told |= {log.name: log.read_text(errors="replace") for log in (services.root / "logs").glob("*.log")}
    for database in ("mlflow", "prefect"):
        command = [
            str(Path(program("initdb")).parent / "pg_dump"),
            "--host",
            "127.0.0.1",
            "--port",
            str(services.postgres.port),
            "--username",
        ]
        variables = {**os.environ, "PGPASSWORD": secrets[database]}
        done = subprocess.run([*command, database, database], env=variables, capture_output=True, text=True, check=True)
        told[f"database {database}"] = done.stdout
    assert "retrain" in told["database prefect"] and "alembic" in told["database mlflow"]
    assert [name for name, text in told.items() if any(secret in text for secret in hidden)] == []


@pytest.mark.parametrize(
    ("line", "words"),
    [("every monday", "'every monday' is no cron line"), ("0 25 * * *", "'0 25 * * *' is no cron line")],
)
def test_a_schedule_that_is_no_cron_line_is_named(request, tmp_path, line, words):
    from llarp.errors import UserError
    from pipelines.deploy import checked

    text = (request.config.rootpath / "prefect.yaml").read_text()
    (tmp_path / "prefect.yaml").write_text(text.replace("0 3 * * 1", line))
    assert len(checked(request.config.rootpath / "prefect.yaml")) == 4
    with pytest.raises(UserError) as caught:
        checked(tmp_path / "prefect.yaml")
    assert words in str(caught.value) and "deployments.retrain.schedules[0].cron" in str(caught.value)
    assert "\n" not in str(caught.value)
