"""`llarp features`: the store of what views look like to the encoder, and the overlay of those met later."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llarp.errors import UserError

if TYPE_CHECKING:
    from llarp.vision.manifest import Manifest

app = typer.Typer(help="The store of encoded views.", no_args_is_help=True, rich_markup_mode=None)

Folder = Annotated[Path | None, typer.Argument(metavar="[FOLDER]", help="A store; all of this project if left out.")]


@app.command()
def stat(folder: Folder = None, json_: Annotated[bool, typer.Option("--json", help="As data.")] = False) -> None:
    """Say what is stored: views, MiB, files, whose features they are. Reads no feature."""
    import json

    found = [(path, _manifest(path)) for path in _stores(folder)]
    if json_:
        print(json.dumps([{"folder": str(path), "bytes": it.bytes} | it.model_dump(mode="json") for path, it in found]))
        return
    print(f"{'views':>12}{'MiB':>10}{'files':>8}{'indexed':>9}  {'tokens':<12}{'image':<12}{'encoder':<14}folder")
    for path, it in found:
        indexed = it.index.keys / max(it.rows, 1) if it.index else 0.0
        image = "any" if it.image is None else f"{it.image[1]} x {it.image[0]}"
        print(
            f"{it.rows:>12,}{it.bytes / 2**20:>10,.1f}{len(it.shards):>8,}{indexed:>9.0%}  "
            f"{f'{it.num_tokens} x {it.dim}':<12}{image:<12}{it.encoder[:12]:<14}{path}"
        )


@app.command()
def verify(folder: Folder = None) -> None:
    """Read every file over, compare its SHA-256 and name what is damaged; `warm` rebuilds it. Exit code 2 if any is."""
    from llarp.progress import track

    damage = []
    for path in _stores(folder):
        files = _manifest(path).files
        for file in track(files, f"files of {path.name}", len(files), "file"):
            if why := file.damage(path, thorough=True):
                damage.append(f"{path / file.file}: {why}")
        print(f"{path}: {len(files):,} files read over")
    for line in damage:
        print(f"damaged: {line}")
    if damage:
        raise UserError(f"{len(damage)} damaged files", "feature store", "rebuild them: `llarp features warm`")


@app.command()
def compact(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FOLDER]...", help="Stores to take in too, as other machines have warmed them."),
    ] = None,
) -> None:
    """Take the overlay's views into data/features, and put small files together into few.

    DVC then sees a changed data/features: the next run of the stage `features` finds all views there, and those that
    use them run again.
    """
    import shutil

    from components.overlay import overlay_folder
    from components.paths import Paths
    from llarp.vision.manifest import MANIFEST
    from llarp.vision.repack import compact as put_together

    paths = Paths()
    before = _manifest(paths.features)
    overlay = overlay_folder(paths, before.encoder)
    others = [*([overlay] if (overlay / MANIFEST).exists() else []), *(folders or [])]
    added, files = put_together(paths.features, others)
    shutil.rmtree(overlay, ignore_errors=True)
    print(f"{paths.features}: {added:,} views added, {len(before.shards):,} files became {files:,}.")


@app.command()
def warm(
    part: Annotated[
        str, typer.Option(metavar="K/N", help="This machine's part, from 1, of N that share the work out.")
    ] = "1/1",
) -> None:
    """Encode what the demonstrations and features.pool show and the store lacks; rebuild what is damaged in it.

    Machines that share the folder of the store fill it together. Those that do not are given each other's folders:
    `llarp features compact FOLDER...`.
    """
    from components.features import launch
    from llarp.config import load_params

    number, slash, count = part.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UserError("is no part", f"--part {part}", "write it as 1/4 to 4/4")
    launch(load_params(), (int(number) - 1, int(count)))


def _stores(folder: Path | None) -> list[Path]:
    """The folder, or every store of the project, the overlays last."""
    from components.overlay import overlays
    from components.paths import Paths
    from llarp.vision.manifest import MANIFEST

    if folder is not None:
        return [folder]
    paths = Paths()
    found = [path for path in (paths.features, *overlays(paths)) if (path / MANIFEST).exists()]
    if not found:
        raise UserError("no feature store yet", paths.features, "make one: `llarp run`, or `llarp features warm`")
    return found


def _manifest(folder: Path) -> "Manifest":
    from llarp.vision.manifest import Manifest

    return Manifest.read(folder)
