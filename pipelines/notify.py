"""One hook for failures: a POST of JSON to the webhook that LLARP_WEBHOOK names, if it names one."""

import json
import os
import urllib.request
from typing import TYPE_CHECKING
from urllib.error import URLError

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.objects import FlowRun
    from prefect.states import State

WEBHOOK = "LLARP_WEBHOOK"
"""Variable with the address; a secret, since whoever knows it can post."""
_PATIENCE_S = 10.0


def on_failure(flow: "Flow", flow_run: "FlowRun", state: "State") -> None:
    """A hook of Prefect's flows, for runs that failed or crashed."""
    notify(flow_run, state)


def notify(run: "FlowRun", state: "State") -> None:
    """Tells of a run that ended badly; one that cannot be told is said on stdout, without the address.

    The message has the field `text`, which Slack, Mattermost and Teams' workflows show, and the facts as fields.
    """
    address = os.environ.get(WEBHOOK)
    if not address:
        return
    flow = (run.labels or {}).get("prefect.flow.name") or run.name
    facts = {
        "text": f"llarp: {flow} run {run.name} ended as {state.name}: {state.message or 'no reason given'}",
        "flow_run": str(run.id),
        "name": run.name,
        "state": state.name,
        "message": state.message,
    }
    request = urllib.request.Request(
        address, json.dumps(facts).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    try:
        urllib.request.urlopen(request, timeout=_PATIENCE_S).close()
    except (URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        print(f"The webhook of {WEBHOOK} could not be told ({reason}).", flush=True)
