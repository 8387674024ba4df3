"""`llarp promote`, `rollback`, `approve` and `audit`: who is the champion, and who has said so."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from llarp.errors import UserError

if TYPE_CHECKING:
    from components.aliases import Entry

NOT_PROMOTED = 1
"""Exit code when the gate or a person says no."""


class Approval(StrEnum):
    """Who has the last word."""

    AUTO = "auto"
    HUMAN = "human"


def promote(
    version: Annotated[str, typer.Argument(help="Number or alias.")] = "candidate",
    approval: Annotated[Approval | None, typer.Option(help="Else as params.yaml says.")] = None,
    evaluate: Annotated[
        bool, typer.Option(help="Evaluate the champion on the candidate's episodes, if it was not yet.")
    ] = True,
) -> None:
    """Make a version the champion, if it passes the gate of params.yaml. Exit code 1 if it does not."""
    import os

    from components.paths import Paths
    from llarp.config import load_params
    from pipelines import by_hand
    from pipelines.registry import TEMPORARY

    load_params(Paths().params)  # told before a server is started
    server = by_hand.start()
    if server.process is not None:
        os.environ[TEMPORARY] = "true"
    from pipelines import promote as flows

    server.wait()
    state = flows.promote(version, approval.value if approval else None, evaluate, return_state=True)
    by_hand.expect_completed(state)
    print(f"{state.name}: {state.message}")
    if state.name != flows.PROMOTED:
        raise SystemExit(NOT_PROMOTED)


def rollback(
    why: Annotated[str, typer.Option(help="For the audit log.")] = "",
    again: Annotated[
        bool, typer.Option("--again", help="Go back even to a version that was itself rolled back.")
    ] = False,
) -> None:
    """Make `previous` the champion again, at once and without a gate."""
    from components.aliases import CHAMPION, PREVIOUS
    from components.paths import Paths
    from pipelines.rollback import roll_back

    entry = roll_back(Paths(), why, again)
    (old, new), (_, previous) = entry.changes[CHAMPION], entry.changes[PREVIOUS]
    print(f"Version {new} is the champion again, version {old} no longer; previous is version {previous}.")


def approve(
    run: Annotated[str, typer.Argument(metavar="FLOW_RUN_ID", help="Of the flow `promote` that waits.")],
    yes: Annotated[bool, typer.Option("--yes/--no", help="Whether the version shall be promoted.")],
    reason: Annotated[str, typer.Option(help="Kept with the version.")] = "",
) -> None:
    """Answer a promotion that waits for a person."""
    import os

    if "PREFECT_API_URL" not in os.environ:
        raise UserError("is not set", "PREFECT_API_URL", "set it to the server of the flow that waits: its log says it")
    from pipelines.approval import answer

    print(answer(run, yes, reason))


def audit(
    most: Annotated[int, typer.Option("--most", min=1, max=1000, help="Entries, the newest first.")] = 20,
    json_: Annotated[bool, typer.Option("--json", help="As data.")] = False,
) -> None:
    """List the changes of the aliases: when, what, who and why; and what was changed past llarp."""
    import json
    from dataclasses import asdict

    from components import aliases, tracking
    from components.paths import Paths
    from llarp.config import load_params

    name = load_params(Paths().params).register_.name
    client, _ = tracking.open_client(Paths())
    entries, strays = aliases.audit(client, name, most), aliases.strays(client, name)
    if json_:
        print(json.dumps({"entries": [asdict(entry) for entry in entries], "changed_outside": strays}))
        return
    for alias, (recorded, found) in strays.items():
        print(f"{alias} is {_version(found)}, but the last change on record made it {_version(recorded)}.")
    if not entries:
        print(f"No alias of {name} has been changed yet.")
    for entry in entries:
        print(_line(entry))


def _line(entry: "Entry") -> str:
    from components.aliases import when

    changes = ", ".join(f"{a} {_version(was)} -> {_version(to)}" for a, (was, to) in entry.changes.items())
    status = "" if entry.status == "FINISHED" else f" ({entry.status.lower()})"
    return f"{when(entry)}  {entry.action:<9}{changes}{status}  {entry.who}@{entry.host}  {entry.why}".rstrip()


def _version(number: str | None) -> str:
    return number or "none"
