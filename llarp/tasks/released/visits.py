"""What released episodes say of one walk: where the solver went and what was recorded as true of the robot there."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from llarp.scenes.layouts import family
from llarp.tasks.episode import Episode
from llarp.tasks.goals import Predicate
from llarp.tasks.released.recorded import Scope, recorded_plan

Point = tuple[float, float]
"""Metres along the floor."""


@dataclass(frozen=True)
class Visit:
    """One navigation of a recorded plan."""

    split: str
    layout: str
    target: str
    """What the next skill acts on; the solver may have stood before something else."""
    verb: str
    """Of the next skill; empty after the last one."""
    sought: Point | None
    """Where the object that is picked next lies; None unless that is known."""
    near: frozenset[str]
    """Receptacles and handles that `robot_at` was recorded of."""
    seen: frozenset[str]
    """Those of which it was recorded at any step of the episode: of others it may have been true from the start on."""
    handles: bool
    """Whether handles are in the record's scope."""
    over: frozenset[str]
    """Receptacles that what the robot holds was recorded on top of."""
    holds: bool
    """Whether it holds anything."""
    lies: dict[str, Point]
    """Object in the record's scope that has not been moved -> where it lies."""
    near_objects: frozenset[str]
    """Objects that `robot_at` was recorded of."""
    reached: frozenset[str] | None
    """Objects that `robot_at_obj` was recorded of; None where that is not in scope."""

    @property
    def family(self) -> str:
        """The layout's."""
        return family(self.layout)


def visits(episodes: Iterable[Episode]) -> Iterator[Visit]:
    """Every navigation of the recorded plans; an episode whose record cannot be explained has none."""
    for episode in episodes:
        try:
            plan = recorded_plan(episode)
        except ValueError:
            continue
        scope = Scope.of(episode)
        lies = {entry.name: entry.position[:2] for entry in episode.objects if entry.name in scope.objects}
        seen = frozenset(id for step in episode.recorded for id in named(step, "robot_at") if ":" not in id)
        for number, (skill, step) in enumerate(zip(plan, episode.recorded, strict=True)):
            held = named(step, "holding")
            lies = {name: at for name, at in lies.items() if name not in held}
            if skill.verb != "nav":
                continue
            near, last = named(step, "robot_at"), number + 1 == len(plan)
            verb = "" if last else plan[number + 1].verb
            taken = named(episode.recorded[number + 1], "holding") if verb == "pick" else frozenset()
            yield Visit(
                split=episode.split,
                layout=episode.layout,
                target=str(skill.target),
                verb=verb,
                sought=next((lies[name] for name in taken if name in lies), None),
                near=frozenset(id for id in near if ":" not in id),
                seen=seen,
                handles=scope.handles,
                over=frozenset(atom.args[1] for atom in step if atom.name == "on_top" and atom.args[0] in held),
                holds=bool(held),
                lies=lies,
                near_objects=frozenset(near & lies.keys()),
                reached=frozenset(named(step, "robot_at_obj") & lies.keys()) if scope.reach else None,
            )


def named(step: Iterable[Predicate], predicate: str) -> frozenset[str]:
    """First arguments of one predicate's atoms among those of a step."""
    return frozenset(atom.args[0] for atom in step if atom.name == predicate)
