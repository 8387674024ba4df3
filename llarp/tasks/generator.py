"""Draws episodes: a furnished apartment, objects in it, a task and an instruction, proved by the expert.

Episode `number` of a split depends on the seed, the split, its number and the configuration alone, so any range of
episodes can be made anywhere. What turns out unsolvable, or solved from the start, is drawn again.
"""

import math
import random
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np

from llarp.config import EpisodesConfig
from llarp.errors import UserError
from llarp.scenes.catalog import CATEGORIES, OPEN_RECEPTACLES, RECEPTACLES, category
from llarp.scenes.layout import Layout
from llarp.scenes.layouts import layout, released
from llarp.scenes.variants import held_out_variants, training_variants
from llarp.tasks.episode import Episode, ObjectInstance, resting
from llarp.tasks.expert import Unsolvable, prove
from llarp.tasks.families import FAMILIES, TRAINING, Family
from llarp.tasks.language.load import language
from llarp.tasks.language.templates import Phrases, Wording
from llarp.tasks.skills import DRAWER_HANDLES
from llarp.tasks.splits import HELD_OUT_FREE, SPLITS, Split
from llarp.tasks.world import World

MAX_ATTEMPTS = 100
"""Draws of one episode before giving up; one or two are the rule."""
SPACING_M = 0.24
"""Least distance between the centres of two objects."""
EDGE_M = 0.08
"""Least distance of an object's centre from its receptacle's edge; half the way to the middle where that is less."""
LEAST_SPACING_M = 0.10
"""Least distance between two objects that must do where there is no room for more; below, they would overlap."""
SPOT_TRIES = 10
"""Random spots tried on one receptacle."""

ALL_RECEPTACLES: tuple[str, ...] = tuple(entry.id for entry in RECEPTACLES)
"""Where the robot can be sent."""
"""Handles of drawers."""


def generate(
    split: str, count: int, seed: int, config: EpisodesConfig, start: int = 0, *, world: World
) -> Iterator[Episode]:
    """Episodes `start` to `start + count - 1` of a split, each with plan, demonstration and subgoals.

    Args:
        split: a key of SPLITS.
        count: how many.
        seed: of everything random.
        config: objects per episode and number of layouts.
        start: number of the first.
        world: what the episodes are proved in; it is reset all the time.

    Raises:
        UserError: no such split, or MAX_ATTEMPTS draws of an episode were all unsolvable.

    """
    if split not in SPLITS:
        raise UserError(f"no split is called {split!r}", do=f"use one of {', '.join(SPLITS)}")
    for number in range(start, start + count):
        yield _episode(split, number, seed, config, world)


def layout_names(split: str, config: EpisodesConfig) -> tuple[str, ...]:
    """The layouts that episodes of a split stand in, released ones (sc0 is training's, as in the paper) first."""
    return _layout_names(SPLITS[split].seen_places, config.layouts)


@lru_cache
def _layout_names(seen: bool, count: int) -> tuple[str, ...]:
    family, kind = ("_sc0_", "train") if seen else ("_sc3_", "new")
    generated = (f"gen_{kind}_{number:04d}" for number in range(count))
    recorded = (name for name in released() if family in name or name.startswith(f"own_{kind}_"))
    return (*recorded, *generated)


def _episode(split: str, number: int, seed: int, config: EpisodesConfig, world: World) -> Episode:
    here = SPLITS[split]
    rng = _rng(seed, split, number, 0)  # family and wording stay, so that hard ones are not drawn less often
    family = FAMILIES[rng.choices(tuple(here.families), tuple(here.families.values()))[0]]
    wording = rng.choice(language().pools[here.pool][family.id])
    reason = ""
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            return prove(world, _draft(_rng(seed, split, number, attempt), split, number, family, wording, config))
        except Unsolvable as error:
            reason = str(error)
    raise UserError(
        f"{MAX_ATTEMPTS} draws were all unsolvable, the last because {reason}",
        f"episode {number} of split {split}, wording {wording.id} ({wording.place})",
        "mend the wording, or generate with more layouts or fewer objects",
    )


def _rng(seed: int, split: str, number: int, attempt: int) -> random.Random:
    words = np.random.SeedSequence((seed, zlib.crc32(split.encode()), number, attempt)).generate_state(4)
    return random.Random(words.tobytes())


def _draft(
    rng: random.Random, split: str, number: int, family: Family, wording: Wording, config: EpisodesConfig
) -> Episode:
    """An episode that may be unsolvable."""
    here = SPLITS[split]
    case = rng.choice(family.cases)
    place = rng.choice(layout_names(split, config))
    where = language().positions(place) if wording.positioned else {}
    slots = _slots(rng, here, family, wording, where)
    return Episode(
        episode_id=f"{split}-{number:06d}",
        split=split,
        family=family.id,
        template=wording.id,
        instruction=language().fill(wording, slots, rng, where),
        layout=place,
        objects=_objects(rng, here, family, wording, slots, layout(place), config.objects),
        start=case.start_for(slots),
        goal=case.goal_for(slots),
        subgoals=(),
        plan=(),
        demonstration=(),
    )


def _slots(rng: random.Random, here: Split, family: Family, wording: Wording, where: Phrases) -> dict[str, str]:
    """Identifiers for every slot of the family and of the wording, no two the same; Unsolvable when one stays empty."""
    slots: dict[str, str] = {}
    for letter, choices in slot_choices(here, family, wording, where).items():
        free = [id for id in choices if id not in slots.values()]
        if not free:
            raise Unsolvable(f"nothing is left to fill slot {letter}")
        slots[letter] = rng.choice(free)
    return slots


def slot_choices(here: Split, family: Family, wording: Wording, where: Phrases) -> dict[str, tuple[str, ...]]:
    """What may fill each slot, in the order of filling; `where` is `Language.positions` of the layout."""
    letters = family.slots | wording.slots
    limits: dict[str, Collection[str]] = {**wording.allowed, **dict.fromkeys(wording.positioned, where)}
    choices = {}
    for letter in sorted(letters, key=lambda letter: (letter not in limits, letter)):
        if letter in "abc":
            usual: Sequence[str] = ALL_RECEPTACLES if family.id == "go_to" else OPEN_RECEPTACLES
        elif letter == "d":
            usual = DRAWER_HANDLES
        else:
            usual = _categories(here.held_out_categories, family.id)
        allowed = limits.get(letter, usual)
        choices[letter] = tuple(id for id in usual if id in allowed)
    return choices


@lru_cache
def _categories(held_out: bool | None, family: str) -> tuple[str, ...]:
    """Categories that may be asked for in a family."""
    if held_out is None or (not held_out and family in TRAINING and family not in HELD_OUT_FREE):
        return tuple(entry.id for entry in CATEGORIES)
    return tuple(entry.id for entry in CATEGORIES if entry.held_out == held_out)


def _objects(
    rng: random.Random,
    here: Split,
    family: Family,
    wording: Wording,
    slots: Mapping[str, str],
    room: Layout,
    count: int,
) -> tuple[ObjectInstance, ...]:
    """Objects on the open receptacles: those asked for where the task needs them, then one of each other category.

    What the instruction does not locate lies on none of the receptacles that the task is about. Only categories that
    the instruction does not name come twice, so it is never ambiguous.
    """
    targets = {slots[letter] for letter in family.receptacles}
    elsewhere = [id for id in OPEN_RECEPTACLES if id not in targets]
    wanted: list[tuple[str, list[str]]] = []
    for letter, source in family.sources.items():
        places = elsewhere if source is None else [slots[source]]
        wanted += [(slots[letter], places)] * rng.choice(family.quantity)
    for letter, (source, is_there) in wording.located.items():
        wanted.append((slots[letter], [id for id in OPEN_RECEPTACLES if (id == slots[source]) == is_there]))
    asked = {slots[letter] for letter in (*family.sources, *wording.located)}
    others = [entry.id for entry in CATEGORIES if entry.id not in asked]
    rng.shuffle(others)
    others += rng.choices(others, k=max(0, count - len(wanted) - len(others)))
    wanted += [(id, list(OPEN_RECEPTACLES)) for id in others[: max(0, count - len(wanted))]]

    variants = training_variants() if here.seen_places else held_out_variants()
    taken: dict[str, list[tuple[float, float]]] = {id: [] for id in OPEN_RECEPTACLES}
    copies: Counter[str] = Counter()
    objects = []
    for kind, places in wanted:
        asset = rng.choice(category(kind).assets)
        receptacle, x, y = _place(rng, places, room, taken)
        z, heading = room.surfaces[receptacle].center[2], rng.uniform(-math.pi, math.pi)
        position, quaternion = resting(x, y, z, heading)
        objects.append(
            ObjectInstance(
                name=f"{asset}:{copies[asset]}",
                category=kind,
                asset=asset,
                variant=rng.choice(variants),
                receptacle=receptacle,
                position=position,
                quaternion=quaternion,
            )
        )
        copies[asset] += 1
    return tuple(objects)


def _place(
    rng: random.Random,
    places: Sequence[str],
    room: Layout,
    taken: dict[str, list[tuple[float, float]]],
) -> tuple[str, float, float]:
    """A receptacle and a spot on it with SPACING_M to every object there, or the roomiest spot tried.

    Raises:
        Unsolvable: even that is closer than LEAST_SPACING_M to another.

    """
    best, roomiest = None, -1.0
    for receptacle in rng.sample(places, len(places)) if len(places) > 1 else places:
        surface, others = room.surfaces[receptacle], taken[receptacle]
        half_u, half_v = (max(half - EDGE_M, half / 2) for half in surface.half)
        for _ in range(SPOT_TRIES):
            x, y = surface.to_world(rng.uniform(-half_u, half_u), rng.uniform(-half_v, half_v))
            space = min([(x - u) ** 2 + (y - v) ** 2 for u, v in others], default=math.inf)
            if space > roomiest:
                best, roomiest = (receptacle, x, y), space
            if space >= SPACING_M**2:
                taken[receptacle].append((x, y))
                return receptacle, x, y
    if best is None or roomiest < LEAST_SPACING_M**2:
        raise Unsolvable(f"layout {room.name} has no room for one more object on {' or '.join(places)}")
    taken[best[0]].append(best[1:])
    return best
