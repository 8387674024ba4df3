"""Starts crashed flow runs again: Prefect says that a run has crashed, and leaves it at that.

The run keeps its id, and so its workspace, in which it goes on.
"""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pipelines.notify import notify

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

TAG = "restart"
"""Of deployments whose runs are started again; a rollback is not: done twice it would undo itself."""
MOST = 3
"""Times a run is started again."""
GIVEN_UP = "given-up"
"""Tag of runs that crashed once too often."""
PAUSE = timedelta(seconds=20)
"""Before a run starts again. Prefect's worker holds the run's slot for a moment after it has reported the crash, and
breaks down when it is given the same run within that moment; it fetches runs ten seconds ahead."""
RECENT = timedelta(days=1)
"""Runs that crashed longer ago are left alone."""


def restart_crashed(client: "SyncPrefectClient") -> "list[FlowRun]":
    """Schedules crashed runs at once, those that have crashed too often excepted: of these the webhook is told.

    Several workers may do so at the same time: only the first one finds a run crashed.

    Returns:
        The runs that go on.

    """
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
        FlowRunFilterTags,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.states import AwaitingRetry
    from prefect.types._datetime import now

    crashed = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            tags=FlowRunFilterTags(all_=[TAG]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CRASHED])),
        ),
        sort=FlowRunSort.END_TIME_DESC,
    )
    started: list[FlowRun] = []
    for run in crashed:
        since = datetime.now(UTC) - RECENT
        if GIVEN_UP in run.tags or run.state is None or run.end_time is None or run.end_time < since:
            continue
        if run.run_count <= MOST:
            message = f"started again after crash {run.run_count}"
            client.set_flow_run_state(run.id, AwaitingRetry(scheduled_time=now("UTC") + PAUSE, message=message))
            started.append(run)
        else:
            client.update_flow_run(run.id, tags=[*run.tags, GIVEN_UP])
            notify(run, run.state)
    return started
