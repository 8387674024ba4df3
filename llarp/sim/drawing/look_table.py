"""Every look as arrays, so that compiled code puts an object into a picture by its number."""

from functools import cache
from typing import NamedTuple

import numpy as np

from llarp.scenes.catalog import CATEGORIES
from llarp.scenes.variants import NUM_VARIANTS
from llarp.sim.drawing.bodies import form_body
from llarp.sim.drawing.forms import FORMS
from llarp.sim.drawing.looks import look
from llarp.sim.drawing.raycast import Solids


class LookTable(NamedTuple):
    """L looks, of F forms' G primitives in all."""

    first: np.ndarray
    """int64[L] first primitive of a look's form."""
    end: np.ndarray
    """int64[L] number after the last."""
    scale: np.ndarray
    """float64[L] size relative to the form."""
    colours: np.ndarray
    """float64[L, paints, 3] RGB in [0, 1]."""
    parts: Solids
    """The primitives in their form's frame, at scale 1."""
    paint: np.ndarray
    """int64[G] their index into a look's colours."""
    middle: np.ndarray
    """float64[L, 3] of the box that holds a look, in its frame, metres."""


@cache
def look_numbers() -> dict[tuple[str, int], int]:
    """The number of every (asset, variant)."""
    assets = (asset for category in CATEGORIES for asset in category.assets)
    return {pair: number for number, pair in enumerate((asset, v) for asset in assets for v in range(NUM_VARIANTS))}


@cache
def look_table() -> LookTable:
    """The table, once per process; `look_numbers` says which row is which."""
    bodies = {form: form_body(form) for form in FORMS}
    ends = np.cumsum([len(form.paints) for form in bodies.values()])
    place = {form: number for number, form in enumerate(bodies)}
    looks = [look(*pair) for pair in look_numbers()]
    forms = np.array([place[seen.form] for seen in looks])
    colours = np.zeros((len(looks), max(len(seen.colours) for seen in looks), 3))
    for row, seen in zip(colours, looks, strict=True):
        row[: len(seen.colours)] = seen.colours
    return LookTable(
        first=np.concatenate([[0], ends[:-1]])[forms],
        end=ends[forms],
        scale=np.array([seen.scale for seen in looks]),
        colours=colours,
        parts=Solids(*map(np.concatenate, zip(*(form.body.solids for form in bodies.values()), strict=True))),
        paint=np.concatenate([form.paints for form in bodies.values()]),
        middle=np.array([seen.scale * bodies[seen.form].corners.mean(0) for seen in looks]),
    )
