"""How the expert gets things done: routines that yield the skills to take next, in step with the world."""

from collections.abc import Iterator, Mapping

from llarp.scenes.catalog import FRIDGE_HANDLE, NAV_TARGETS, RECEPTACLES, handle, receptacle
from llarp.scenes.extension import extension
from llarp.tasks import goals
from llarp.tasks.episode import Episode
from llarp.tasks.goals import Predicate
from llarp.tasks.skills import Skill
from llarp.tasks.ways import Literal, Way
from llarp.tasks.world import World

SEARCH_ORDER: tuple[str, ...] = (
    "sink", "left_counter", "right_counter", "black_table", "brown_table", "tv_stand", "sofa",
    *(own.id for own in extension().receptacle if own.objects_start_here),
)  # fmt: skip
"""Where the demonstrating expert looks for things, in this order: always the same, so that it can be imitated."""
ALSO_FREE: tuple[str, ...] = tuple(
    entry.id for entry in RECEPTACLES if entry.handle is None and entry.id not in SEARCH_ORDER
)
"""Where nothing starts, and yet something can be put out of the way."""


class Unsolvable(Exception):  # noqa: N818 (a finding, not an error)
    """The expert found no plan within the horizon; the message says why."""


class Robot:
    """What the expert believes about the world, and routines that yield the skills to take next.

    A routine runs in step with the world: after it yields a skill, the skill is carried out before it goes on. Where
    objects are is known from the start (`where`); `search` alone does not use it. Somebody else may have acted in
    between (`watch`): any routine can begin anywhere.
    """

    def __init__(self, world: World, episode: Episode, hasty: bool = True) -> None:
        """Resets the world. A hasty robot puts what it must get rid of on the nearest place, another on a fixed one."""
        world.reset(episode)
        self.world, self.hasty = world, hasty
        self.instruction = episode.instruction.lower()
        self.category = {entry.name: entry.category for entry in episode.objects}
        self.where = {entry.name: entry.receptacle for entry in episode.objects}
        self.at: str | None = None
        self.held: str | None = next((atom.args[0] for atom in episode.start if atom.name == "holding"), None)
        self.in_the_way: set[str] = set()
        self.looked: set[str] = set()
        """Navigation targets where it has looked for what it seeks."""
        self.seen: dict[str, str] = {}
        """Object that it has noticed -> where that was."""

    def note(self, skill: Skill) -> None:
        """Takes in what a skill has done that was carried out just now."""
        if skill.verb == "nav":
            self.at = skill.target
        elif skill.verb == "pick":
            instances = self.world.instances(str(skill.target))
            self.held = next((name for name in instances if self.world.holds(Predicate("holding", (name,)))), None)
        elif skill.verb == "place" and self.held is not None:
            self.where[self.held], self.held = str(skill.target), None

    def watch(self, skill: Skill) -> None:
        """Notes a skill that somebody else has chosen, and what is in reach then: it need not be looked for again."""
        moved = self.held
        self.note(skill)
        if skill.verb == "place" and moved is not None:
            self.seen[moved] = self.where[moved]
        elif skill.verb == "nav":
            stop = str(skill.target)
            self.looked.add(stop)
            here = [name for name, place in self.where.items() if place == stop and name != self.held]
            near = [name for name in here if self.world.holds(Predicate("robot_at_obj", (name,)))]
            self.seen.update(dict.fromkeys(near, stop))

    def do(self, skill: Skill) -> Iterator[Skill]:
        """Yields a skill and notes it."""
        yield skill
        self.note(skill)

    def unmet(self, way: Way) -> list[Literal]:
        """The literals of a way that are not yet as they must be; what is held over its place is not yet there."""
        return [
            (atom, wanted)
            for atom, wanted in way
            if self.world.holds(atom) != wanted or (wanted and atom.name == "on_top" and atom.args[0] == self.held)
        ]

    def estimate(self, way: Way) -> tuple[int, int]:
        """(skills still to come when nothing is done in passing, things fetched from where the instruction names not).

        Fewer is better: the second breaks ties.
        """
        unmet = self.unmet(way)
        moved = [atom.args[0] for atom, _ in unmet if atom.name in ("on_top", "in")]
        fetched = [name for name in moved if name != self.held]
        sources = {self.where[name] for name in fetched}
        targets = {atom.args[1] for atom, wanted in unmet if atom.name in ("on_top", "in") and wanted}
        others = len(unmet) - len(moved)
        stands = len((sources | targets) - {self.at})
        unnamed = sum(receptacle(source).words.lower() not in self.instruction for source in sources)
        return len(moved) + len(fetched) + stands + (others if not moved else 0), unnamed

    def follow(self, way: Way) -> Iterator[Skill]:
        """Meets the literals of a way one by one, those first that others rest on."""
        order = (
            ("opened_fridge", "opened_cab"), ("on_top", "in"), ("closed_fridge", "closed_cab"),
            ("holding", "not_holding"), ("robot_at_obj", "robot_at"),
        )  # fmt: skip
        rank = {name: number for number, names in enumerate(order) for name in names}

        def urgency(literal: Literal) -> tuple[bool, int, bool]:
            name, subject = literal[0].name, literal[0].args[:1]
            return subject != (self.held,), rank[name], bool(self.in_the_way.intersection(subject))

        while unmet := self.unmet(way):
            atom, wanted = min(unmet, key=urgency)
            idle = True
            for skill in self.achieve(atom, wanted, way):
                idle = False
                yield skill
            if idle:
                raise Unsolvable(f"no skill makes {atom} {str(wanted).lower()}")

    def achieve(self, atom: Predicate, wanted: bool, way: Way) -> Iterator[Skill]:
        """Brings one literal about."""
        name, args = atom.name, atom.args
        if name in ("on_top", "in"):
            target = args[1] if name == "on_top" else handle(args[1]).receptacle
            if target is None:
                raise Unsolvable(f"nothing can be put behind {args[1]}")
            if self.held != args[0]:
                yield from self.take(args[0], way)
            if self.held == args[0]:
                yield from self.put(target) if wanted else self.put_away(way)
            elif self.held in self.in_the_way:  # another instance came first, and not for the first time
                yield from self.put(SEARCH_ORDER[-1])
            else:  # what is to become of it comes first
                self.in_the_way.add(str(self.held))
        elif name.startswith(("opened", "closed")):
            yield from self.turn(args[0], name.startswith("opened") == wanted)
        elif name in ("holding", "not_holding"):
            if (name == "holding") != wanted:
                yield from self.put_away(way)
            elif name == "holding":
                yield from self.take(args[0], way)
        else:
            yield from self.approach(atom, wanted)

    def search(self, ways: list[Way]) -> Iterator[Skill]:
        """Visits the open receptacles until everything that some cheapest way asks for was found and put in place.

        What it holds, has `seen` and where it has `looked` decide what comes next.
        """
        while sought := self.sought(ways):
            near = self.in_reach(sought)
            self.seen.update(dict.fromkeys(near, str(self.at)))
            name = next((name for name in (*near, *sought) if name in self.seen), None)
            if self.held is not None and any(sought.values()):  # somebody else has picked it
                target = sought.get(self.held)
                yield from self.put(target) if target else self.put_away(min(ways, key=self.estimate))
            elif name is not None:
                pick, place = Skill("pick", self.category[name]), self.seen[name]
                yield from self.reach(place, pick)
                if self.where[name] != place:  # it has been moved since
                    del self.seen[name]
                    continue
                yield from self.do(pick)
                if self.held in sought:
                    yield from self.put(str(sought[self.held]))
                else:  # it was in place already, but comes first: out of the way, to be found again later
                    self.looked.discard(SEARCH_ORDER[-1])
                    yield from self.put(SEARCH_ORDER[-1])
                    yield from self.go(place)
            else:
                yield from self.look(sought)

    def look(self, sought: Mapping[str, str | None]) -> Iterator[Skill]:
        """Goes to the next open receptacle where it has not looked."""
        # What is already where it belongs is not sought, so nothing can be where all of it belongs.
        left = (stop for stop in SEARCH_ORDER if stop not in self.looked and set(sought.values()) != {stop})
        stop = next(left, None)
        if stop is None:
            raise Unsolvable("what is asked for is on no open receptacle, or out of reach there")
        yield from self.go(stop)
        self.looked.add(stop)
        self.seen.clear()  # nothing of it is sought any more

    def sought(self, ways: list[Way]) -> dict[str, str | None]:
        """Objects still to be found for the ways nearest to their end, and the receptacle to put each on, if any."""
        left = [self.unmet(way) for way in ways]
        fewest = min(map(len, left))
        return {
            atom.args[0]: atom.args[1] if atom.name == "on_top" else None
            for literals in left
            if len(literals) == fewest
            for atom, wanted in literals
            if wanted and atom.name in ("on_top", "robot_at_obj")
        }

    def in_reach(self, sought: Mapping[str, str | None]) -> list[str]:
        """Objects to be moved that can be picked from the receptacle it faces.

        What is in reach on a neighbouring one may be out of the picture: taking it could not be imitated.
        """
        return [
            name
            for name, target in sought.items()
            if target is not None
            and self.where[name] == self.at
            and self.world.is_valid(Skill("pick", self.category[name]))
        ]

    def take(self, name: str, way: Way) -> Iterator[Skill]:
        """Fetches an object from where it is; ends up with another one of the category when pick takes that one."""
        if self.held is not None and self.held != name:
            yield from self.put_away(way)
        if self.held != name:
            pick = Skill("pick", self.category[name])
            yield from self.reach(self.where[name], pick)
            yield from self.do(pick)

    def put(self, target: str) -> Iterator[Skill]:
        """Goes to a receptacle and puts what it holds there."""
        place = Skill("place", target)
        yield from self.reach(target, place)
        yield from self.do(place)

    def put_away(self, way: Way) -> Iterator[Skill]:
        """Puts what it holds on an open receptacle where it neither came from nor must not be."""
        barred = {atom.args[1] for atom, wanted in way if atom.name == "on_top" and not wanted}
        barred.add(self.where.get(str(self.held), ""))
        free = [target for target in reversed(SEARCH_ORDER) if target not in barred]
        passing = [*free, *ALSO_FREE] if self.hasty else []
        valid = (target for target in passing if self.world.is_valid(Skill("place", target)))
        target = next((target for target in valid if target not in barred), None)
        yield from self.put(free[0]) if target is None else self.do(Skill("place", target))

    def approach(self, atom: Predicate, wanted: bool) -> Iterator[Skill]:
        """Goes from place to place, the likeliest first, until `robot_at` or `robot_at_obj` is as it must be."""
        place = self.where.get(atom.args[0], atom.args[0])
        likely = [place] if wanted and place in NAV_TARGETS else []
        for target in (*likely, *SEARCH_ORDER):
            yield from self.go(target)
            if self.world.holds(atom) == wanted:
                return

    def reach(self, place: str, skill: Skill) -> Iterator[Skill]:
        """Makes a skill possible at a receptacle: opens what closes it and stands before it."""
        door = receptacle(place).handle
        if door is None:
            yield from self.go(place)
        else:
            yield from self.turn(door, True)
            if not self.world.is_valid(skill):
                yield from self.go(place)

    def turn(self, door: str, opened: bool) -> Iterator[Skill]:
        """Opens or closes the fridge or a drawer, unless it is so already."""
        if not self.world.holds(goals.door(door, opened)):
            yield from self.go(door)
            verb = "open" if opened else "close"
            yield Skill(f"{verb}_fridge") if door == FRIDGE_HANDLE else Skill(f"{verb}_cab", door)

    def go(self, target: str) -> Iterator[Skill]:
        """Stands before a navigation target, unless it does already."""
        if self.at != target:
            yield from self.do(Skill("nav", target))
