"""`llarp lineage`: where a registered version comes from, the proof of it, and who used what."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

CHAMPION = "models:/llarp@champion"
NOT_PROVED = 1
"""Exit code when something is changed or gone."""
_WIDTH = 250
"""Columns of the tree, which no line needs: a terminal wraps better than it is cut."""
_MARKS = {"matches": "ok", "changed": "CHANGED", "gone": "GONE", "unknown": "?"}


class _ShowFirst(TyperGroup):
    """`llarp lineage URI` is `llarp lineage show URI`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See the class."""
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["show", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_ShowFirst,
    help="Where a registered version comes from. `llarp lineage URI` is `llarp lineage show URI`.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Uri = Annotated[str, typer.Argument(metavar="[URI]", help="Such as models:/llarp/7 or models:/llarp@champion.")]


@app.command()
def show(
    uri: Uri = CHAMPION,
    json_: Annotated[bool, typer.Option("--json", help="As data, whole.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it as a page with a graph.")] = None,
) -> None:
    """Print what a version was made from, back to the first stage, as a tree."""
    from components import lineage_record, model_files
    from pipelines import lineage_views

    version = model_files.find(uri)
    record = lineage_record.read(version)
    if json_:
        print(lineage_views.as_json(version, record))
    elif html is None:
        from rich.console import Console

        console = Console(highlight=False)
        console.width = max(console.width, _WIDTH)
        console.print(lineage_views.as_tree(version, record))
    if html is not None:
        from llarp.files import file_aside

        with file_aside(html) as aside:
            aside.write_text(lineage_views.as_page(version, record), encoding="utf-8")
        if not json_:
            print(html)


@app.command()
def verify(
    uri: Uri = CHAMPION,
    fetch: Annotated[bool, typer.Option("--fetch", help="Fetch what DVC's cache lacks from its remote first.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="As data.")] = False,
) -> None:
    """Compute every recorded hash again and say what matches, what is gone and what was changed.

    Exit code 1 when anything is changed or gone.
    """
    import json
    from dataclasses import asdict

    from components.paths import Paths
    from components.verify import is_proved
    from components.verify import verify as prove

    findings = prove(uri, Paths(), fetch)
    if json_:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            detail = f"  ({finding.detail})" if finding.detail else ""
            print(f"{_MARKS[finding.state]:<9}{finding.what:<11}{finding.where}{detail}")
        counts = [(state, sum(finding.state == state for finding in findings)) for state in _MARKS]
        print(f"{uri}: {', '.join(f'{count} {state}' for state, count in counts if count)}")
    if not is_proved(findings):
        raise typer.Exit(NOT_PROVED)


@app.command("who-used")
def who_used(
    what: Annotated[
        str,
        typer.Argument(
            metavar="HASH",
            help="At least 6 digits of DVC's md5, a sha256, a commit or a run; or a path of the project.",
        ),
    ],
    json_: Annotated[bool, typer.Option("--json", help="As data.")] = False,
) -> None:
    """List the versions made from a data set, a checkpoint, a commit or a run; exit code 1 if there is none."""
    import json
    from dataclasses import asdict

    from components.paths import Paths
    from components.who_used import who_used as search

    uses = search(what, Paths())
    if json_:
        print(json.dumps([asdict(use) for use in uses], indent=1))
    for use in [] if json_ else uses:
        aliases = f"  [{', '.join(use.aliases)}]" if use.aliases else ""
        print(f"models:/{use.name}/{use.version}{aliases}  {', '.join(use.how)}")
    if not uses:
        if not json_:
            print(f"No registered version has to do with {what}.")
        raise typer.Exit(1)
