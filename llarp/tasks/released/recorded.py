"""Which skills a released episode's solver used, inferred from the atoms recorded after each of its steps.

A record leaves out what was true at its start, and speaks only of the objects that the task is about (`Scope`). A step
that changes what is held or what is open is a pick, place, open or close; any other is a navigation, to what
the next step acts on. A place that the solver reached without walking has no navigation, because the real furniture
was near enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from llarp.scenes.catalog import category_of_asset, handle
from llarp.tasks.episode import Episode
from llarp.tasks.goals import Goal, Predicate
from llarp.tasks.skills import Skill


@dataclass(frozen=True)
class Scope:
    """What an episode's record speaks of; other atoms are left out even when they are true."""

    objects: frozenset[str]
    """Names of the objects for which `robot_at` and `robot_at_obj` are recorded."""
    handles: bool
    """Whether `robot_at` of handles is recorded: in tasks about a door only."""
    reach: bool
    """Whether `robot_at_obj` is recorded: older episodes have no such predicate."""

    @classmethod
    def of(cls, episode: Episode) -> "Scope":
        """The scope of one episode's record, read off the record and the goal."""
        atoms = [atom for step in episode.recorded for atom in step]
        named = {atom.args[0] for atom in atoms if atom.name in ("robot_at", "robot_at_obj", "holding")}
        asked = {kind for _, kind in episode.goal.variables}
        doors = f"{episode.goal} {' '.join(str(atom) for atom in atoms if atom.name != 'in')}"
        return cls(
            frozenset(entry.name for entry in episode.objects if entry.name in named or entry.category in asked),
            any(word in doors for word in ("_handle)", "_fridge(", "_cab(")),
            any(atom.name == "robot_at_obj" for atom in atoms),
        )


def recorded_plan(episode: Episode) -> tuple[Skill, ...]:
    """The recorded plan, one skill per recorded step; ValueError when a step cannot be explained.

    Empty for an episode without records.
    """
    where = {entry.name: entry.receptacle for entry in episode.objects}
    opened = {atom.args[0] for atom in episode.start if atom.name.startswith("opened")}
    held: str | None = None
    plan: list[Skill] = []
    waiting = 0
    """Navigations whose target is not known yet."""

    def acts(skill: Skill, at: str) -> None:
        nonlocal waiting
        plan.extend([Skill("nav", at)] * waiting)
        plan.append(skill)
        waiting = 0

    for number, step in enumerate(episode.recorded):
        now = next((atom.args[0] for atom in step if atom.name == "holding"), None)
        doors = [atom for atom in step if atom.name.startswith("opened") and atom.args[0] not in opened]
        doors += [atom for atom in step if atom.name.startswith("closed") and atom.args[0] in opened]
        if now is not None and held is None:
            acts(Skill("pick", category_of_asset(now.split(":")[0])), where[now])
        elif now is None and held is not None:
            where[held] = _placed(held, step, number)
            acts(Skill("place", where[held]), where[held])
        elif doors:
            door = doors[0]
            opens = door.name.startswith("opened")
            (opened.add if opens else opened.discard)(door.args[0])
            verb, part = door.name.split("_")
            fridge = part == "fridge"
            skill = Skill(f"{verb.removesuffix('ed') if opens else 'close'}_{part}", None if fridge else door.args[0])
            acts(skill, door.args[0])
        else:
            waiting += 1
        held = now
    if waiting:
        plan.extend([Skill("nav", _destination(episode))] * waiting)
    return tuple(plan)


def _placed(name: str, step: Sequence[Predicate], number: int) -> str:
    """Where an object that is no longer held lies now."""
    for atom in step:
        if atom.name == "on_top" and atom.args[0] == name:
            return atom.args[1]
    for atom in step:
        behind = handle(atom.args[1]).receptacle if atom.name == "in" and atom.args[0] == name else None
        if behind is not None:
            return behind
    raise ValueError(f"step {number}: {name} is let go but lies nowhere")


def _destination(episode: Episode) -> str:
    """What the robot is asked to stand before, when the plan ends with a navigation."""
    goal: Goal = episode.goal
    for term in goal.terms:
        if isinstance(term, Predicate) and term.name in ("robot_at", "robot_at_obj"):
            entity = term.args[0]
            kinds = dict(goal.variables)
            if entity not in kinds:
                return entity
            found = [entry.receptacle for entry in episode.objects if entry.category == kinds[entity]]
            near = [atom.args[0] for atom in episode.recorded[-1] if atom.name == "robot_at"]
            return next((id for id in found if id in near), found[0])
    raise ValueError("the plan ends with a navigation that the goal does not ask for")
