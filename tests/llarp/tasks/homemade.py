"""Episodes made by hand, for tests of planning."""

from llarp.scenes.layouts import layout
from llarp.tasks.episode import Episode, ObjectInstance
from llarp.tasks.goals import parse, parse_predicate

LAYOUT = "gen_train_0000"


def lying(name, category, receptacle, u=0.0, v=0.0):
    """An object at a share of the receptacle's half extents."""
    surface = layout(LAYOUT).surfaces[receptacle]
    x, y = surface.to_world(u * surface.half[0], v * surface.half[1])
    position = (x, y, surface.center[2])
    return ObjectInstance(name, category, name.split(":")[0], 0, receptacle, position, (1.0, 0.0, 0.0, 0.0))


def episode(goal, *objects, family="move_from_to", start=(), instruction="Do it."):
    return Episode(
        episode_id="homemade", split="train", family=family, template="none", instruction=instruction, layout=LAYOUT,
        objects=objects, start=tuple(map(parse_predicate, start)), goal=parse(goal), subgoals=(), plan=(),
        demonstration=(),
    )  # fmt: skip


def texts(skills):
    return " ".join(map(str, skills))
