"""The flow `reproduce`: a registered version's state is checked out, run again and compared, output by output."""

from dataclasses import dataclass
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.runtime import flow_run
from prefect.states import Completed, Failed, State

from components import environment, lineage_record, model_files
from components.lineage import Lineage
from components.lineage_record import Record
from components.machine import machine
from components.paths import Paths
from llarp.errors import UserError
from llarp.files import file_aside
from pipelines import settings
from pipelines import workspace as places
from pipelines.dvc_graph import Graph
from pipelines.notify import on_failure
from pipelines.outcome import bad_input
from pipelines.patience import patiently
from pipelines.retrain import LIMIT_S
from pipelines.stages import run_stage
from pipelines.workspace import Workspace

TIMED = tuple(path.as_posix() for path in (Paths().curves, Paths().report))
"""Outputs that tell how long something took: no two runs write the same."""
DIFFERS = "Differs"
"""Name of the state when what was made is not what was recorded."""


@dataclass(frozen=True)
class Compared:
    """One input or output of a stage, then and now."""

    path: str
    recorded: str
    """DVC's md5."""
    now: str | None
    """None: it was not made."""

    @property
    def is_same(self) -> bool:
        """Whether the bytes are the same."""
        return self.recorded == self.now


@flow(name="reproduce", timeout_seconds=LIMIT_S, on_failure=[on_failure], on_crashed=[on_failure])
def reproduce(model: str = "models:/llarp@champion", anyway: bool = False) -> State:
    """Runs every stage again from a version's commit, parameters and inputs; nothing is registered.

    The same machine, packages and number of processes give the same weights. Another machine may round otherwise.

    Args:
        model: of the registry, as models:/llarp/7.
        anyway: even if the version was made from files that no commit holds.

    Returns:
        Completed when all data have the recorded hashes, Failed and named `Differs` when some have not.

    """
    environment.apply()
    try:
        version = model_files.find(model)
        record = lineage_record.read(version)
        if record.git.dirty and not anyway:
            changed = ", ".join(record.git.changed)
            raise UserError(f"was made from files that no commit holds: {changed}", model, "or try with --anyway")
        name = f"reproduce-{version.name}-{version.version}-{str(flow_run.id)[:8]}"
        with places.opened(Path(), name, record.git.commit) as place:
            if place.state == "made":
                _prepare(place, record, version.run_id or "")
            place.note("running")
            state = _run(place.paths, record)
            place.note("completed" if state.is_completed() else "failed")
            return state
    except UserError as error:
        return bad_input(error)


def compare(record: Record, paths: Paths) -> list[Compared]:
    """Every input from outside and every output of the stages but `register`, as recorded and as dvc.lock has it.

    Those of `TIMED` are left out.
    """
    lineage = Lineage(paths)
    made = record.outputs
    inputs = {
        path: (md5, {dep["path"]: dep.get("md5") for dep in lineage.stage_lock(name).get("deps", ())}.get(path))
        for name, stage in record.stages.items()
        for path, md5 in stage.deps.items()
        if path not in made and name != lineage_record.STAGE
    }
    found = [Compared(path, md5, now) for path, (md5, now) in sorted(inputs.items())]
    return found + [Compared(path, md5, lineage.hashes.get(path)) for path, md5 in made.items() if path not in TIMED]


def _prepare(place: Workspace, record: Record, run_id: str) -> None:
    """Gives the workspace the version's parameters; and no dvc.lock, so that every stage runs."""
    params = model_files.read_artifact(run_id, "params.yaml")
    if params is None:
        raise UserError("its params.yaml is gone", f"run {run_id}", "see `llarp lineage verify`")
    with file_aside(place.paths.params) as aside:
        aside.write_bytes(params)
    places.bring(Path(), place, settings.inputs(settings.changed(place.root)))
    place.paths.lock.unlink(missing_ok=True)


def _run(paths: Paths, record: Record) -> State:
    logger = get_run_logger()
    here = machine()
    if other := [
        f"{key} {record.machine[key]} -> {here[key]}" for key in ("cpu", "gpus") if record.machine[key] != here[key]
    ]:
        logger.warning("Another machine, so the weights may differ in their last bits: %s", "; ".join(other))
    graph = Graph(paths.root)
    for stage in graph.stages:
        if stage.name == lineage_record.STAGE or not graph.why_stale(stage.name):
            continue
        state = run_stage(stage, paths, again=True)
        if not state.is_completed():
            return Failed(name=state.name, message=state.message)
    found = compare(record, paths)
    rows = [{"what": each.path, "recorded": each.recorded, "now": each.now, "same": each.is_same} for each in found]
    told = "What was recorded, and what was made again"
    patiently(lambda: create_table_artifact(rows, key="reproduced", description=told))
    for each in found:
        logger.info("%-8s %s", "same" if each.is_same else "DIFFERS", each.path)
    differ = [each.path for each in found if not each.is_same]
    if differ:
        return Failed(name=DIFFERS, message=f"{len(differ)} of {len(found)} differ: {', '.join(differ)}")
    return Completed(message=f"all {len(found)} inputs and outputs are the same, byte for byte")
