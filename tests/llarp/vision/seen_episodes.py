"""Episodes with demonstrations, and a small camera to see them with."""

import random

from llarp.config import CameraConfig
from llarp.scenes.catalog import CATEGORIES, OPEN_RECEPTACLES
from llarp.scenes.layouts import layout
from llarp.tasks.episode import Episode, ObjectInstance
from llarp.tasks.goals import parse
from llarp.tasks.skills import Skill

CAMERA = CameraConfig(width=32, height=32, fov_deg=84.0, tilt_deg=43.0, elevation_m=1.55)


def make_episode(seed, layout_name="gen_train_0000", start=(), steps=5):
    """One object of every category; the robot goes about and opens the fridge. Equal seeds see equal things."""
    rng = random.Random(seed)
    objects = []
    for category in CATEGORIES:
        receptacle = rng.choice(OPEN_RECEPTACLES)
        surface = layout(layout_name).surfaces[receptacle]
        x, y = surface.to_world(*(rng.uniform(-0.8, 0.8) * half for half in surface.half))
        name, place = f"{category.assets[0]}:0", (x, y, surface.center[2])
        objects.append(
            ObjectInstance(name, category.id, category.assets[0], 0, receptacle, place, (1.0, 0.0, 0.0, 0.0))
        )
    demonstration = [Skill("nav", rng.choice(OPEN_RECEPTACLES)) for _ in range(steps - 3)]
    demonstration += [Skill("nav", "fridge_handle"), Skill("open_fridge"), Skill("nav", "sofa")]
    return Episode(
        episode_id=f"seen-{seed}-{layout_name}", split="train", family="open_fridge", template="t", instruction="Go",
        layout=layout_name, objects=tuple(objects), start=start, goal=parse("AND(not_holding())"), subgoals=(),
        plan=(), demonstration=tuple(demonstration),
    )  # fmt: skip
