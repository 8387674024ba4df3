"""Fewer walks: what a plan does, done from as few standing points as can be."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llarp.scenes.catalog import NAV_TARGETS
from llarp.tasks.skills import Skill

MAX_ORDERS = 24
"""Orders of a plan's errands that are considered: all orders of four."""


@dataclass(frozen=True)
class Deed:
    """A skill other than navigation."""

    skill: Skill
    usual: str | None
    """The navigation target from which the plan does it."""
    stands: frozenset[str]
    """Navigation targets from which it could be done with the same outcome."""


def orders(deeds: Sequence[Deed]) -> Iterator[tuple[Deed, ...]]:
    """The deeds in the order given, then with the errands (from an empty hand to an empty hand) in other orders."""
    errands: list[list[Deed]] = [[]]
    for deed in deeds:
        errands[-1].append(deed)
        if deed.skill.verb == "place" or (deed.skill.verb != "pick" and len(errands[-1]) == 1):
            errands.append([])
    for order in itertools.islice(itertools.permutations(filter(None, errands)), MAX_ORDERS):
        yield tuple(itertools.chain.from_iterable(order))


def walk(deeds: Sequence[Deed]) -> Iterator[Skill]:
    """The deeds in this order with the fewest walks between them: it stays as long as one standing point will do."""
    rest = list(deeds)
    while rest:
        stands, count = rest[0].stands, 1
        while count < len(rest) and stands & rest[count].stands:
            stands &= rest[count].stands
            count += 1
        usual = [deed.usual for deed in rest[:count] if deed.usual in stands]
        yield Skill("nav", usual[0] if usual else min(stands, key=NAV_TARGETS.index))
        yield from (deed.skill for deed in rest[:count])
        rest = rest[count:]
