"""What prefect.yaml promises, made real on a Prefect server: work pool, deployments, and the automation for crashes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import yaml

from llarp.errors import UserError

FILE = Path("prefect.yaml")
KUBERNETES = Path("deploy/kubernetes.yaml")
POOL, PROJECT = "LLARP_POOL", "LLARP_PROJECT"
"""Variables that prefect.yaml reads: name of the work pool, and the project's folder on its machines."""
HEARTBEAT_S = 30
"""Between signs of life of a flow; Prefect allows no less."""
SILENCE_S = 90
"""After so long without one a flow counts as crashed."""
_AUTOMATION = "llarp: a flow that gives no sign of life has crashed"
Kind = Literal["process", "kubernetes"]


def deploy(kind: Kind, project: str) -> list[str]:
    """Makes the pool, the automation and all deployments of prefect.yaml, or brings them up to date.

    Args:
        kind: of work pool; the pool's name as well.
        project: folder of the clone on the machines that run the flows.

    Returns:
        Names of the deployments.

    Raises:
        UserError: prefect.yaml is wrong, or Prefect refuses it.

    """
    names = [deployment["name"] for deployment in checked(FILE)]
    _make_pool(kind)
    _make_automation()
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(FILE)]
    variables = {**os.environ, POOL: kind, PROJECT: project}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        last = " ".join((done.stderr or done.stdout).split())[-300:]
        raise UserError(f"Prefect refuses it: {last}", FILE, "mend it")
    return names


def checked(path: Path) -> list[dict[str, Any]]:
    """The deployments of a file; UserError names the first key that cannot be."""
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", path, "run in the project's folder") from error
    except yaml.YAMLError as error:
        raise UserError(f"is no YAML: {error}", path, "mend the line named") from error
    deployments = content.get("deployments") if isinstance(content, dict) else None
    if not isinstance(deployments, list) or not all(isinstance(each, dict) and "name" in each for each in deployments):
        raise UserError("lists no deployments with names", path, "restore it from git")
    for deployment in deployments:
        for key, schedule in _schedules(deployment):
            _check(schedule, f"{path}: deployments.{deployment['name']}.{key}")
    return deployments


def _schedules(deployment: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, schedule in enumerate(deployment.get("schedules") or ()):
        yield f"schedules[{number}]", schedule


def _check(schedule: object, where: str) -> None:
    from prefect.client.schemas.schedules import CronSchedule
    from pydantic import ValidationError

    if not isinstance(schedule, dict) or "cron" not in schedule:
        raise UserError("is no schedule with a cron line", where, 'write cron: "0 3 * * 1"')
    try:
        CronSchedule(cron=schedule["cron"], timezone=schedule.get("timezone"))
    except ValidationError as error:
        what = error.errors()[0]
        key = ".".join(map(str, what["loc"])) or "cron"
        raise UserError(
            f"{schedule.get(key)!r} is no {'cron line' if key == 'cron' else key}", f"{where}.{key}",
            "write minute, hour, day, month and weekday, as in 0 3 * * 1" if key == "cron" else "write it as in UTC",
        ) from None  # fmt: skip


def _make_pool(kind: Kind) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound

    template = _template(kind)
    with get_client(sync_client=True) as client:
        try:
            client.read_work_pool(kind)
            client.update_work_pool(kind, WorkPoolUpdate(base_job_template=template))
        except ObjectNotFound:
            client.create_work_pool(WorkPoolCreate(name=kind, type=kind, base_job_template=template))


def _template(kind: Kind) -> dict[str, Any]:
    if kind == "kubernetes":
        return yaml.safe_load(KUBERNETES.read_text())
    from prefect.workers.process import ProcessWorker

    return ProcessWorker.get_default_base_job_template()


def _make_automation() -> None:
    """A flow whose process is gone, worker and all, says nothing: its silence makes it a crashed one."""
    from prefect.automations import AutomationCore
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import EventTrigger, Posture

    ends = ("Completed", "Failed", "Crashed", "Cancelled", "AwaitingRetry", "Suspended", "Scheduled")
    wanted = AutomationCore(
        name=_AUTOMATION,
        description=f"No heartbeat for {SILENCE_S} s. `llarp worker` then starts the run again.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{state}" for state in ends)},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=SILENCE_S),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                name="Crashed",
                message=f"it gave no sign of life for {SILENCE_S} s",
                force=False,
            )
        ],
    )
    with get_client(sync_client=True) as client:
        for known in client.read_automations_by_name(_AUTOMATION):
            client.delete_automation(known.id)
        client.create_automation(wanted)
