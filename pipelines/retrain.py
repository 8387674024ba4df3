"""The flow `retrain`: runs what DVC says is stale, one stage after the other, each as a task of the stage's name."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.runtime import flow_run
from prefect.states import Completed, Failed, State

from components.paths import Paths
from components.stage import BAD_INPUT, ERROR
from components.tracking import FLOW_RUN
from llarp.config import Params
from pipelines import settings
from pipelines.bar import StageBar
from pipelines.dvc_graph import Graph, Step
from pipelines.processes import Group, parse_tick

BAD_INPUT_STATE = "Bad input"
"""Name of the state of a run that failed for what the user can mend."""
_HINTS = (
    "To track the changes",
    "git add ",
    "To enable auto staging",
    "dvc config ",
    "Use `dvc push`",
    "Updating lock",
)
"""Begin lines that DVC prints after every stage and nobody needs in a log."""


@flow(name="retrain")
def retrain(params: Params | None = None) -> State:
    """Brings everything up to date, from the parameters to the registered model.

    Args:
        params: written to params.yaml first; None takes what stands there.

    Returns:
        Completed, or Failed with the stage's own message.

    """
    logger = get_run_logger()
    if params is not None:
        settings.write(Paths().params, params)
    graph = Graph()
    steps = graph.plan()
    logger.info("Plan\n%s", plan_text(steps))
    done: list[dict[str, Any]] = []
    for step in steps:
        # What ran before may have written the same again: asked anew, a stage can turn out to be up to date.
        why = graph.why_stale(step.stage)
        start_s = time.monotonic()
        if why is not None:
            state = run_stage.with_options(name=step.stage, task_run_name=step.stage)(step.stage, return_state=True)
            if not state.is_completed():
                return Failed(name=state.name, message=state.message)
        done.append(
            {
                "stage": step.stage,
                "did": "up to date" if why is None else "run",
                "why": why or "",
                "seconds": round(time.monotonic() - start_s, 1),
            }
        )
    create_table_artifact(done, key="stages", description="What the flow did")
    if Paths().summary.exists():
        create_table_artifact(results(Paths().summary), key="evaluation", description="Success in percent")
    ran = sum(entry["did"] == "run" for entry in done)
    return Completed(message=f"{ran} stages run, {len(done) - ran} up to date")


@task
def run_stage(stage: str) -> State:
    """Runs one stage through DVC, its lines in the flow's log; stopping the flow stops all its processes."""
    logger = get_run_logger()
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", stage]
    environment = {**os.environ, "LLARP_PROGRESS": "lines", "PYTHONUNBUFFERED": "1", FLOW_RUN: str(flow_run.id)}
    complaint = ""
    with Group(command, environment) as group, StageBar() as bar:
        for line in group.lines():
            if tick := parse_tick(line):
                if said := bar.show(tick):
                    logger.info(said)
                continue
            if line.startswith(ERROR):
                complaint = line.removeprefix(ERROR)
            if line.strip() and not line.strip().startswith(_HINTS):
                bar.hide()
                logger.info(line)
        code = group.wait()
    if code == 0:
        return Completed(message=stage)
    if complaint:
        return Failed(name=BAD_INPUT_STATE, message=complaint)
    return Failed(message=f"stage {stage} failed with exit code {code}; its last lines tell why")


def plan_text(steps: list[Step]) -> str:
    """A line per stage: what is to become of it and why."""
    width = max(len(step.stage) for step in steps)
    return "\n".join(f"  {step.stage:<{width}}  {step.state:<10}  {step.why}".rstrip() for step in steps)


def results(summary: Path) -> list[dict[str, Any]]:
    """The evaluation as rows of a table: a split and the policies' success in percent."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    scores = json.loads(summary.read_text())
    for score in (*scores["splits"], *scores["totals"]):
        row = rows.setdefault((score["source"], score["group"]), {"episodes": score["source"], "split": score["group"]})
        low, high = 100 * score["low"], 100 * score["high"]
        row[score["policy"]] = f"{100 * score['success']:.1f} ({low:.0f}-{high:.0f})"
    return list(rows.values())


def exit_code(state: State) -> int:
    """0 when the flow completed, 2 for bad input, 1 for anything else."""
    if state.is_completed():
        return 0
    return BAD_INPUT if state.name == BAD_INPUT_STATE else 1
