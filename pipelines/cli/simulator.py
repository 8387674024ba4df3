"""`llarp simulator`: fitting layouts to recorded episodes and how well our rules agree with them; layouts for another
simulator, and what two simulators disagree about.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from llarp.errors import UserError

if TYPE_CHECKING:
    from llarp.tasks.episode import Episode
    from llarp.tasks.world import World

app = typer.Typer(help="Fits, checks, exports and compares simulators.", no_args_is_help=True, rich_markup_mode=None)

WorldName = Literal["rules", "embedded", "habitat"]


@app.command()
def check(
    sources: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Released pickles, or folders of them.")],
) -> None:
    """Replay recorded plans and print how far our rules agree with the real simulator, per predicate."""
    from llarp.sim.agreement import compare as agreement
    from llarp.sim.rules import RuleWorld
    from llarp.tasks.released.release import read

    print(agreement(RuleWorld(), read(sources)))


@app.command()
def fit(
    sources: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Released pickles, or folders of them.")],
    out: Annotated[Path, typer.Option(help="JSON file to write; name it in LLARP_LAYOUTS to use it.")],
    everything: Annotated[bool, typer.Option("--all", help="Hold no episode out from the fit.")] = False,
) -> None:
    """Fit furniture, standing poses and measuring points of recorded scenes."""
    from llarp.tasks.released.derive_layouts import write

    print(f"Fitted {write(sources, out, everything)} layouts to {out}.")


@app.command()
def export(
    layouts: Annotated[list[str], typer.Argument(metavar="LAYOUT...", help="As gen_train_0000, v3_sc0_staging_00.")],
    out: Annotated[Path, typer.Option(help="Folder to write; an earlier export there is replaced.")],
) -> None:
    """Write layouts and all objects as a scene data set of habitat-sim (glTF, URDF, JSON)."""
    from llarp.sim.habitat.export import export as write

    print(f"simulator.scenes={write(layouts, out)}")


@app.command()
def compare(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="EPISODES...", help="Parquet files or folders of episodes; released pickles."),
    ],
    first: Annotated[WorldName, typer.Option(help="One world: only the rules, or a simulator.")] = "embedded",
    second: Annotated[WorldName, typer.Option(help="The other.")] = "habitat",
    scenes: Annotated[str | None, typer.Option(help="habitat's scene data set; none: simulator.scenes.")] = None,
    objects: Annotated[str | None, typer.Option(help="habitat's further objects; none: simulator.objects.")] = None,
    most: Annotated[int, typer.Option("--episodes", min=1, help="At most this many of each source.")] = 20,
    steps: Annotated[int, typer.Option(min=0, help="Random skills per episode, after its plan.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the random skills.")] = 0,
    pictures: Annotated[Path | None, typer.Option(help="Folder for the views of each plan, side by side.")] = None,
) -> None:
    """Play the same episodes in two simulators and print what they disagree about; exit code 1 if they do."""
    from llarp.config import load_params
    from llarp.sim.compare import compare as play

    params = load_params()
    chosen = params.simulator.model_copy(
        update={"scenes": scenes or params.simulator.scenes, "objects": objects or params.simulator.objects}
    )
    if pictures is not None and "rules" in (first, second):
        raise UserError("the rules alone cannot be seen", "--pictures", "compare two simulators")

    def make(name: WorldName) -> "World":
        if name == "rules":
            from llarp.sim.rules import RuleWorld

            return RuleWorld()
        from llarp.sim.make import make_simulator

        return make_simulator(params.model_copy(update={"simulator": chosen.model_copy(update={"name": name})}))

    worlds = make(first), make(second)
    names = (first, second) if first != second else (f"first {first}", f"second {second}")
    report = play(worlds, names, _read(sources, most), steps, seed, pictures)
    print(report)
    if not report.agree:
        raise SystemExit(1)


def _read(sources: list[Path], most: int) -> "list[Episode]":
    """At most so many episodes of each source."""
    from llarp.tasks.data import store
    from llarp.tasks.released import release

    found: list[Episode] = []
    for source in sources:
        if source.suffix == ".pickle":
            found += release.read([source])[:most]
        else:
            found += store.Episodes.open(source)[:most]
    return found
