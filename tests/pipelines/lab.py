"""A lab in small: real servers, a project with its deployments, a worker that can be killed, and what they show."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import psutil


class Lab:
    """A project on real services."""

    def __init__(self, project, services):
        self.project, self.services = project, services
        project.variables.update(services.variables)
        project.variables["PREFECT_HOME"] = str(project.root / ".llarp" / "prefect")
        project.variables["PREFECT_WORKER_QUERY_SECONDS"] = "2"  # tests have no time
        self.processes = []
        self.log = project.root.parent / "worker.log"

    def deploy(self):
        return self.project.llarp("deploy")

    def start_worker(self):
        """A worker in a session of its own, its log in the project."""
        with self.log.open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "pipelines.cli", "worker"],
                cwd=self.project.root, env=self.project.variables, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def stop(self):
        for process in self.processes:
            kill_tree(process.pid)
            process.wait()

    def client(self):
        from prefect.client.orchestration import SyncPrefectClient

        return SyncPrefectClient(self.services.prefect.api)

    def run(self, deployment, parameters=None, **options):
        """Asks for a run of a deployment; returns its id."""
        with self.client() as client:
            found = client.read_deployment_by_name(f"{deployment}/{deployment}")
            if deployment == "retrain":
                parameters = {"then_promote": False} | (parameters or {})
            return client.create_flow_run_from_deployment(found.id, parameters=parameters or {}, **options).id

    def state(self, run):
        with self.client() as client:
            return client.read_flow_run(run).state

    def read(self, run):
        with self.client() as client:
            return client.read_flow_run(run)

    def wait(self, run, until, limit_s=600):
        """Waits for a state for which `until` holds; returns it."""
        end_s = time.monotonic() + limit_s
        while time.monotonic() < end_s:
            state = self.state(run)
            if until(state):
                return state
            time.sleep(1)
        raise AssertionError(f"still {state.name}: {state.message}\n{self.worker_log()[-8000:]}")

    def end(self, run, limit_s=600):
        return self.wait(run, lambda state: state.is_final(), limit_s)

    def worker_log(self):
        return self.log.read_text()

    def workspace(self, run):
        return self.project.root / ".llarp" / "workspaces" / str(run)[:8]

    def python(self, code):
        """What a program prints as JSON."""
        return json.loads(self.project.python("-c", code).stdout.splitlines()[-1])


@contextmanager
def opened(name, store):
    """A lab of this working tree in a folder that is gone afterwards, for programs that are no tests.

    Args:
        name: of the folder, for those who look for it.
        store: kind of the object store, as `Layout` has it.

    """
    from project_copy import PARTS, Project

    from components import environment
    from pipelines.services.stack import Layout, Services

    for variable, value in {**environment.THREADS, **environment.PRIVACY, **environment.SERVERS}.items():
        os.environ.setdefault(variable, value)
    with tempfile.TemporaryDirectory(prefix=f"llarp-{name}-") as place:
        folder = Path(place)
        folder.chmod(0o755)  # PostgreSQL's user may come in
        os.environ["PREFECT_HOME"] = str(folder / "prefect")
        with Services(folder / "services", Layout.free(store)) as services:
            project = Project(Path(__file__).parents[2], folder / "project", {}, (*PARTS, "prefect.yaml"))
            lab = Lab(project, services)
            try:
                yield lab
            finally:
                lab.stop()


def stage_processes(folder: Path, module: str):
    """Processes that run `python -m module` (ranks too) in a workspace, oldest first."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd", "create_time"]):
        line = process.info["cmdline"] or []
        if module in line and process.info["cwd"] == str(folder):
            found.append(process)
    return sorted(found, key=lambda process: process.info["create_time"])


def flow_of(process):
    """The process of the flow that a worker has started and that runs a stage's process."""
    for child, parent in pairwise([process, *process.parents()]):
        if {"worker", "start"} <= set(parent.cmdline()):
            return child
    raise AssertionError([each.cmdline() for each in process.parents()])


def kill_tree(pid, how=signal.SIGKILL):
    """Ends a process and all that it has started."""
    try:
        leader = psutil.Process(pid)
        family = [leader, *leader.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(how)
