"""Episodes made by hand for the tests of simulators: every category, in a generated or given layout."""

import math
import random

from llarp.scenes.catalog import CATEGORIES, OPEN_RECEPTACLES
from llarp.scenes.layouts import layout
from llarp.scenes.variants import NUM_VARIANTS
from llarp.tasks.episode import Episode, ObjectInstance
from llarp.tasks.goals import Predicate, parse
from llarp.tasks.skills import Skill


def make_object(asset, category, variant, receptacle, position, yaw=0.0, number=0):
    quaternion = (math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2))
    return ObjectInstance(f"{asset}:{number}", category, asset, variant, receptacle, position, quaternion)


def make_episode(seed=0, layout_name="gen_train_0000", extra=(), start=(), goal="AND(not_holding())", subgoals=()):
    """One object of every category at random places of the open receptacles, then the `extra` ones."""
    rng = random.Random(seed)
    objects = []
    for category in CATEGORIES:
        receptacle = rng.choice(OPEN_RECEPTACLES)
        surface = layout(layout_name).surfaces[receptacle]
        x, y = surface.to_world(*(rng.uniform(-0.95, 0.95) * half for half in surface.half))
        asset, variant = rng.choice(category.assets), rng.randrange(NUM_VARIANTS)
        objects.append(
            make_object(asset, category.id, variant, receptacle, (x, y, surface.center[2]), rng.uniform(-3, 3))
        )
    return Episode(
        episode_id=f"hand-made-{seed}", split="train", family="move_to", template="move_to/0", instruction="Tidy up",
        layout=layout_name, objects=(*objects, *extra), start=tuple(Predicate(*atom) for atom in start),
        goal=parse(goal), subgoals=tuple(map(parse, subgoals)), plan=(Skill("nav", "sofa"),), demonstration=(),
    )  # fmt: skip


def inside(receptacle, layout_name="gen_train_0000", asset="013_apple", category="apple"):
    """An apple in the middle of a receptacle."""
    surface = layout(layout_name).surfaces[receptacle]
    return make_object(asset, category, 0, receptacle, surface.center, number=9)
