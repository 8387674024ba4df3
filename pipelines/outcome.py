"""How a flow ends: bad input is a state of its own, and an exit code of its own on the command line."""

from typing import TYPE_CHECKING

from components.stage import BAD_INPUT
from llarp.errors import UserError

if TYPE_CHECKING:
    from prefect.states import State

BAD_INPUT_STATE = "Bad input"
"""Name of the state of a run that failed for what the user can mend."""


def bad_input(error: UserError) -> "State":
    """The state of a flow or task that was asked for what cannot be."""
    from prefect.states import Failed

    return Failed(name=BAD_INPUT_STATE, message=str(error))


def exit_code(state: "State") -> int:
    """0 when the flow completed, 2 for bad input, 1 for anything else."""
    if state.is_completed():
        return 0
    return BAD_INPUT if state.name == BAD_INPUT_STATE else 1
