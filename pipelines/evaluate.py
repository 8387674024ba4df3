"""The flow `evaluate`: a registered version, by default the champion, on the episodes of the last training."""

import sys
from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Completed, Failed, State

from components import environment
from components.aliases import CHAMPION
from llarp.errors import UserError
from pipelines import workspace as places
from pipelines.notify import on_failure
from pipelines.outcome import bad_input
from pipelines.retrain import prepare
from pipelines.stages import accelerator, run_program

LIMIT_S = 24 * 3600
"""Time limit of a run."""


@flow(name="evaluate", timeout_seconds=LIMIT_S, on_failure=[on_failure], on_crashed=[on_failure])
def evaluate(version: str = CHAMPION) -> State:
    """Plays the policy of a version; rows, scores and latency go to a run of MLflow, whose id is tagged on the version.

    Args:
        version: number or alias.

    Returns:
        Completed, or Failed with the reason.

    """
    environment.apply()
    try:
        with places.opened(Path(), str(flow_run.id)[:8]) as place:
            if place.state == "made":
                prepare(place, None, {})
            with accelerator():
                command = [sys.executable, "-m", "components.assess", version]
                state = run_program(command, place.root, f"evaluation of {version}")
            place.note("completed" if state.is_completed() else "failed")
    except UserError as error:
        return bad_input(error)
    if not state.is_completed():
        return Failed(name=state.name, message=state.message)
    places.remove(Path(), place.name)  # all that it made is in MLflow
    return Completed(message=f"evaluated {version}")
