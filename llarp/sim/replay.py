"""Which skills a recorded plan used, as our rules explain it best.

The record does not name skills. What a navigation's next skill acts on is where the solver went, unless it stood before
a neighbour: its search took the first target from which the next skill was possible, so it often puts something on a
counter while it stands before the sink. `explained` goes through a plan in our world and gives every navigation the
target after which most of the record holds and the next skill is valid.
"""

import itertools
from collections.abc import Sequence

from llarp.scenes.catalog import OPEN_RECEPTACLES, receptacle
from llarp.sim.rules import RuleWorld
from llarp.tasks import goals
from llarp.tasks.episode import Episode
from llarp.tasks.goals import Predicate
from llarp.tasks.released.recorded import Scope, recorded_plan
from llarp.tasks.skills import Skill

NEIGHBOURS: tuple[str, ...] = (*OPEN_RECEPTACLES, "chair")
"""Targets before which the solver may have stood instead."""
MISSING, EXTRA, FAILS, ELSEWHERE = 1.0, 0.5, 100.0, 0.5
"""What counts against a target: an atom recorded that does not hold, one that holds and is not recorded (it may have
been true from the start on), a skill before the next walk that does not do there what it did, and not being what the
first of these acts on."""


def starts_beside(skills: Sequence[Skill]) -> bool:
    """Whether a recorded plan begins without a walk: its robot happened to start within reach of the first object."""
    return bool(skills) and skills[0].verb == "pick"


def begin(world: RuleWorld, episode: Episode, skills: Sequence[Skill]) -> None:
    """Resets the world; where the recorded robot started beside its first object, so does ours."""
    world.reset(episode)
    if starts_beside(skills):
        first = next(atom.args[0] for atom in episode.recorded[0] if atom.name == "holding")
        world.apply(Skill("nav", world.where[first]))


def explained(world: RuleWorld, episode: Episode) -> tuple[Skill, ...]:
    """The recorded plan with the targets that the rules explain best; ValueError when a step cannot be explained."""
    plan = recorded_plan(episode)
    scope = Scope.of(episode)
    begin(world, episode, plan)
    following = list(zip(plan, episode.recorded, strict=True))
    skills: list[Skill] = []
    for number, (skill, step) in enumerate(following):
        if skill.verb == "nav":
            surprises: dict[str, float] = {}
            for target in dict.fromkeys((str(skill.target), *NEIGHBOURS)):
                world.apply(Skill("nav", target))
                surprises[target] = _surprise(world, scope, step) + ELSEWHERE * (target != skill.target)
                here = itertools.takewhile(lambda pair: pair[0].verb != "nav", following[number + 1 :])
                surprises[target] += FAILS * sum(not _does(world, *pair) for pair in here)
            skill = Skill("nav", min(surprises, key=surprises.__getitem__))
        world.apply(skill)
        skills.append(skill)
    return tuple(skills)


def _does(world: RuleWorld, skill: Skill, step: Sequence[Predicate]) -> bool:
    """Whether a skill can be done from here, and a pick takes, of what lies still, what was recorded as held after it.

    Hand and doors are not asked: other skills may come first.
    """
    if skill.verb != "pick":
        return skill.subject in world.geometry.near[world.at]
    lying = [name for name in world.instances(str(skill.target)) if name != world.held]
    return Predicate("holding", (next(filter(world.reaches, lying), ""),)) in step


def _surprise(world: RuleWorld, scope: Scope, step: Sequence[Predicate]) -> float:
    """How badly what was recorded after a navigation fits what holds now; doors are not asked."""

    def speaks(atom: Predicate) -> bool:
        if atom.name == "on_top":
            return atom.args[0] == world.held
        return atom.name in ("robot_at", "robot_at_obj") and atom.args[0] not in world.layout.handles

    recorded, here = (set(filter(speaks, some)) for some in (step, atoms(world, scope)))
    return MISSING * len(recorded - here) + EXTRA * len(here - recorded)


def atoms(world: RuleWorld, scope: Scope) -> set[Predicate]:
    """Every atom of a record's scope that holds now, `not_holding` included."""
    now = {Predicate("robot_at", (id,)) for id in world.geometry.near[world.at]}
    if not scope.handles:
        now = {atom for atom in now if atom.args[0] in world.layout.surfaces}
    now |= {Predicate("robot_at", (name,)) for name in scope.objects if world.near(name)}
    if scope.reach:
        now |= {Predicate("robot_at_obj", (name,)) for name in scope.objects if world.reaches(name)}
    for name in scope.objects:
        places = world.geometry.under_hand[world.at] if name == world.held else (world.where[name],)
        now |= {Predicate("on_top", (name, id)) for id in places}
        doors = (receptacle(id).handle for id in places)
        now |= {Predicate("in", (name, door)) for door in doors if door is not None}
    for door in world.layout.handles if scope.handles else ():
        now.add(goals.door(door, door in world.opened))
    now.add(Predicate("not_holding", ()) if world.held is None else Predicate("holding", (world.held,)))
    return now
