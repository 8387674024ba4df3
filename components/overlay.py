"""Where the features of views are kept that no stage had foreseen: outside DVC's outputs, one folder per encoder."""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from components.paths import Paths
from llarp.config import Params

if TYPE_CHECKING:
    from llarp.vision.overlay import Overlay
    from llarp.vision.store import TokenShape


def open_overlay(params: Params, paths: Paths, encoder: "TokenShape", verify: bool = False) -> "Overlay":
    """The overlay of an encoder, made when there is none.

    Overlays of other encoders go, the one that was written to longest ago first, when all together outgrow
    `features.overlay_gib`.

    Args:
        params: for its section `features`.
        paths: of the project.
        encoder: whose features it keeps.
        verify: compare the sha256 of every file; what is damaged is told on stderr and left out.

    Raises:
        UserError: the folder cannot be written.

    """
    from llarp.vision.overlay import Overlay

    folder, limit_bytes = overlay_folder(paths, encoder.identity), int(params.features.overlay_gib * 2**30)
    others = sorted((each for each in overlays(paths) if each != folder), key=_last_s)
    while others and sum(map(_num_bytes, [folder, *others])) > limit_bytes:
        shutil.rmtree(others.pop(0), ignore_errors=True)
    return Overlay.open(folder, encoder, limit_bytes, verify)


def overlay_folder(paths: Paths, identity: str) -> Path:
    """Where the overlay of an encoder stands."""
    return paths.overlays / identity[:16]


def overlays(paths: Paths) -> list[Path]:
    """The overlays of all encoders."""
    return sorted(each for each in paths.overlays.glob("[0-9a-f]*") if each.is_dir())


def _num_bytes(folder: Path) -> int:
    """Of its files; another rank may be removing them."""
    num_bytes = 0
    for file in folder.glob("*"):
        with suppress(OSError):
            num_bytes += file.stat().st_size
    return num_bytes


def _last_s(folder: Path) -> float:
    """When it was written to last; another rank may be removing it."""
    with suppress(OSError):
        return folder.stat().st_mtime
    return 0.0
