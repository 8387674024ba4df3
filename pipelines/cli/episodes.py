"""`llarp episodes`: looks at what instructions are made of, before anything is generated."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llarp.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from llarp.tasks.language.templates import Language

app = typer.Typer(help="Checks templates and shows episodes.", no_args_is_help=True, rich_markup_mode=None)

_WIDTH = 118
"""Columns that the table of wordings needs."""


@app.command()
def check(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A templates file; none: the project's.")
    ] = None,
    adds: Annotated[bool, typer.Option("--adds", help="FILE adds to the project's templates.")] = False,
) -> None:
    """Say line by line what is wrong with a templates file, or what it holds."""
    from rich.console import Console

    from llarp.tasks.language.load import own_file
    from llarp.tasks.language.reader import read

    own = own_file()
    paths = [own] if file is None else [own, file] if adds else [file]
    language, problems = read(*paths)
    for problem in problems:
        print(problem)
    if problems:
        number = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise UserError(number, paths[-1], "mend the lines named above")
    assert language is not None
    console = Console(highlight=False)
    console.width = max(console.width, _WIDTH)
    console.print(_wordings(language))
    console.print(_phrases(language))


@app.command()
def show(
    split: Annotated[list[str] | None, typer.Option(help="A split; repeat at will. None: all.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Episodes of each.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
) -> None:
    """Draw and prove a few episodes, and print what they ask."""
    from llarp.config import load_params
    from llarp.sim.rules import RuleWorld
    from llarp.tasks.generator import generate
    from llarp.tasks.splits import SPLITS

    config, world = load_params().episodes, RuleWorld()
    for name in split or SPLITS:
        for episode in generate(name, count, seed, config, world=world):
            print(f"{episode.episode_id}  {episode.family}  {episode.template}  {episode.layout}")
            print(f"    {episode.instruction}")
            start = "".join(f"  from {atom}" for atom in episode.start)
            print(f"    {episode.goal}{start}  ({len(episode.demonstration)} steps)")


@app.command()
def pddl(
    source: Annotated[Path, typer.Argument(metavar="EPISODES", help="Parquet file of episodes, or a folder of them.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("pddl"),
    count: Annotated[int | None, typer.Option(min=1, help="Only the first so many.")] = None,
) -> None:
    """Write episodes and the expert's plans in PDDL, for planners."""
    from llarp.sim.planning.model import export
    from llarp.tasks.data.store import Episodes

    episodes = Episodes.open(source)[:count]
    export(out, episodes)
    print(f"Wrote {len(episodes)} episodes to {out}.")


@app.command()
def planner(
    sources: Annotated[
        list[Path], typer.Argument(metavar="EPISODES...", help="Parquet files of episodes, or folders of them.")
    ],
    count: Annotated[int, typer.Option(min=1, help="The first so many of each.")] = 10,
) -> None:
    """Compare the expert with an independent planner (unified-planning with pyperplan)."""
    from llarp.progress import track
    from llarp.sim.planning.planner import judge, table
    from llarp.tasks.data.store import Episodes

    episodes = [episode for source in sources for episode in Episodes.open(source)[:count]]
    print(table([judge(episode) for episode in track(episodes, "planning")]))


def _wordings(language: "Language") -> "Table":
    """Wordings per pool and family."""
    table = _table("wordings", "pool", "in all", "by family")
    for pool, families in language.pools.items():
        counts = {family: len(group) for family, group in families.items()}
        by_family = ", ".join(f"{family} {number}" for family, number in counts.items())
        table.add_row(pool, str(sum(counts.values())), by_family)
    return table


def _phrases(language: "Language") -> "Table":
    """Phrases per table, and what they cover."""
    from llarp.scenes.catalog import CATEGORIES, OPEN_RECEPTACLES

    purposes: dict[str, list[str]] = {}
    for wording in language.pools["context"]["move_to"]:
        purposes.setdefault(wording.allowed["x"][0], []).append(wording.text)
    facts: dict[str, list[str]] = {}
    for part in language.facts.values():
        for category, phrases in part.items():
            facts.setdefault(category, []).extend(phrases)
    table = _table("phrases", "table", "in all", "covers", "each", "without")
    for name, found, all_names in (
        ("context", purposes, [entry.id for entry in CATEGORIES]),
        ("looks", language.looks, [entry.id for entry in CATEGORIES]),
        ("facts", facts, [entry.id for entry in CATEGORIES]),
        *((f"facts.{kind}", part, [entry.id for entry in CATEGORIES]) for kind, part in language.facts.items()),
        ("where", language.where, OPEN_RECEPTACLES),
        ("relations", language.relations, list(language.relations)),
    ):
        counts = [len(phrases) for phrases in found.values()]
        each = f"{min(counts, default=0)}-{max(counts, default=0)}"
        without = ", ".join(name for name in all_names if name not in found)
        table.add_row(name, str(sum(counts)), f"{len(counts)} of {len(all_names)}", each, without or "-")
    return table


def _table(title: str, *columns: str) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in ("in all", "covers", "each") else "left")
    return table
