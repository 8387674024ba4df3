"""A world of two rooms' worth of rules, and an episode in it: enough to test who runs and films episodes."""

from dataclasses import replace

import numpy as np

from llarp.sim.base import Simulator
from llarp.tasks.episode import Episode
from llarp.tasks.goals import Predicate, parse
from llarp.tasks.skills import INDEX, SKILLS, Skill


def make_episode(number: int = 0, steps: int = 2, **changes) -> Episode:
    """An episode that `Corridor` counts as solved once the robot has walked `steps` times in a row."""
    episode = Episode(
        episode_id=f"corridor-{number}", split="new_scenes", family="go_to", template="go_to/1",
        instruction=f"Walk {steps} times", layout="corridor", objects=(), start=(),
        goal=parse("AND(robot_at(sofa))"), subgoals=(parse("AND(robot_at(chair))"), parse("AND(robot_at(sofa))")),
        plan=(Skill("nav", "chair"),) * (steps - 1) + (Skill("nav", "sofa"),), demonstration=(),
    )  # fmt: skip
    return replace(episode, **changes)


class Corridor(Simulator):
    """The robot is wherever it last walked to; everything but walking is invalid. Its image tells the place."""

    image_shape = (24, 32, 3)
    rendered = 0

    def reset(self, episode: Episode) -> None:
        self.episode, self.place = episode, None

    def is_valid(self, skill: Skill) -> bool:
        return skill.verb == "nav"

    def apply(self, skill: Skill) -> bool:
        if self.is_valid(skill):
            self.place = skill.target
        return self.is_valid(skill)

    def holds(self, predicate: Predicate) -> bool:
        return predicate == Predicate("robot_at", (self.place or "nowhere",))

    def instances(self, category: str) -> tuple[str, ...]:
        return ()

    def view_key(self) -> bytes:
        return f"{self.place}".encode().ljust(16)[:16]

    def render(self) -> np.ndarray:
        self.rendered += 1
        number = INDEX[Skill("nav", self.place)] if self.place else len(SKILLS)
        return np.full(self.image_shape, 3 * number, np.uint8)
