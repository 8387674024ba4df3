"""DVC's remote from a flow: what a fresh machine lacks is pulled, what a run has made is pushed."""

import sys

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed, State

from components.paths import Paths
from pipelines.outcome import BAD_INPUT_STATE
from pipelines.stages import RETRIED, run_program

REFUSED_STATE = "Remote refused"
"""Name of the state of a run whose data could not be pulled or pushed; run again, it only does what is left."""
_DVC = (sys.executable, "-m", "dvc", "--wait-for-lock")


def remote_of(paths: Paths) -> str | None:
    """Name of the default remote; None when there is none."""
    from dvc.config import Config

    return Config(str(paths.root / ".dvc"))["core"].get("remote")


@task(name="pull", task_run_name="pull", cache_policy=NO_CACHE)
def pull(paths: Paths) -> State:
    """Links into the workspace what dvc.lock names: from the cache, and from the remote what the cache lacks.

    What neither has is left out, and the stages that write it run again.
    """
    if not paths.lock.exists():
        return Completed(message="nothing is recorded yet")
    if remote_of(paths) is not None:
        state = run_program([*_DVC, "fetch", "--run-cache"], paths.root, "dvc fetch")
        if not state.is_completed():
            get_run_logger().warning("The remote does not give all that is recorded: what is missing is made again.")
    run_program([*_DVC, "checkout", "--allow-missing", "--force"], paths.root, "dvc checkout")
    return Completed(message="what is recorded is in place")


@task(name="push", task_run_name="push", **RETRIED)
def push(paths: Paths) -> State:
    """Sends what the run has made to the remote; nothing to do where there is none."""
    name = remote_of(paths)
    if name is None:
        return Completed(message="no remote is set")
    state = run_program([*_DVC, "push", "--run-cache"], paths.root, f"dvc push to {name}")
    if state.is_completed() or state.name == BAD_INPUT_STATE:
        return state
    return Failed(
        name=REFUSED_STATE,
        message=f"remote {name} did not take the data — see the lines above; run again when it answers",
    )
