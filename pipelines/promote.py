"""The flows `promote`, through the gate and perhaps a person, and `rollback`, at once."""

import os
import sys
import tempfile
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from prefect import flow, get_run_logger, pause_flow_run, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.exceptions import FlowPauseTimeout
from prefect.runtime import flow_run
from prefect.states import Completed, State

from components import aliases, environment, tracking
from components.assess import digest_of
from components.evidence import Evidence, common_digest, other_episodes, own_digest
from components.gate import Decision, decide
from components.paths import Paths
from llarp.config import Approval, Params, load_params
from llarp.errors import UserError
from pipelines import workspace
from pipelines.approval import Answer
from pipelines.notify import on_failure
from pipelines.outcome import BAD_INPUT_STATE, bad_input
from pipelines.patience import patiently
from pipelines.registry import guard
from pipelines.rollback import roll_back
from pipelines.stages import accelerator, run_program

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

PROMOTED, NOT_PROMOTED, ROLLED_BACK = "Promoted", "Not promoted", "Rolled back"
"""Names of the states in which these flows end well."""
_ROUNDS = 10
"""Of decisions, when the champion becomes another one meanwhile."""
_POLL_S = 2
_GRACE_S = 60
"""That Prefect's own time limit is longer: a run that hits that one would fail, whatever it says."""
_MOST_DESCRIPTION = 5000
"""Letters that MLflow's databases take."""


@flow(name="promote", on_failure=[on_failure], on_crashed=[on_failure])
def promote(version: str = aliases.CANDIDATE, approval: Approval | None = None, evaluate: bool = True) -> State:
    """Makes a version the champion if it passes the gate of params.yaml, and a person agrees where that is asked for.

    Args:
        version: number or alias.
        approval: auto or human; empty: as params.yaml says.
        evaluate: whether a champion that was evaluated on other episodes is evaluated on the candidate's.

    Returns:
        Completed, named `Promoted` or `Not promoted`; Failed, named `Bad input`, with a line on what to mend.

    """
    environment.apply()
    try:
        return _promote(Paths(), load_params(), version, approval, evaluate)
    except UserError as error:
        return bad_input(error)


@flow(name="rollback", on_failure=[on_failure], on_crashed=[on_failure])
def rollback(why: str = "", again: bool = False) -> State:
    """Makes `previous` the champion again, at once.

    Args:
        why: for the audit log.
        again: go back even to a version that was itself rolled back.

    """
    environment.apply()
    try:
        entry = roll_back(Paths(), why, again, str(flow_run.id))
    except UserError as error:
        return bad_input(error)
    return Completed(name=ROLLED_BACK, message=told(entry))


def told(entry: aliases.Entry) -> str:
    """A change in words: `champion 7 -> 5, previous 5 -> 7`."""
    changes = (f"{alias} {before or 'none'} -> {after or 'none'}" for alias, (before, after) in entry.changes.items())
    return ", ".join(changes)


def _promote(paths: Paths, params: Params, wanted: str, approval: Approval | None, evaluate: bool) -> State:
    logger = get_run_logger()
    client, experiment = tracking.open_client(paths)
    name, approval = params.register_.name, approval or params.promote.approval
    candidate = aliases.find(client, name, wanted)
    number = str(candidate.version)
    for _ in range(_ROUNDS):
        champion = aliases.current(client, name).get(aliases.CHAMPION)
        if champion == number:
            return Completed(name=NOT_PROMOTED, message=f"version {number} is the champion already")
        decision = judge(client, paths, params, candidate, champion, evaluate)
        logger.info("%s", decision.summary)
        patiently(partial(create_markdown_artifact, decision.markdown(), "promotion", decision.summary))
        if not decision.passed:
            _record(client, experiment, decision, "refused by the gate")
            return Completed(name=NOT_PROMOTED, message=decision.summary)
        who, outcome = None, "passed the gate"
        if approval == "human":
            answer = _ask(decision, params.promote.approval_timeout_s)
            who, outcome = answer.who or None, answer.said()
            if not answer.approve:
                _record(client, experiment, decision, outcome)
                return Completed(name=NOT_PROMOTED, message=f"version {number} was {outcome}")
        _record(client, experiment, decision, outcome)
        why = decision.summary if approval == "auto" else f"{outcome}; {decision.summary}"
        try:
            aliases.promote(paths, client, name, number, champion, why, who, str(flow_run.id), guard())
        except aliases.MovedError as moved:
            logger.warning("%s: the decision is made anew", moved)
            continue
        client.set_model_version_tag(name, number, "decision", f"promoted ({outcome})")
        was = f"; version {champion} is previous" if champion else ""
        return Completed(name=PROMOTED, message=f"version {number} of {name} is the champion{was}")
    raise UserError("the champion kept changing", f"model {name}", "promote one version at a time")


def judge(
    client: "MlflowClient", paths: Paths, params: Params, candidate: "ModelVersion", against: str | None, evaluate: bool
) -> Decision:
    """What the gate says of a candidate and the champion of that number, on the same episodes.

    Raises:
        UserError: a version is gone, or there is no evaluation on the same episodes and none can be made.

    """
    name, digest = candidate.name, own_digest(candidate)
    if against is None:
        return decide(name, Evidence.read(client, candidate, digest), None, params.promote)
    champion = aliases.find(client, name, against)
    if common := common_digest(candidate, champion):
        digest = common
    elif not evaluate:
        raise other_episodes(champion, digest)
    else:
        _assess(str(champion.version), _folder_with(paths, digest, candidate, champion))
        champion = aliases.find(client, name, against)
    ours, theirs = (Evidence.read(client, version, digest) for version in (candidate, champion))
    return decide(name, ours, theirs, params.promote)


def _folder_with(paths: Paths, digest: str, candidate: "ModelVersion", champion: "ModelVersion") -> Path:
    """The checkout or workspace whose data/ has the candidate's episodes."""
    for root in (paths.root, *(each.root for each in workspace.all_of(paths.root))):
        place = Paths(root)
        try:
            if digest_of(load_params(place.params), place) == digest:
                return root
        except UserError:  # no episodes there, or half of them
            continue
    data = candidate.tags.get("dvc.data/episodes", "unknown")
    commit = candidate.tags.get("git.commit", "")[:12]
    raise UserError(
        f"was not evaluated on the candidate's episodes ({digest}; data/episodes {data}), which are not here",
        f"model {champion.name} version {champion.version}",
        f"bring them: check out dvc.lock and params.yaml of version {candidate.version} (commit {commit}), `dvc pull "
        f"data/episodes data/release`; or retrain the candidate on the data that are here",
    )


def _assess(version: str, root: Path) -> None:
    state = _run_assess.with_options(task_run_name=f"assess version {version}")(version, root, return_state=True)
    if state.name == BAD_INPUT_STATE:
        raise UserError(state.message or "")
    if not state.is_completed():
        raise RuntimeError(state.message)


@task(name="assess", cache_policy=NO_CACHE)
def _run_assess(version: str, root: Path) -> State:
    """Evaluates a registered version in a process of its own, as the stages are."""
    with accelerator():
        return run_program([sys.executable, "-m", "components.assess", version], root, f"evaluation of {version}")


def _ask(decision: Decision, limit_s: float) -> Answer:
    """Pauses until a person answers in Prefect's UI or by `llarp approve`; no answer in time is a no."""
    logger, run_id = get_run_logger(), str(flow_run.id)
    address = os.environ.get("PREFECT_API_URL", "")
    logger.warning(
        "Version %s waits up to %g s for a yes: %s/runs/flow-run/%s, or\n  PREFECT_API_URL=%s llarp approve %s --yes",
        decision.candidate, limit_s, address.removesuffix("/api"), run_id, address, run_id,
    )  # fmt: skip
    # Prefect fails a run whose pause has run out, whatever it says then. So the time-out itself answers, a bit before.
    no = Answer(approve=False, reason=f"no answer in {limit_s:g} s", who="the time-out")
    is_over = threading.Event()
    threading.Thread(target=_answer_late, args=(run_id, no, limit_s, is_over), daemon=True).start()
    form = Answer.with_initial_data(description=decision.markdown())
    try:
        return pause_flow_run(wait_for_input=form, timeout=int(limit_s) + _GRACE_S, poll_interval=_POLL_S)
    except FlowPauseTimeout:
        return no
    finally:
        is_over.set()


def _answer_late(run_id: str, answer: Answer, limit_s: float, is_over: threading.Event) -> None:
    """Answers a paused run after a time, again and again until the pause is over; nothing if it is over before."""
    pause_s = limit_s
    while not is_over.wait(pause_s):
        pause_s = 1.0
        with suppress(Exception), get_client(sync_client=True) as client:  # the server may be away for a moment
            client.resume_flow_run(UUID(run_id), run_input=answer.model_dump())  # in vain if somebody was faster


def _record(client: "MlflowClient", experiment: str, decision: Decision, outcome: str) -> None:
    """Keeps a decision with the version: in words as its description, with every number in a run of MLflow."""
    tags = {
        "stage": "promote",
        "model.version": f"{decision.model}/{decision.candidate}",
        "decision": outcome,
        "prefect.flow_run_id": str(flow_run.id),
    }
    run = client.create_run(experiment, tags=tags, run_name="promote").info.run_id
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("decision.md", decision.markdown()), ("decision.json", decision.json())):
            (Path(folder) / name).write_text(text)
            client.log_artifact(run, str(Path(folder) / name))
    client.set_terminated(run)
    text = f"{outcome[:1].upper()}{outcome[1:]}.\n\n{decision.markdown()}"
    client.update_model_version(decision.model, decision.candidate, text[:_MOST_DESCRIPTION])
    client.set_model_version_tag(decision.model, decision.candidate, "decision", outcome)
    client.set_model_version_tag(decision.model, decision.candidate, "decision.run", run)
