"""Stages as Prefect's tasks: each runs through DVC, waits for an accelerator of the machine and tells what it made."""

import math
import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from prefect import get_run_logger
from prefect.assets import Asset, materialize
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from prefect.states import Completed, Failed, State
from prefect.tasks import exponential_backoff

from components.lineage import Lineage
from components.paths import Paths
from components.stage import ERROR, FAILED, UNREACHABLE
from components.tracking import FLOW_RUN
from pipelines.bar import StageBar
from pipelines.dvc_graph import Stage
from pipelines.outcome import BAD_INPUT_STATE
from pipelines.processes import Group, parse_tick
from pipelines.slots import slot

KILLED_STATE, UNREACHABLE_STATE = "Killed", "Unreachable"
"""Names of states of stages that may do better another time: they are tried again."""
_RETRIES = 3
"""Of a stage that was killed, as for want of memory, or whose server did not answer; each goes on where it was."""
_FIRST_PAUSE_S = 10.0
"""Before a retry; the pauses double."""
RETRIED: dict[str, Any] = {
    "retries": _RETRIES,
    "retry_delay_seconds": exponential_backoff(_FIRST_PAUSE_S),
    "cache_policy": NO_CACHE,  # what is up to date is for DVC to say
}
"""Options of a task that is tried again and never skipped."""
_KILLED = re.compile(r"exited with (-\d+|1[34]\d|247)$|exitcode +: -(?!15\b)\d+|died with <Signals\.SIG(?!TERM)")
"""A signal, in the words of DVC and of the launchers of ranks, which themselves end the other ranks by signal 15."""
_HINTS = (
    "To track the changes",
    "git add ",
    "To enable auto staging",
    "dvc config ",
    "Use `dvc push`",
    "Updating lock",
    "WARNING: No file hash info found",
)
"""Begin lines that DVC prints after every stage and nobody needs in a log."""


def run_stage(stage: Stage, paths: Paths, again: bool = False) -> State:
    """Runs a stage as a task of its name; UserErrors, crashes and kills end as states of their own.

    Args:
        stage: of DVC's graph.
        paths: of the workspace.
        again: run it even if DVC remembers what it made of the same inputs.

    """
    assets = [asset(path) for path in stage.outs]
    options: dict[str, Any] = {
        "name": stage.name,
        "task_run_name": stage.name,
        "asset_deps": [asset(path) for path in stage.reads],
        "retry_jitter_factor": 0.2,
        "retry_condition_fn": _may_do_better,
        **RETRIED,
    }
    return materialize(*assets, by="dvc", **options)(_run)(stage, paths, assets, again, return_state=True)


def asset(path: str) -> Asset:
    """What Prefect calls a path that DVC versions."""
    return Asset(key=f"dvc://llarp/{path}")


def _run(stage: Stage, paths: Paths, assets: list[Asset], again: bool) -> State:
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", stage.name]
    command += ["--force", "--no-run-cache"] if again else []
    with accelerator() if stage.needs_accelerator else nullcontext():
        state = run_program(command, paths.root, f"stage {stage.name}")
    if state.is_completed():
        hashes = Lineage(paths).hashes
        for path, made in zip(stage.outs, assets, strict=True):
            made.add_metadata({"md5": hashes.get(path, ""), "flow_run": str(flow_run.id)})
    return state


def run_program(command: list[str], folder: Path, what: str) -> State:
    """Runs a program of the pipeline, its lines in the flow's log; stopping the flow stops all its processes.

    Args:
        command: program and arguments.
        folder: of the workspace in which, and with whose code, it runs.
        what: it is called in messages.

    """
    logger = get_run_logger()
    told: dict[str, str] = {}
    was_killed = False
    with Group(command, _variables(folder), folder) as group, StageBar() as bar:
        for line in group.lines():
            if tick := parse_tick(line):
                if said := bar.show(tick):
                    logger.info(said)
                continue
            for begins in (ERROR, UNREACHABLE, FAILED):
                if line.startswith(begins):
                    told[begins] = line.removeprefix(begins)
            was_killed |= _KILLED.search(line) is not None
            if line.strip() and not line.strip().startswith(_HINTS):
                bar.hide()
                logger.info(line)
        code = group.wait()
    if code == 0:
        return Completed(message=what)
    if ERROR in told:
        return Failed(name=BAD_INPUT_STATE, message=told[ERROR])
    if UNREACHABLE in told:
        return Failed(name=UNREACHABLE_STATE, message=f"{what}: {told[UNREACHABLE]}")
    if was_killed or code < 0:
        return Failed(name=KILLED_STATE, message=f"{what} was killed")
    return Failed(message=f"{what} failed: {told.get(FAILED, f'exit code {code}; its last lines tell why')}")


@contextmanager
def accelerator() -> Iterator[None]:
    """Holds one of this machine's accelerators, waiting for it if need be; a machine without any counts as one."""
    number = len(list(Path("/dev").glob("nvidia[0-9]*"))) or 1
    with slot(f"accelerator-{socket.gethostname()}", number, math.inf, get_run_logger().info):
        yield


def _variables(folder: Path) -> dict[str, str]:
    """Of the environment: the workspace's code comes first, progress comes in lines."""
    places = [str(folder.resolve()), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(places),
        "PYTHONUNBUFFERED": "1",
        "LLARP_PROGRESS": "lines",
        FLOW_RUN: str(flow_run.id),
    }


def _may_do_better(task: object, run: object, state: State) -> bool:
    """Whether a retry can help: not with bad input, nor after an exception of the stage's own."""
    return state.name in (KILLED_STATE, UNREACHABLE_STATE)
