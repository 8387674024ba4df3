"""All changes of a model's aliases `candidate`, `champion` and `previous`: one at a time, and each on record.

The record is MLflow's experiment `llarp-audit`, a run per change. A change is written down before it is made (its run
is RUNNING) and ticked off after (FINISHED). One that was cut off in between, by a kill or a server that went away, is
made to the end by the next change, so that no alias stays behind another.

Changes wait for each other: on one machine by a lock on a file of the project's state, which workspaces share, and
which a process that dies lets go of. Whoever works on several machines passes a `guard` that holds for all of them.
"""

import fcntl
import getpass
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.paths import Paths
from components.tracking import FLOW_RUN
from llarp.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

CANDIDATE, CHAMPION, PREVIOUS = "candidate", "champion", "previous"
EXPERIMENT = "llarp-audit"
ROLLBACK = "rollback"
"""Name of the runs of such changes."""
_GONE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""MLflow's words for what cannot be done today nor tomorrow."""

Guard = AbstractContextManager[object]


class MovedError(Exception):
    """An alias was not where the change was decided for: decide again."""


@dataclass(frozen=True)
class Entry:
    """One change on record."""

    id: str
    """Of the run in MLflow."""
    action: str
    """What was done, in a word: register, promote, rollback."""
    changes: Mapping[str, tuple[str | None, str | None]]
    """Alias -> (version before, version after); None: no version."""
    why: str
    who: str
    host: str
    flow_run: str
    """Of Prefect; empty outside one."""
    time_ms: int
    """When it was begun, since 1970; later changes have later times."""
    status: str
    """FINISHED; RUNNING while it is not made or was cut off; FAILED when it could not be made."""

    @classmethod
    def of(cls, run: "Run") -> "Entry":
        """As it is in MLflow."""
        tags = run.data.tags
        changes = {alias: (before, after) for alias, (before, after) in json.loads(tags["changes"]).items()}
        return cls(
            id=run.info.run_id,
            action=run.info.run_name,
            changes=changes,
            why=tags.get("why", ""),
            who=tags.get("who", ""),
            host=tags.get("host", ""),
            flow_run=tags.get("prefect.flow_run_id", ""),
            time_ms=run.info.start_time,
            status=run.info.status,
        )


def current(client: "MlflowClient", name: str) -> dict[str, str]:
    """Alias -> version of a registered model; empty when there is no such model."""
    from mlflow.exceptions import MlflowException

    try:
        return {alias: str(version) for alias, version in client.get_registered_model(name).aliases.items()}
    except MlflowException as error:
        if error.error_code == _GONE[0]:
            return {}
        raise


def find(client: "MlflowClient", name: str, wanted: str) -> "ModelVersion":
    """The version that a number or an alias names; UserError when there is none."""
    from mlflow.exceptions import MlflowException

    try:
        if wanted.isdecimal():
            return client.get_model_version(name, wanted)
        return client.get_model_version_by_alias(name, wanted)
    except MlflowException as error:
        if error.error_code not in _GONE:
            raise
        known = ", ".join(f"{alias} ({version})" for alias, version in sorted(current(client, name).items()))
        do = f"give a number or one of: {known}" if known else "register one with `llarp run`"
        raise UserError(f"has no version or alias {wanted!r}", f"model {name}", do) from None


def change(
    paths: Paths,
    client: "MlflowClient",
    name: str,
    to: Mapping[str, str | None],
    why: str,
    who: str | None = None,
    action: str = "change",
    expect: Mapping[str, str | None] | None = None,
    flow_run: str | None = None,
    guard: Guard | None = None,
) -> Entry:
    """Sets aliases, or removes those that are to be None, in the order given.

    Args:
        paths: of the project, whose state has the lock.
        client: of the registry.
        name: of the model.
        to: alias -> version.
        why: for the record.
        who: for the record; None: the user of this process.
        action: for the record, in a word.
        expect: where aliases must be, or nothing is changed.
        flow_run: of Prefect, for the record; None: the one that has started this process.
        guard: entered around the change; a lock that holds on other machines too.

    Raises:
        MovedError: an alias is not where it is expected.
        UserError: there is no such version.

    """
    with _locked(paths, guard):
        return _change(paths, client, name, to, why, who, action, expect, flow_run)


def promote(
    paths: Paths, client: "MlflowClient", name: str, version: str, champion: str | None, why: str,
    who: str | None = None, flow_run: str | None = None, guard: Guard | None = None,
) -> Entry:  # fmt: skip
    """Makes a version the champion, and the champion the previous one.

    Args:
        champion: the version against which that was decided; None: there was none.

    Others as in `change`.

    Raises:
        MovedError: the champion is another one by now.
        UserError: there is no such version.

    """
    to = {PREVIOUS: champion, CHAMPION: version} if champion else {CHAMPION: version}
    return change(paths, client, name, to, why, who, "promote", {CHAMPION: champion}, flow_run, guard)


def rollback(
    paths: Paths, client: "MlflowClient", name: str, why: str, who: str | None = None, again: bool = False,
    flow_run: str | None = None, guard: Guard | None = None,
) -> Entry:  # fmt: skip
    """Makes `previous` the champion again, and what was the champion `previous`, without asking any gate.

    So another rollback would return to the bad version. Two people who see the same trouble both roll back: therefore
    that is refused unless it is asked for by `again`.

    Raises:
        UserError: there is no previous champion, or it is one that was rolled back.

    """
    with _locked(paths, guard):
        _finish(client, name)
        where = current(client, name)
        champion, previous = where.get(CHAMPION), where.get(PREVIOUS)
        if champion is None or previous is None:
            raise UserError("has no previous champion to go back to", f"model {name}", "promote a version instead")
        last = _last_of(client, name, CHAMPION)
        if not again and last and last.action == ROLLBACK and last.changes[CHAMPION] == (previous, champion):
            raise UserError(
                f"version {previous} has been rolled back already, by {last.who} at {when(last)}; "
                f"the champion is version {champion}",
                f"model {name}",
                "to return to the one that was rolled back: llarp rollback --again",
            )
        to = {CHAMPION: previous, PREVIOUS: champion}
        return _change(paths, client, name, to, why, who, ROLLBACK, None, flow_run)


def audit(client: "MlflowClient", name: str, most: int = 100) -> list[Entry]:
    """The last changes of a model's aliases, newest first."""
    return _search(client, f"tags.model = '{name}'", most)


def strays(client: "MlflowClient", name: str) -> dict[str, tuple[str | None, str | None]]:
    """Alias -> (version on record, version in the registry) where they differ: changed past this module."""
    where, found = current(client, name), {}
    for alias in (CANDIDATE, CHAMPION, PREVIOUS):
        last = _last_of(client, name, alias)
        recorded = last.changes[alias][1] if last else None
        if recorded != where.get(alias):
            found[alias] = (recorded, where.get(alias))
    return found


def when(entry: Entry) -> str:
    """Its time, as in 2026-11-24 12:03:09 UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(entry.time_ms / 1000))


def user() -> str:
    """Who runs this process."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run as a number that nobody has named
        return str(os.getuid())


def _change(
    paths: Paths, client: "MlflowClient", name: str, to: Mapping[str, str | None], why: str, who: str | None,
    action: str, expect: Mapping[str, str | None] | None, flow_run: str | None,
) -> Entry:  # fmt: skip
    _finish(client, name)
    where = current(client, name)
    for alias, version in (expect or {}).items():
        if where.get(alias) != version:
            raise MovedError(f"{alias} of {name} is version {where.get(alias)}, no longer {version}")
    for version in filter(None, to.values()):
        find(client, name, version)
    last = next(iter(audit(client, name, 1)), None)
    now_ms = max(int(time.time() * 1000), last.time_ms + 1 if last else 0)  # the order of entries is that of time
    tags = {
        "model": name,
        "changes": json.dumps({alias: [where.get(alias), version] for alias, version in to.items()}),
        "why": why,
        "who": who or user(),
        "host": socket.gethostname(),
        "prefect.flow_run_id": flow_run or os.environ.get(FLOW_RUN, ""),
        **{alias: f"{where.get(alias) or 'none'} -> {version or 'none'}" for alias, version in to.items()},
    }
    experiment = _experiment(client, paths)
    run = client.create_run(experiment, start_time=now_ms, tags=tags, run_name=action)
    return _make(client, name, Entry.of(run))


def _finish(client: "MlflowClient", name: str) -> None:
    """Makes changes to the end that were cut off, oldest first."""
    cut_off = _search(client, f"tags.model = '{name}' AND attributes.status = 'RUNNING'", 100)
    for entry in reversed(cut_off):
        _make(client, name, entry)


def _make(client: "MlflowClient", name: str, entry: Entry) -> Entry:
    """What a record says; done twice it is the same, and what somebody has changed since then stays."""
    from mlflow.exceptions import MlflowException

    status = "FINISHED"
    try:
        where = current(client, name)
        for alias, (before, after) in entry.changes.items():
            if where.get(alias) not in (before, after):
                continue
            if after is not None:
                client.set_registered_model_alias(name, alias, after)
            elif before is not None:
                client.delete_registered_model_alias(name, alias)
    except MlflowException as error:
        if error.error_code not in _GONE:
            raise
        status = "FAILED"  # as of a version that was deleted meanwhile
        client.set_tag(entry.id, "error", str(error.message))
    client.set_terminated(entry.id, status)
    return Entry.of(client.get_run(entry.id))


def _last_of(client: "MlflowClient", name: str, alias: str) -> Entry | None:
    """The last change of an alias that could be made."""
    wanted = f"tags.model = '{name}' AND tags.{alias} LIKE '%' AND attributes.status != 'FAILED'"
    return next(iter(_search(client, wanted, 1)), None)


def _search(client: "MlflowClient", wanted: str, most: int) -> list[Entry]:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return []
    order = ["attributes.start_time DESC"]
    found: list[Any] = list(client.search_runs([experiment.experiment_id], wanted, max_results=most, order_by=order))
    return [Entry.of(run) for run in found]


def _experiment(client: "MlflowClient", paths: Paths) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        is_ours = client.tracking_uri.startswith("sqlite:")
        location = paths.artifacts.resolve().as_uri() if is_ours else None
        try:
            return client.create_experiment(EXPERIMENT, artifact_location=location)
        except MlflowException:  # another machine was faster
            found = client.get_experiment_by_name(EXPERIMENT)
            if found is None:
                raise
    return found.experiment_id


@contextmanager
def _locked(paths: Paths, guard: Guard | None) -> Iterator[None]:
    paths.state.mkdir(parents=True, exist_ok=True)
    with (paths.state / "registry.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with guard or nullcontext():
            yield
