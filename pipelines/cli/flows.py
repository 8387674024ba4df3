"""`llarp deploy`, `worker`, `reproduce` and `workspaces`: flows that run by themselves, and where."""

import os
from pathlib import Path
from typing import Annotated

import typer

from llarp.errors import UserError
from pipelines.deploy import Kind

workspaces = typer.Typer(help="Folders in which flow runs work.", no_args_is_help=True, rich_markup_mode=None)


def deploy(
    pool: Annotated[Kind, typer.Option(help="process: this machine; kubernetes: deploy/kubernetes.yaml.")] = "process",
    project: Annotated[
        str | None, typer.Option(help="Folder of the clone where the flows run; this folder when left out.")
    ] = None,
) -> None:
    """Register the deployments of prefect.yaml with the Prefect server that PREFECT_API_URL names."""
    from pipelines import deploy as deployments

    deployments.checked(deployments.FILE)  # what is wrong here is told before a server is asked
    need_server()
    names = deployments.deploy(pool, project or str(Path().resolve()))
    print(f"Deployed to pool {pool}: {', '.join(names)}.")
    if pool == "process":
        print("Start a worker: llarp worker")


def worker(
    pool: Annotated[str, typer.Option(help="Whose runs it takes.")] = "process",
    limit: Annotated[int, typer.Option(min=1, help="Flow runs side by side.")] = 2,
) -> None:
    """Take scheduled runs and run them on this machine, until Ctrl-C; start crashed ones again."""
    from pipelines.worker import work

    need_server()
    work(pool, limit)


def reproduce(
    model: Annotated[str, typer.Argument(metavar="URI", help="Such as models:/llarp/7.")],
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Even if the version was made from files that no commit holds.")
    ] = False,
) -> None:
    """Check out what a version was made from, run it again and compare every hash; nothing is registered.

    Exit code 1 if one differs.
    """
    from pipelines import by_hand

    server = by_hand.start()
    from pipelines import reproduce as flows

    server.wait()
    state = flows.reproduce(model, anyway, return_state=True)
    by_hand.expect_completed(state)
    print(f"Reproduced: {state.message}.")


def need_server() -> None:
    """UserError unless PREFECT_API_URL names a server that answers: a temporary one is gone before anything runs."""
    from components.environment import make_state
    from pipelines.server import Server

    make_state()
    if "PREFECT_API_URL" not in os.environ:
        raise UserError(
            "names no Prefect server", "PREFECT_API_URL", "start one, as with `make services`, and set this"
        )
    Server().wait()


@workspaces.command("list")
def list_() -> None:
    """List workspaces: name, commit, state, age and folder."""
    import time

    from pipelines.workspace import all_of

    found = all_of(Path())
    if not found:
        print("No workspaces.")
    for each in found:
        hours = (time.time() - each.begun_s) / 3600
        print(f"{each.name:<20}{each.commit[:12]:<14}{each.state:<11}{hours:7.1f} h  {each.root}")


@workspaces.command()
def clean(
    name: Annotated[str | None, typer.Argument(help="Remove this one; left out: all that are old.")] = None,
) -> None:
    """Remove workspaces: those of runs that ended well but the last two, and those of others after two weeks."""
    from pipelines.workspace import remove, remove_old

    if name is not None:
        remove(Path(), name)
        gone = [name]
    else:
        gone = remove_old(Path())
    print(f"Removed: {', '.join(gone) or 'none'}.")
