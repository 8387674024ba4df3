"""A typed episode: the same whether generated here or imported from the release."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from llarp.tasks.goals import Goal, Predicate
from llarp.tasks.skills import Skill

HORIZON = 32
"""Most steps of an episode (arXiv 2310.17722, section 4)."""


@dataclass(frozen=True, slots=True)
class ObjectInstance:
    """One object and where it lies at the start."""

    name: str
    """Unique within the episode: the asset, a colon and a number, as in `013_apple:0`."""
    category: str
    asset: str
    variant: int
    """Chooses colour and size within what the category allows; see `llarp.sim.drawing.looks`."""
    receptacle: str
    position: tuple[float, float, float]
    """Metres, z up: where the object rests; see `resting`."""
    quaternion: tuple[float, float, float, float]
    """Orientation (w, x, y, z); see `resting`."""


def resting(
    x: float, y: float, z: float, heading: float
) -> tuple[tuple[float, float, float], tuple[float, float, float, float]]:
    """(position, quaternion) of an upright object at metres x, y, z, turned by radians `heading` about the vertical.

    To the millimetre and the milliradian, which is what the episode store keeps.
    """
    return (round(x, 3), round(y, 3), round(z, 3)), upright(round(heading * 1000))


@lru_cache(maxsize=16_384)
def upright(heading_mrad: int) -> tuple[float, float, float, float]:
    """Quaternion of an upright object turned by so many milliradians."""
    half = heading_mrad / 2000
    return round(math.cos(half), 6), 0.0, 0.0, round(math.sin(half), 6)


def by_category(objects: Iterable[ObjectInstance]) -> dict[str, tuple[str, ...]]:
    """Category -> names of its objects, in the order given."""
    names: dict[str, list[str]] = {}
    for entry in objects:
        names.setdefault(entry.category, []).append(entry.name)
    return {category: tuple(some) for category, some in names.items()}


@dataclass(frozen=True, slots=True)
class Episode:
    """One instruction in one furnished apartment."""

    episode_id: str
    """Unique within a data set."""
    split: str
    """A key of `llarp.tasks.splits.SPLITS`."""
    family: str
    """Kind of task, as in `move_from_to`."""
    template: str
    """Which wording the instruction was made from."""
    instruction: str
    layout: str
    """Name of a layout that `llarp.scenes.layouts.layout` finds."""
    objects: tuple[ObjectInstance, ...]
    start: tuple[Predicate, ...]
    """What differs from the default start (hand empty, everything closed), as in `opened_fridge(fridge_handle)`."""
    goal: Goal
    subgoals: tuple[Goal, ...]
    """Milestones that are false at the start; progress is the fraction reached so far, in any order."""
    plan: tuple[Skill, ...]
    """The expert's plan, knowing where everything is; proved to reach the goal."""
    demonstration: tuple[Skill, ...]
    """What the expert does when it must look for what the instruction does not locate; this is what is cloned."""
    recorded: tuple[tuple[Predicate, ...], ...] = ()
    """Released episodes only: every atom that the real simulator held true after each step of a solver's plan."""
