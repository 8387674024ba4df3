"""The expert: plans an episode, shows how it is done without knowing where things are, and proves it solvable.

A goal is turned into the ways in which it can be met, each a conjunction of atoms that must hold or must not; a way is
then achieved atom by atom in the world itself, so every plan returned here has been executed. Success ends an episode
at the first moment the goal holds, and so does a plan.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from llarp.tasks.episode import HORIZON, Episode
from llarp.tasks.families import FAMILIES, doors
from llarp.tasks.goals import Goal, Predicate, satisfied
from llarp.tasks.robot import Robot, Unsolvable
from llarp.tasks.skills import Skill
from llarp.tasks.walks import Deed, orders, walk
from llarp.tasks.ways import MAX_WAYS, Way, ways
from llarp.tasks.world import World

MAX_TRIES = 12
"""Ways that are carried out in search of the cheapest."""


def plan(world: World, episode: Episode) -> tuple[Skill, ...]:
    """The shortest plan that this expert finds when it knows where everything is.

    Args:
        world: is reset, and left where the last attempt ended.
        episode: its plan and demonstration are not read.

    Returns:
        At most HORIZON skills, all valid, after the last of which the goal holds for the first time.

    Raises:
        Unsolvable: the goal holds at the start, or no way to meet it was found.

    """
    robot = Robot(world, episode)
    ranked = sorted((robot.estimate(way), number, way) for number, way in enumerate(start_ways(world, episode)))
    best: tuple[Skill, ...] | None = None
    reason = "nothing in the apartment can meet the goal"
    orders = (order for _, _, way in ranked for order in _orders(way, robot.category))
    for order in itertools.islice(orders, MAX_TRIES):
        robot = Robot(world, episode)
        try:
            skills = _with_fewer_walks(world, episode, _execute(world, episode, robot.follow(order)))
        except Unsolvable as error:
            reason = str(error)
        else:
            best = skills if best is None else min(best, skills, key=len)
    if best is None:
        raise Unsolvable(reason)
    return best


def demonstrate(world: World, episode: Episode) -> tuple[Skill, ...]:
    """What the expert does when it knows only what the instruction says; this is what a policy imitates.

    Objects that the instruction does not locate are looked for in `robot.SEARCH_ORDER`: what it does next depends on
    the instruction and on what was in reach where it stood. A conditional instruction starts with a look at its door.
    Arguments, result and errors are those of `plan`.
    """
    robot = Robot(world, episode, hasty=False)
    return _execute(world, episode, routine(robot, start_ways(world, episode)))


def routine(robot: Robot, ways: list[Way]) -> Iterator[Skill]:
    """The demonstrator's skills from where a robot is now until one of the ways is met; see `Robot`."""
    episode = robot.world.episode
    family = FAMILIES.get(episode.family)
    if family is not None and family.is_conditional and (door := next(doors(episode.goal))) not in robot.looked:
        yield from robot.go(door)
        robot.looked.add(door)
    if family is None or not family.locates:
        yield from robot.search(ways)
    yield from robot.follow(min(ways, key=robot.estimate))


def start_ways(world: World, episode: Episode) -> list[Way]:
    """The ways in which an episode's goal can be met; Unsolvable when it holds already, or none is there."""
    if satisfied(episode.goal, world):
        raise Unsolvable("the goal holds at the start")
    found = list(itertools.islice(ways(episode.goal, world), MAX_WAYS))
    if not found:
        raise Unsolvable("an object that the goal asks for is not there")
    return found


def prove(world: World, episode: Episode) -> Episode:
    """The episode with plan, demonstration and subgoals filled in, all checked by execution.

    Raises:
        Unsolvable: as `plan` and `demonstrate`.

    """
    demonstration = demonstrate(world, episode)
    skills = min(plan(world, episode), demonstration, key=len)  # a search may happen upon a better order
    world.reset(episode)
    *earlier, last = _milestones(episode, skills)
    subgoals = [goal for goal in dict.fromkeys((*earlier, last)) if goal is not None and not satisfied(goal, world)]
    if last in earlier or last not in subgoals:  # the last step reaches the goal without being a milestone of its own
        subgoals.append(episode.goal)
    return replace(episode, plan=skills, demonstration=demonstration, subgoals=tuple(subgoals))


def _orders(way: Way, category: Mapping[str, str]) -> Iterator[Way]:
    """A way, and its reverse where it moves several of a category: pick takes the first, also one put down already."""
    yield way
    kinds = [category[atom.args[0]] for atom, wanted in way if wanted and atom.name in ("on_top", "in")]
    if len(set(kinds)) < len(kinds):
        yield way[::-1]


def _execute(world: World, episode: Episode, steps: Iterable[Skill]) -> tuple[Skill, ...]:
    """Carries skills out until the goal holds; Unsolvable when one is invalid or they end before."""
    done: list[Skill] = []
    for skill in itertools.islice(steps, HORIZON):
        if not world.apply(skill):
            raise Unsolvable(f"{skill} is invalid after {len(done)} steps")
        done.append(skill)
        if satisfied(episode.goal, world):
            return tuple(done)
    raise Unsolvable(f"the goal does not hold after {len(done)} steps")


def _with_fewer_walks(world: World, episode: Episode, skills: tuple[Skill, ...]) -> tuple[Skill, ...]:
    """A plan that does the same from fewer standing points, in the order that needs fewest; the plan itself if none."""
    number = max((number for number, skill in enumerate(skills, 1) if skill.verb != "nav"), default=0)
    body, tail = skills[:number], skills[number:]
    if sum(skill.verb == "nav" for skill in body) <= 1:
        return skills
    world.reset(episode)
    at, deeds = None, []
    for skill in body:
        if skill.verb == "nav":
            at = skill.target
        else:
            deeds.append(Deed(skill, at, world.stands(skill)))
        world.apply(skill)
    if not all(deed.stands for deed in deeds):
        return skills
    for other in sorted((tuple(walk(order)) for order in orders(deeds)), key=len):
        if len(other) >= len(body):
            break
        world.reset(episode)
        try:
            return _execute(world, episode, (*other, *tail))
        except Unsolvable:
            continue  # what was put down where, or was picked first, made a difference
    return skills


def _milestones(episode: Episode, skills: Iterable[Skill]) -> Iterator[Goal | None]:
    """What each skill of a plan brings about, for any object of the category: held, put down, opened, stood before.

    None for a skill on the way to something else, and for putting down what only has to be out of the way.
    """
    asked = str(episode.goal)
    held = None
    for skill in skills:
        target = str(skill.target)
        if skill.verb == "pick":
            held = target
            yield _any_of(held, Predicate("holding", ("X",)))
        elif skill.verb == "place":
            is_asked = f", {target})" in asked and "NAND" not in asked
            yield _any_of(str(held), Predicate("on_top", ("X", target))) if is_asked else None
        elif skill.verb == "nav":
            yield Goal("AND", (Predicate("robot_at", (target,)),)) if f"robot_at({target})" in asked else None
        else:
            state = skill.verb.replace("open", "opened").replace("close", "closed")
            yield Goal("AND", (Predicate(state, (skill.subject,)),))


def _any_of(category: str, atom: Predicate) -> Goal:
    return Goal("AND", (atom,), "EXISTS", (("X", category),))
