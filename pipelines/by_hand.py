"""A flow run from a terminal: on a Prefect server of its own where none is named, its end as an exit code."""

import sys
from typing import TYPE_CHECKING

from components import environment
from pipelines.server import Server

if TYPE_CHECKING:
    from prefect.states import State


def start() -> Server:
    """A server that starts while the flow, and with it Prefect, is imported; `wait` for it before the flow begins."""
    environment.make_state()
    server = Server()
    if server.process is not None:
        print("Starting Prefect, up to a minute ...", flush=True)
    return server


def expect_completed(state: "State") -> None:
    """Ends the program with the reason, and an exit code as of `pipelines.outcome`, unless the flow ended well."""
    from pipelines.outcome import exit_code

    if code := exit_code(state):
        print(f"error: {state.message}", file=sys.stderr)
        raise SystemExit(code)
