"""`llarp data`: versions of the data set over DVC and git tags."""

from typing import Annotated

import typer

app = typer.Typer(help="Versions of the data set.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_() -> None:
    """List the versions: episodes, seed, date and DVC's hash; a star marks the one in the workspace."""
    from components import data_versions
    from components.paths import Paths

    paths = Paths()
    known = data_versions.versions(paths)
    here = data_versions.md5_of(paths)
    if not known:
        print("No versions yet: `llarp data tag` makes one of what is in data/episodes.")
        return
    print(f"  {'version':<16}{'episodes':>10}{'seed':>12}  {'date':<12}hash")
    for entry in known:
        star = "*" if entry.md5 == here else " "
        report = entry.report
        print(f"{star} {entry.name:<16}{report.episodes:>10,}{report.seed:>12}  {entry.date:<12}{entry.md5}")


@app.command()
def tag(
    name: Annotated[str | None, typer.Argument(help="Of the version; v1, v2, ... when left out.")] = None,
) -> None:
    """Make a version of the data in the workspace, unless it is one already."""
    from components import data_versions
    from components.lineage import Lineage
    from components.paths import Paths

    paths = Paths()
    version, is_new = data_versions.tag(paths, name)
    if not is_new:
        print(f"Nothing new: the data are version {version.name} already.")
        return
    print(f"Version {version.name}: {version.report.episodes:,} episodes, seed {version.report.seed}, {version.md5}.")
    if Lineage(paths).is_dirty:
        print("The code differs from the commit that the version names: commit it, to be able to make them again.")
    print(f"Share it: git push REMOTE {version.revision}, and dvc push")


@app.command()
def diff(
    old: Annotated[str, typer.Argument(metavar="A", help="A version.")],
    new: Annotated[str | None, typer.Argument(metavar="[B]", help="Another; the workspace when left out.")] = None,
    episodes: Annotated[bool, typer.Option("--episodes", help="Name every episode that came or went.")] = False,
) -> None:
    """Say what differs between two versions: parameters, counts, episodes."""
    from components import data_diff, data_versions
    from components.paths import Paths

    paths = Paths()
    before = data_versions.version(paths, old)
    after = data_versions.workspace(paths) if new is None else data_versions.version(paths, new)
    found = data_diff.diff(paths, before, after)
    if not found.params and not found.splits:
        print("No difference.")
    for key, was, now in found.params:
        print(f"{key}: {was} -> {now}")
    for split in found.splits:
        print(f"{split.split}: {split.before:,} -> {split.after:,} episodes, +{len(split.added)} -{len(split.removed)}")
        for family, was, now in split.families:
            print(f"    {family}: {was:,} -> {now:,}")
        if episodes:
            for sign, names in (("+", split.added), ("-", split.removed)):
                for name in names:
                    print(f"    {sign} {name}")


@app.command()
def checkout(version: Annotated[str, typer.Argument(help="As `llarp data list` names it.")]) -> None:
    """Bring a version's episodes into the workspace, and its parameters into params.yaml."""
    from pathlib import Path

    from components import data_versions
    from components.paths import Paths
    from pipelines import settings

    paths = Paths()
    wanted = data_versions.version(paths, version)
    with data_versions.fetched(paths, wanted) as folder:
        _, changes = settings.change(Path(), None, [f"{key}={value}" for key, value in wanted.params.items()])
        for change in changes:
            print(f"params.yaml  {change}")
        data_versions.place(paths, folder)
    print(f"data/episodes is version {wanted.name}: {wanted.report.episodes:,} episodes.")
