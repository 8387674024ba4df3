"""The command line `llarp`. What a command needs is imported when it is called, so that `--help` answers at once."""

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from components import environment
from components.paths import Paths
from llarp.errors import UserError
from pipelines.cli import data, episodes, features, flows, lineage, promote, serve, services, simulator, train

app = typer.Typer(
    help="Trains, evaluates and registers language-conditioned robot policies.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(data.app, name="data")
app.add_typer(episodes.app, name="episodes")
app.add_typer(features.app, name="features")
app.add_typer(lineage.app, name="lineage")
app.add_typer(simulator.app, name="simulator")
app.add_typer(services.app, name="services")
app.add_typer(flows.workspaces, name="workspaces")
app.command("dry-run")(train.dry_run)
app.command("deploy")(flows.deploy)
app.command("worker")(flows.worker)
app.command("reproduce")(flows.reproduce)
app.command("serve")(serve.serve)
for command in (promote.promote, promote.rollback, promote.approve, promote.audit):
    app.command()(command)

BAD_INPUT = 2
STOPPED = 130
_TABLE_WIDTH = 110
"""Columns that the table of results needs."""


def main() -> None:
    """Entry point: bad input is one line on stderr and exit code 2."""
    environment.apply()
    signal.signal(signal.SIGTERM, _stop)
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(BAD_INPUT) from None
    except KeyboardInterrupt:
        raise SystemExit(STOPPED) from None


def _stop(signum: int, frame: FrameType | None) -> NoReturn:
    """Ends in order: whatever the command has started, a server of its own too, is stopped on the way out."""
    raise SystemExit(128 + signum)


@app.command()
def run(
    preset: Annotated[str | None, typer.Option(help="Lay presets/NAME.yaml over params.yaml first.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one parameter; repeat at will.")
    ] = None,
    workspace: Annotated[
        str | None,
        typer.Option(help="Work in a workspace of this name, not in this folder; one that is there is gone on with."),
    ] = None,
    revision: Annotated[str, typer.Option(help="Of git, for a new workspace.")] = "HEAD",
    commit: Annotated[
        bool, typer.Option("--commit", help="Make a git commit, with a tag, of params.yaml and dvc.lock at the end.")
    ] = False,
) -> None:
    """Bring everything up to date: episodes, encoder, features, policy, evaluation, model version."""
    from pipelines import by_hand, settings
    from pipelines.overrides import nested
    from pipelines.workspace import folder_of

    if not Path(".dvc").is_dir():
        raise UserError("is no clone of the project", Path().resolve(), "run in the folder that `git clone` made")
    arguments: dict[str, Any] = {"workspace": ".", "commit": commit}
    if workspace is None:
        _, changes = settings.change(Path(), preset, set_ or ())
        for change in changes:
            print(f"params.yaml  {change}")
    else:
        wanted = settings.values(settings.changed(Path(), preset, set_ or ()))
        asked = {assignment.partition("=")[0].strip() for assignment in set_ or ()}
        overrides = nested({key: wanted[key] for key in asked})
        arguments |= {"workspace": workspace, "revision": revision, "preset": preset, "overrides": overrides}
    server = by_hand.start()
    from pipelines.retrain import retrain

    server.wait()
    by_hand.expect_completed(retrain(**arguments, return_state=True))
    _show_results(Paths() if workspace is None else Paths(folder_of(Path()) / workspace))


@app.command()
def join(
    machine: Annotated[int, typer.Argument(metavar="MACHINE", help="Number of this machine: 1, 2, ...")],
) -> None:
    """Train together with other machines: run this machine's processes of the stage `train`.

    The first machine, number 0, runs `llarp run`; every other one joins, before or after the first has come to that
    stage. All need the same commit, the same params.yaml (train.machines, train.address with a port that is free on
    the first machine, train.processes over all machines) and the same data (`dvc pull`, or a copy of data/).
    Checkpoints and the policy are written on the first machine only. After an interruption start all of them again.
    """
    from components.train import launch
    from llarp.config import load_params

    if machine == 0:
        raise UserError("the first machine runs the whole pipeline", "llarp join 0", "run `llarp run` there")
    launch(load_params(), machine)
    print(f"Machine {machine} has done its part: the policy is on the first machine.")


def _show_results(paths: Paths) -> None:
    import json

    from rich.console import Console

    from llarp.evaluate.statistics import Summary
    from llarp.evaluate.table import summary_table

    console = Console(highlight=False)
    console.width = max(console.width, _TABLE_WIDTH)
    console.print(summary_table(Summary.read(paths.summary)))
    registered = json.loads(paths.registration.read_text())
    print(f"Model    {registered['name']} version {registered['version']}, alias {registered['alias']}")
    print(f"Report   {paths.report}")
    print("Web UIs  make ui")


@app.command("import")
def import_(
    sources: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Released pickles, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Parquet file to write.")] = Path("released.parquet"),
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Import released episodes; never runs code from them."""
    from components.release import read_proved
    from llarp.tasks.data import store

    episodes, unsolved = read_proved(sources, workers)
    store.write(out, episodes)
    for line in unsolved:
        print(line)
    print(f"Imported {len(episodes)} episodes to {out}.")


@app.command()
def play(
    instruction: Annotated[str, typer.Option(help="What the robot is told.")],
    model: Annotated[str, typer.Option(help="A model version of the registry.")] = "models:/llarp@candidate",
    out: Annotated[Path, typer.Option(help="GIF to write.")] = Path("play.gif"),
    split: Annotated[str, typer.Option(help="Split to take the apartment from.")] = "train_validation",
) -> None:
    """Show a registered policy at work on an instruction."""
    from llarp.config import load_params
    from llarp.evaluate.play import find_scene
    from llarp.evaluate.play import play as show
    from llarp.sim.make import make_simulator
    from llarp.tasks.data.store import Episodes
    from llarp.vision.memory import MemoryStore
    from llarp.vision.views import ViewFeatures
    from pipelines.models import load

    if (environment := load_params().environment) != "rearrangement":
        raise UserError(f"{environment} cannot be told what to do", "llarp play", "it plays rearrangement only")
    scene = find_scene(Episodes.open(Paths().split(split)), instruction)
    loaded = load(model)
    encoder = loaded.encoder
    views = ViewFeatures(encoder, MemoryStore(encoder.num_tokens, encoder.dim))
    show(loaded.policy, views, scene, make_simulator(loaded.params), out, instruction)
    print(out)


@app.command()
def check(
    sources: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Released pickles, or folders of them.")],
) -> None:
    """Check that the expert and the recorded plans reach the goals of released episodes."""
    from llarp.sim.check import check as check_released
    from llarp.sim.rules import RuleWorld
    from llarp.tasks.released.release import read

    print(check_released(RuleWorld(), read(sources)))


@app.command()
def visibility() -> None:
    """Print how large every category appears to the camera of params.yaml."""
    from llarp.config import load_params
    from llarp.sim.drawing.visibility import print_table

    print_table(load_params().camera)


@app.command()
def params() -> None:
    """Print every parameter with its value, range and meaning."""
    from llarp.config import load_params
    from pipelines import settings

    current = settings.values(load_params())
    for key, limits, meaning in settings.describe():
        print(f"{key:<32}{current[key]!s:<20}{meaning}  [{limits}]")


@app.command()
def ui(
    prefect_port: Annotated[int, typer.Option(help="Port of Prefect's UI.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(help="Port of MLflow's UI.")] = 5000,
) -> None:
    """Serve both web UIs on this machine until Ctrl-C."""
    from pipelines.ui import serve

    serve(prefect_port, mlflow_port)


if __name__ == "__main__":
    main()
