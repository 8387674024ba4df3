"""What a lab adds without touching the package: a folder, `yours` in the current one or named by `LLARP_EXTENSION`.

Its `catalog.toml` has categories, receptacles and forms of objects; docs/yours.md describes them and the other files.
The folder is read once per process, when the catalogue is.
"""

import os
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llarp.errors import UserError

VARIABLE = "LLARP_EXTENSION"
DEFAULT = "yours"
CATALOG = "catalog.toml"

_Id = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$")]
_Words = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9' -]*$")]
_Colour = Annotated[str, Field(pattern=r"^[0-9a-f]{6}$")]
_Metres = Annotated[float, Field(gt=0, lt=3)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OwnReceptacle(_Entry):
    """A piece of furniture that may stand anywhere. Lengths are half extents: depth, then width."""

    id: _Id
    words: _Words
    """How an instruction says it."""
    objects_start_here: bool = True
    surface_m: tuple[_Metres, _Metres]
    """The rectangle on which objects lie."""
    rest_m: Annotated[float, Field(gt=0.1, lt=1.4)]
    """Its height."""
    body_m: tuple[_Metres, _Metres]
    """The footprint, around the same centre."""
    stand_m: Annotated[float, Field(ge=0.3, le=1.0)] = 0.55
    """From the surface's front edge to where the robot stands."""
    colour: _Colour = "8f5a30"


class OwnSolid(_Entry):
    """See `llarp.sim.drawing.forms.Solid`."""

    shape: Annotated[str, Field(pattern="^(sphere|capsule|ellipsoid|cylinder|box)$")]
    size: tuple[_Metres, ...]
    at: tuple[float, float, float]
    paint: Annotated[int, Field(ge=0, le=7)] = 0
    turn_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)


class OwnForm(_Entry):
    """A shape that categories may have."""

    id: _Id
    solid: Annotated[tuple[OwnSolid, ...], Field(min_length=1)]


class OwnAsset(_Entry):
    """One model of a category."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    form: str
    """One of this file's forms or of `llarp.sim.drawing.forms`."""
    colours: Annotated[tuple[_Colour, ...], Field(min_length=1)]
    """One per paint of the form."""


class OwnCategory(_Entry):
    """A kind of object."""

    id: _Id
    words: _Words
    held_out: bool = False
    """As `llarp.scenes.catalog.Category.held_out`."""
    asset: Annotated[tuple[OwnAsset, ...], Field(min_length=1)]


class Extension(_Entry):
    """The file."""

    receptacle: tuple[OwnReceptacle, ...] = ()
    category: tuple[OwnCategory, ...] = ()
    form: tuple[OwnForm, ...] = ()


def folder() -> Path | None:
    """Where the extension is; None without one. UserError when `LLARP_EXTENSION` names no folder."""
    named = os.environ.get(VARIABLE)
    path = Path(named or DEFAULT)
    if named and not path.is_dir():
        raise UserError("is no folder", path, f"mend {VARIABLE}")
    return path.resolve() if path.is_dir() else None


def file(name: str) -> Path | None:
    """A file of the extension; None where there is none."""
    here = folder()
    return here / name if here is not None and (here / name).is_file() else None


@cache
def extension() -> Extension:
    """What `catalog.toml` says; UserError names the key that is wrong."""
    path = file(CATALOG)
    if path is None:
        return Extension()
    try:
        found = Extension.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read ({error})", path) from None
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise UserError(f"is no TOML: {error}", f"{path}:{line[1]}" if line else path, "mend that line") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(f"key {key}: {first['msg']}", path, "see docs/yours.md") from None
    for own in found.receptacle:
        if any(inner > outer for inner, outer in zip(own.surface_m, own.body_m, strict=True)):
            raise UserError(f"receptacle {own.id}: its surface is larger than its body", path, "enlarge body_m")
    return found


def without_clash(kind: str, ids: tuple[str, ...]) -> None:
    """UserError when a name of the catalogue, the extension's included, is used twice."""
    for id in ids:
        if ids.count(id) > 1:
            raise UserError(f"{kind} {id!r} is there twice", file(CATALOG), "choose another name")
