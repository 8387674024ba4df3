"""Families of tasks: what each asks for, as a goal with slots, and what its instruction lets the robot know.

The nine training families and the form of the goals are those of the benchmark (arXiv 2310.17722); the others occur in
evaluation only. Slots: `x y z` are object categories, `a b c` receptacles, `d` is the handle of a drawer.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from llarp.tasks.goals import Goal, Predicate, parse, parse_predicate


@dataclass(frozen=True)
class Case:
    """One way things may stand at the start, and what is to be reached then."""

    goal: str
    """Text of the goal with slots in braces."""
    start: tuple[str, ...] = ()
    """Texts of the atoms that differ from the default start, with slots in braces."""

    def goal_for(self, slots: Mapping[str, str]) -> Goal:
        """The goal with identifiers of the catalogue in its slots."""
        return parse(self.goal.format_map(slots))

    def start_for(self, slots: Mapping[str, str]) -> tuple[Predicate, ...]:
        """What differs from the default start, with identifiers of the catalogue in the slots."""
        return tuple(parse_predicate(atom.format_map(slots)) for atom in self.start)


@dataclass(frozen=True)
class Family:
    """One kind of task."""

    id: str
    cases: tuple[Case, ...]
    """One; two where the instruction is conditional."""
    sources: Mapping[str, str | None] = field(default_factory=dict)
    """Category slot to the receptacle slot where its object starts; None: somewhere, the instruction does not say."""
    receptacles: str = ""
    """Letters of all receptacle slots."""
    drawers: str = ""
    """Letters of all drawer slots."""
    quantity: range = range(1, 2)
    """How many objects of each category asked for stand in the apartment."""
    is_conditional: bool = False
    """True when what must be done depends on whether a door is open: the one that `doors` finds in the goal."""

    @property
    def locates(self) -> bool:
        """True when the instruction tells where every object is, so that nothing must be looked for."""
        return all(self.sources.values())

    @property
    def slots(self) -> frozenset[str]:
        """Letters that an instruction of this family must fill."""
        return frozenset(self.sources) | frozenset(self.receptacles) | frozenset(self.drawers)


def doors(goal: Goal) -> Iterator[str]:
    """The handles that a goal wants open or closed.

    In a conditional instruction the same door decides in every case, so it can be read off the goal of either.
    """
    for term in goal.terms:
        if isinstance(term, Goal):
            yield from doors(term)
        elif term.name.startswith(("opened", "closed")):
            yield term.args[0]


def _family(id: str, goal: str, sources: dict[str, str | None], receptacles: str, **more) -> Family:
    return Family(id, (Case(goal),), sources, receptacles, **more)


def _conditional(id: str, kind: str, handle: str, drawers: str = "") -> Family:
    """Door open: x to a. Door closed: y to b."""
    opened, closed = f"opened_{kind}({handle})", f"closed_{kind}({handle})"
    return Family(
        id,
        (
            Case(f"EXISTS X:{{x}} AND({opened}, on_top(X, {{a}}), not_holding())", (opened,)),
            Case(f"EXISTS Y:{{y}} AND({closed}, on_top(Y, {{b}}), not_holding())"),
        ),
        {"x": None, "y": None},
        "ab",
        drawers,
        is_conditional=True,
    )


FAMILIES: Mapping[str, Family] = {
    family.id: family
    for family in (
        _family("move_from_to", "EXISTS X:{x} AND(on_top(X, {b}), not_holding())", {"x": "a"}, "ab"),
        _family("move_to", "EXISTS X:{x} AND(on_top(X, {b}), not_holding())", {"x": None}, "b"),
        _family("take_off", "AND(not_holding(), EXISTS X:{x} NAND(on_top(X, {a})))", {"x": "a"}, "a"),
        _family(
            "two_to",
            "EXISTS X:{x}, Y:{y} AND(on_top(X, {b}), on_top(Y, {b}), not_holding())",
            {"x": None, "y": None},
            "b",
        ),
        _family(
            "swap",
            "EXISTS X:{x}, Y:{y} AND(on_top(X, {b}), on_top(Y, {a}), not_holding())",
            {"x": "a", "y": "b"},
            "ab",
        ),
        _family("open_fridge", "AND(opened_fridge(fridge_handle))", {}, ""),
        Family("close_fridge", (Case("AND(closed_fridge(fridge_handle))", ("opened_fridge(fridge_handle)",)),)),
        _family("go_to", "AND(robot_at({b}))", {}, "b"),
        _family("find", "EXISTS X:{x} AND(robot_at_obj(X))", {"x": None}, ""),
        _family(
            "two_rearrangements",
            "EXISTS X:{x}, Y:{y} AND(on_top(X, {a}), on_top(Y, {b}), not_holding())",
            {"x": None, "y": None},
            "ab",
        ),
        _family(
            "multiple_rearrangements",
            "EXISTS X:{x}, Y:{y}, Z:{z} AND(on_top(X, {a}), on_top(Y, {b}), on_top(Z, {c}), not_holding())",
            {"x": None, "y": None, "z": None},
            "abc",
        ),
        _family(
            "multiple_objects",
            "FORALL X:{x} AND(on_top(X, {b}), not_holding())",
            {"x": None},
            "b",
            quantity=range(1, 4),
        ),
        _conditional("conditional", "fridge", "fridge_handle"),
        _conditional("conditional_drawer", "cab", "{d}", drawers="d"),
    )
}
"""Every family by its identifier."""

TRAINING: tuple[str, ...] = tuple(FAMILIES)[:9]
"""The families that occur in training."""
