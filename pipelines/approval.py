"""A person's answer to a promotion that waits: what is asked, and how a terminal answers it."""

from typing import TYPE_CHECKING
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import ObjectNotFound
from prefect.input import RunInput
from pydantic import Field

from components.aliases import user
from llarp.errors import UserError

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun


class Answer(RunInput):
    """What a person says to a candidate that has passed the gate."""

    approve: bool = Field(description="Shall this version become the champion?")
    reason: str = Field("", description="Why; it is kept with the version")
    who: str = Field("", description="Your name, for the audit log")

    def said(self) -> str:
        """In a few words."""
        verb = "approved" if self.approve else "refused"
        return f"{verb} by {self.who or 'someone'}" + (f": {self.reason}" if self.reason else "")


def answer(run: str, yes: bool, reason: str) -> str:
    """Answers a paused run in the name of this process's user, and says so in a line.

    Raises:
        UserError: there is no such run, or it waits for no answer, as after the time-out.

    """
    where = f"flow run {run}"
    try:
        run_id = UUID(run)
    except ValueError:
        raise UserError("is no id", where, "copy it from the log of the flow `promote`") from None
    with get_client(sync_client=True) as client:
        try:
            found = client.read_flow_run(run_id)
        except ObjectNotFound:
            do = f"see whether {client.api_url} is the right server"
            raise UserError("is not known", where, do) from None
        if not (found.state and found.state.is_paused()):
            raise _too_late(found, where)
        given = Answer(approve=yes, reason=reason, who=user())
        result = client.resume_flow_run(run_id, run_input=given.model_dump())
        if result.status != SetStateStatus.ACCEPT:
            found = client.read_flow_run(run_id)
            if found.state and found.state.is_paused():  # it does not ask this
                told = getattr(result.details, "reason", None) or "no reason given"
                raise UserError(f"does not take the answer: {told}", where, "answer it in Prefect's UI")
            raise _too_late(found, where)
    return f"Flow run {run}: {given.said()}."


def _too_late(run: "FlowRun", where: str) -> UserError:
    state = f"{run.state.name}" + (f" ({run.state.message})" if run.state.message else "") if run.state else "not begun"
    return UserError(f"waits for no answer: it is {state}", where, "start another: llarp promote")
