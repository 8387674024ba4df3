"""Back to the champion before, at once: no flow, no gate. The flow `rollback` does the same."""

from components import aliases, tracking
from components.paths import Paths
from llarp.config import load_params
from pipelines.registry import guard


def roll_back(paths: Paths, why: str, again: bool = False, flow_run: str | None = None) -> aliases.Entry:
    """See `components.aliases.rollback`.

    Args:
        paths: of the project.
        why: for the audit log.
        again: go back even to a version that was itself rolled back.
        flow_run: of Prefect, for the audit log.

    """
    client, _ = tracking.open_client(paths)
    name = load_params(paths.params).register_.name
    return aliases.rollback(paths, client, name, why, again=again, flow_run=flow_run, guard=guard())
