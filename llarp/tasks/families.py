"""Families of tasks: what each asks for, as a goal with slots, and what its instruction lets the robot know.

The nine training families and the form of the goals are those of the benchmark (arXiv 2310.17722); the last three
occur in evaluation only. Slots: `x y z` are object categories, `a b c` receptacles.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from llarp.tasks.goals import Goal, Predicate, parse


@dataclass(frozen=True)
class Case:
    """One way things may stand at the start, and what is to be reached then."""

    goal: str
    """Text of the goal with slots in braces."""
    start: tuple[Predicate, ...] = ()
    """What differs from the default start."""

    def goal_for(self, slots: Mapping[str, str]) -> Goal:
        """The goal with identifiers of the catalogue in its slots."""
        return parse(self.goal.format_map(slots))


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
    quantity: range = range(1, 2)
    """How many objects of each category asked for stand in the apartment."""
    looks_at_fridge: bool = False
    """True when what must be done depends on whether the fridge is open."""

    @property
    def locates(self) -> bool:
        """True when the instruction tells where every object is, so that nothing must be looked for."""
        return all(self.sources.values())

    @property
    def slots(self) -> frozenset[str]:
        """Letters that an instruction of this family must fill."""
        return frozenset(self.sources) | frozenset(self.receptacles)


_FRIDGE_OPEN = Predicate("opened_fridge", ("fridge_handle",))


def _family(id: str, goal: str, sources: dict[str, str | None], receptacles: str, **more) -> Family:
    return Family(id, (Case(goal),), sources, receptacles, **more)


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
        Family("close_fridge", (Case("AND(closed_fridge(fridge_handle))", (_FRIDGE_OPEN,)),)),
        _family("go_to", "AND(robot_at({b}))", {}, "b"),
        _family("find", "EXISTS X:{x} AND(robot_at_obj(X))", {"x": None}, ""),
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
        Family(  # fridge open: x to a; fridge closed: y to b
            "conditional",
            (
                Case("EXISTS X:{x} AND(opened_fridge(fridge_handle), on_top(X, {a}), not_holding())", (_FRIDGE_OPEN,)),
                Case("EXISTS Y:{y} AND(closed_fridge(fridge_handle), on_top(Y, {b}), not_holding())"),
            ),
            {"x": None, "y": None},
            "ab",
            looks_at_fridge=True,
        ),
    )
}
"""Every family by its identifier."""

TRAINING: tuple[str, ...] = tuple(FAMILIES)[:9]
"""The families that occur in training."""
