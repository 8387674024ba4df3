"""Episodes as PDDL (STRIPS with types), so that planners that know nothing of this project can solve them.

Distances and angles become facts: from which pose what can be taken, where something can be put down, what is stood
before. The ways of meeting a goal (`llarp.tasks.ways`) become actions (`meet_1`, ...) that bring about `(done)`,
all that a problem asks for, so that a PDDL plan is one action longer than the skills it stands for.

Every plan of the model is valid in `RuleWorld`. What the model does not know:

* objects of categories that the goal does not ask about, and closed places that have nothing to do with it;
* where on a receptacle something was put down: it can be taken again from where all spots of the receptacle are in
  reach, and is out of the way of others of its category from where none is.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

from llarp.errors import UserError
from llarp.files import folder_aside
from llarp.scenes.catalog import FRIDGE_HANDLE, NAV_TARGETS, RECEPTACLES, handle, receptacle
from llarp.scenes.reach import REACH_M, REACH_RAD, ROBOT_AT_M, ROBOT_AT_RAD, within
from llarp.sim.planning.domain import (
    HAND,
    MOVES,
    NO_DOOR,
    PREDICATES,
    START,
    TYPES,
    before,
    pick,
    pose_name,
    rank_of,
    spot_name,
)
from llarp.sim.planning.strips import Action, Atom, Task, text
from llarp.sim.rules import RuleWorld
from llarp.tasks.episode import Episode
from llarp.tasks.skills import Skill
from llarp.tasks.ways import MAX_WAYS, Literal, ways

_REACH = (("reaches_not", "reaches"), (REACH_M, REACH_RAD))
_NEAR = (("item_far", "item_near"), (ROBOT_AT_M, ROBOT_AT_RAD))
"""Words for out of reach and in reach, and the limits of reach (metres, radians)."""


class Model:
    """One episode as a planning task, and plans in both languages.

    Raises:
        UserError: nothing in the episode can meet its goal.

    """

    def __init__(self, episode: Episode) -> None:
        self.episode, self.world = episode, RuleWorld()
        self.world.reset(episode)
        self.ways = list(itertools.islice(ways(episode.goal, self.world), MAX_WAYS))
        if not self.ways:
            raise UserError("the goal asks for an object that is not there", f"episode {episode.episode_id}")
        named = {arg for way in self.ways for atom, _ in way for arg in atom.args}
        kinds = dict.fromkeys(entry.category for entry in episode.objects if entry.name in named)
        self.items = {
            name: f"{kind}_{rank}" for kind in kinds for rank, name in enumerate(self.world.instances(kind), 1)
        }
        """Object of the episode -> item of the model."""
        self.lies_on = {item: self.world.where[name] for name, item in self.items.items()}
        """Item -> the receptacle where it starts."""
        named |= {str(handle(id).receptacle) for id in named & self.world.layout.handles.keys()}
        named |= set(self.lies_on.values())
        self.surfaces = [entry.id for entry in RECEPTACLES if entry.handle is None or entry.id in named]
        named |= {str(receptacle(id).handle) for id in self.surfaces}
        self.doors = [id for id in self.world.layout.handles if id in named]

    @cached_property
    def task(self) -> Task:
        """The episode's domain (which holds the goal's ways) and problem."""
        ranks = range(1, 1 + max(map(rank_of, self.lies_on), default=0))
        actions = (*MOVES, *map(pick, ranks), *self._meets)
        used = {atom[0] for action in actions for atom in action.conditions}
        return Task(
            name="language_rearrangement",
            types=TYPES,
            predicates=PREDICATES
            | {f"rank_{rank}": ("item",) for rank in ranks}
            | {f"before_{rank}": ("item", "item") for rank in ranks},
            actions=actions,
            objects={START: "pose"}
            | {pose_name(target): "pose" for target in NAV_TARGETS}
            | dict.fromkeys(self.lies_on, "item")
            | {HAND: "location"}
            | {spot_name(item): "spot" for item in self.lies_on}
            | dict.fromkeys(self.surfaces, "surface")
            | dict.fromkeys((NO_DOOR, *self.doors), "door"),
            init=[atom for atom in (*self._start(), *self._places(), *self._poses()) if atom[0] in used],
            goal=[("done",)],
            note=f"{self.episode.episode_id}: {self.episode.instruction}",
        )

    def write(self, skills: Iterable[Skill]) -> str:
        """A plan in PDDL, one action per line; ValueError when it fails, or moves what the model leaves out."""
        self.world.reset(self.episode)
        at, lies = START, {item: spot_name(item) for item in self.lies_on}
        lines: list[Atom] = []
        for skill in skills:
            verb, target, held = skill.verb.split("_")[0], str(skill.target), self.world.held
            if not self.world.apply(skill):
                raise ValueError(f"{skill} is invalid after {len(lines)} steps")
            item = self.items.get(str(held or self.world.held), "")
            if verb in ("pick", "place") and not item:
                raise ValueError(f"{skill} moves what the model leaves out")
            if verb == "nav":
                lines.append(("nav", at, pose_name(target)))
                at = pose_name(target)
            elif verb == "pick":
                others = (arg for other in before(item) for arg in (other, lies[other]))
                lines.append((f"pick_{rank_of(item)}", at, item, lies[item], self._door(lies[item]), *others))
                lies[item] = HAND
            elif verb == "place":
                lines.append(("place", at, item, target, self._door(target)))
                lies[item] = target
            else:
                lines.append((verb, at, skill.subject))
        facts = {
            ("at", at),
            *(("lies", *pair) for pair in lies.items()),
            *self._state(),
            *self._places(),
            *self._poses(),
        }
        for meet in self._meets:
            bound = {name: lies[name[3:]] if name[3:] else at for name in meet.parameters}
            if all(tuple(bound.get(arg, arg) for arg in atom) in facts for atom in meet.conditions):
                return "".join(text(line) + "\n" for line in (*lines, (meet.name, *bound.values())))
        raise ValueError("no way of meeting the goal holds after the last step")

    def _state(self) -> Iterator[Atom]:
        """What is true now of the hand and the doors."""
        if self.world.held is None:
            yield ("hand_empty",)
        for door in self.doors:
            yield ("opened" if door in self.world.opened else "closed", door)

    def _start(self) -> Iterator[Atom]:
        """What is true at the start and changes, and the items' ranks."""
        self.world.reset(self.episode)
        yield from (("at", START), ("opened", NO_DOOR), *self._state())
        for item in self.lies_on:
            yield from (("lies", item, spot_name(item)), (f"rank_{rank_of(item)}", item))
            yield from ((f"before_{rank_of(other)}", other, item) for other in before(item))

    def _places(self) -> Iterator[Atom]:
        """Which places are on which surface, and what closes them."""
        for place in (*map(spot_name, self.lies_on), *self.surfaces):
            yield ("behind", place, self._door(place))
            surface = self._surface(place)
            yield from (("on" if other == surface else "not_on", place, other) for other in self.surfaces)

    def _poses(self) -> Iterator[Atom]:
        """What every pose makes possible."""
        room = self.world.geometry
        at_start = {entry.name: entry.position[:2] for entry in self.episode.objects}
        points = {surface: room.spots[surface] for surface in self.surfaces}
        points |= {spot_name(item): (at_start[name],) for name, item in self.items.items()}
        for target in (None, *NAV_TARGETS):
            pose, name = (room.layout.standing[target], pose_name(target)) if target else (room.start, START)
            if target:
                yield ("target", name)
            yield from (("reaches", name, HAND), ("item_near", name, HAND))
            for place, around in points.items():
                for words, limits in (_REACH, _NEAR):
                    are_within = {within(pose, *point, *limits) for point in around}
                    if len(are_within) == 1:  # else it depends on where exactly
                        yield (words[are_within.pop()], name, place)
            for surface in self.surfaces:
                yield ("surface_near" if surface in room.near[target] else "surface_far", name, surface)
                yield ("over" if surface in room.under_hand[target] else "not_over", name, surface)
            for door in self.doors:
                yield ("door_near" if door in room.near[target] else "door_far", name, door)

    @cached_property
    def _meets(self) -> tuple[Action, ...]:
        """One action per way of meeting the goal, and per way in which its literals can be true together."""
        meets: list[Action] = []
        for way in self.ways:
            for parts in itertools.product(*map(self._alternatives, way)):
                conditions = list(dict.fromkeys(itertools.chain.from_iterable(parts)))
                held = {atom[1] for atom in conditions if atom[0] == "lies" and atom[2] == HAND}
                if held and (
                    ("hand_empty",) in conditions or any(f"?l_{item}" in atom for item in held for atom in conditions)
                ):
                    continue  # cannot be true together
                variables = dict.fromkeys(arg for atom in conditions for arg in atom if arg.startswith("?"))
                kinds = {"?p": "pose", "?l": "site", "?m": "location"}
                meets.append(
                    Action(
                        f"meet_{len(meets) + 1}",
                        {name: kinds[name[:2]] for name in variables},
                        conditions,
                        [("done",)],
                    )
                )
        return tuple(meets)

    def _alternatives(self, literal: Literal) -> list[tuple[Atom, ...]]:
        """Conjunctions of conditions, each of which makes a literal true."""
        atom, wanted = literal
        name, subject = atom.name, atom.args[0] if atom.args else ""
        item = self.items.get(subject, "")
        held, lying, somewhere = ("lies", item, HAND), ("lies", item, f"?l_{item}"), ("lies", item, f"?m_{item}")
        if name == "on_top":
            over = (held, ("at", "?p"), ("over" if wanted else "not_over", "?p", atom.args[1]))
            return [(lying, ("on" if wanted else "not_on", lying[2], atom.args[1])), over]
        if name == "in":
            behind = handle(atom.args[1]).receptacle
            if behind is None:  # nothing can be in there
                return [] if wanted else [()]
            there = (lying, ("on" if wanted else "not_on", lying[2], behind))
            return [there] if wanted else [there, (held,)]
        if name == "holding":
            return [(held,) if wanted else (lying,)]
        if name == "not_holding":
            return [(("hand_empty",),)] if wanted else [(("lies", other, HAND),) for other in self.lies_on]
        if name.startswith(("opened", "closed")):
            return [((("opened" if name.startswith("opened") == wanted else "closed"), subject),)]
        if item:
            words = _REACH[0] if name == "robot_at_obj" else _NEAR[0]
            return [(("at", "?p"), somewhere, (words[wanted], "?p", somewhere[2]))]
        kind = "door" if subject in self.doors else "surface"
        return [(("at", "?p"), (f"{kind}_{'near' if wanted else 'far'}", "?p", subject))]

    def _surface(self, place: str) -> str:
        return place if place in self.surfaces else self.lies_on[place.removeprefix(spot_name(""))]

    def _door(self, place: str) -> str:
        return receptacle(self._surface(place)).handle or NO_DOOR


def read(plan: str) -> tuple[Skill, ...]:
    """The skills of a plan in PDDL, one action per line."""
    skills = []
    for line in plan.splitlines():
        name, *args = line.strip(" ()").split() or [""]
        if name == "nav":
            skills.append(Skill("nav", args[1].removeprefix(pose_name(""))))
        elif name.startswith("pick"):
            skills.append(Skill("pick", args[1].rpartition("_")[0]))
        elif name == "place":
            skills.append(Skill("place", args[2]))
        elif name in ("open", "close"):
            skills.append(Skill(f"{name}_fridge") if args[1] == FRIDGE_HANDLE else Skill(f"{name}_cab", args[1]))
    return tuple(skills)


def export(folder: Path, episodes: Sequence[Episode]) -> None:
    """Writes `EPISODE/domain.pddl`, `problem.pddl` and `expert.plan` for each episode, all or nothing.

    Raises:
        UserError: the folder is there already or cannot be written to, or a goal asks for what is not there.

    """
    if folder.exists():
        raise UserError("is there already", folder, "choose another folder with --out")
    with folder_aside(folder) as aside:
        for episode in episodes:
            here, model = aside / episode.episode_id, Model(episode)
            here.mkdir()
            (here / "domain.pddl").write_text(model.task.domain)
            (here / "problem.pddl").write_text(model.task.problem)
            (here / "expert.plan").write_text(model.write(episode.plan))
