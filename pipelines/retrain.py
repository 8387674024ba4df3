"""The flow `retrain`: runs what DVC says is stale, one stage after the other, in a workspace of its own."""

import json
import time
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.deployments import run_deployment
from prefect.runtime import deployment, flow_run
from prefect.states import Completed, Failed, State

from components import environment
from components.git import git, tagged
from components.paths import Paths
from components.tracking import open_client
from llarp.errors import UserError
from llarp.files import file_aside
from pipelines import settings
from pipelines import workspace as places
from pipelines.dvc_graph import Graph, Step
from pipelines.notify import on_failure
from pipelines.outcome import bad_input
from pipelines.overrides import Overrides, given
from pipelines.patience import patiently
from pipelines.remote import pull, push
from pipelines.stages import RETRIED, UNREACHABLE_STATE, run_stage
from pipelines.workspace import Workspace

CHECKOUT = "."
"""Name of the workspace that is the checkout itself."""
LIMIT_S = 7 * 24 * 3600
"""Time limit of a run."""


@flow(name="retrain", timeout_seconds=LIMIT_S, on_failure=[on_failure], on_crashed=[on_failure])
def retrain(
    preset: str | None = None,
    overrides: Overrides | None = None,
    revision: str = "HEAD",
    workspace: str | None = None,
    commit: bool = False,
    then_promote: bool = False,
) -> State:
    """Brings everything up to date, from the parameters to the registered model.

    Args:
        preset: laid over params.yaml first: the name of a file in presets/.
        overrides: single parameters, laid over that.
        revision: of git, whose code and params.yaml are run.
        workspace: name of the workspace, which is gone on with if it is there; empty: one of this run's own; `.`: the
            checkout as it stands.
        commit: make a git commit, with a tag, of params.yaml and dvc.lock at the end.
        then_promote: run the deployment `promote` at the end, if there is one.

    Returns:
        Completed, or Failed with the stage's own message.

    """
    environment.apply()
    name = workspace or str(flow_run.id)[:8]
    try:
        if name == CHECKOUT:
            with places.in_checkout(Path()) as paths:
                if preset or given(overrides):
                    settings.change(paths.root, preset, (), given(overrides))
                return _retrain(paths, commit, then_promote)
        places.remove_old(Path())
        with places.opened(Path(), name, revision) as place:
            get_run_logger().info("Workspace %s at commit %s", place.root, place.commit[:12])
            if place.state == "made":
                prepare(place, preset, given(overrides))
            place.note("running")
            state = _retrain(place.paths, commit, then_promote)
            place.note("completed" if state.is_completed() else "failed")
            return state
    except UserError as error:
        return bad_input(error)


def prepare(place: Workspace, preset: str | None, overrides: dict[str, Any]) -> None:
    """Gives a new workspace its parameters, the files that git does not have, and the data of the last run."""
    wanted = settings.changed(place.root, preset, (), overrides)
    places.bring(Path(), place, settings.inputs(wanted))
    settings.change(place.root, preset, (), overrides)
    pull(place.paths, return_state=True)


def _retrain(paths: Paths, commit: bool, then_promote: bool) -> State:
    """Runs the stale stages, then keeps what they have made."""
    logger = get_run_logger()
    graph = Graph(paths.root)
    logger.info("Plan\n%s", plan_text(graph.plan()))
    done: list[dict[str, Any]] = []
    for stage in graph.stages:
        # What ran before may have written the same again: asked anew, a stage can turn out to be up to date.
        why = graph.why_stale(stage.name)
        start_s = time.monotonic()
        if why is not None:
            state = run_stage(stage, paths)
            if not state.is_completed():
                return Failed(name=state.name, message=state.message)
        seconds = round(time.monotonic() - start_s, 1)
        did = "up to date" if why is None else "run"
        done.append({"stage": stage.name, "did": did, "why": why or "", "seconds": seconds})
    patiently(lambda: create_table_artifact(done, key="stages", description="What the flow did"))
    if paths.summary.exists():
        table = results(paths.summary)
        patiently(lambda: create_table_artifact(table, key="evaluation", description="Success in percent"))
    ran = sum(entry["did"] == "run" for entry in done)
    state = push(paths, return_state=True)
    if not state.is_completed():
        return Failed(name=state.name, message=state.message)
    places.keep_lock(Path(), paths)
    state = keep_with_run(paths, return_state=True)
    if not state.is_completed():
        return Failed(name=UNREACHABLE_STATE, message="MLflow did not take dvc.lock and params.yaml: run again")
    message = f"{ran} stages run, {len(done) - ran} up to date"
    if commit:
        message += f"; commit tagged {commit_result(paths)}"
    if then_promote and deployment.id:
        patiently(lambda: run_deployment("promote/promote", timeout=0, as_subflow=False))
    return Completed(message=message)


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


@task(name="keep", task_run_name="keep", **RETRIED)
def keep_with_run(paths: Paths) -> None:
    """Keeps dvc.lock, now whole, and params.yaml with the tracked run that registered the model; once per run."""
    if not paths.run("register").exists():
        return
    run_id = json.loads(paths.run("register").read_text())["run_id"]
    kept = Paths().state / "kept-with-run"
    if kept.exists() and kept.read_text() == run_id:
        return
    from mlflow.exceptions import MlflowException

    client, _ = open_client(paths)
    try:
        client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return  # another server has tracked it
    for file in (paths.lock, paths.params):
        client.log_artifact(run_id, str(file), "state")
    with file_aside(kept) as aside:
        aside.write_text(run_id)


def commit_result(paths: Paths) -> str:
    """Commits params.yaml and dvc.lock on a commit of their own, on no branch; returns the tag that names it."""
    registered = json.loads(paths.registration.read_text())
    tag = f"model/{registered['name']}/v{registered['version']}"
    if not git(paths.root, "tag", "--list", tag):
        files = {"params.yaml": paths.params, "dvc.lock": paths.lock}
        tagged(paths.root, tag, files, f"Model {registered['name']} version {registered['version']}")
    return tag
