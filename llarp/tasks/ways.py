"""A goal as the ways in which it can be met: a disjunction of conjunctions of literals over ground atoms."""

import itertools
from collections.abc import Iterator

from llarp.tasks.goals import Goal, Inventory, Predicate, assignments

MAX_WAYS = 1000
"""Ways of meeting a goal that are considered; none of the benchmark's goals comes near."""

Literal = tuple[Predicate, bool]
"""An atom without variables and whether it must hold."""

Way = tuple[Literal, ...]
"""Literals that meet a goal together."""


def ways(term: Predicate | Goal, inventory: Inventory, wanted: bool = True) -> Iterator[Way]:
    """Every conjunction of literals that makes a term true (or false), quantifiers and operators unfolded.

    Args:
        term: without free variables.
        inventory: the objects of each category.
        wanted: whether the term is to be true.

    """
    if isinstance(term, Predicate):
        yield ((term, wanted),)
        return
    wanted = wanted != (term.operator == "NAND")
    bindings = assignments(term, inventory) if term.quantifier else [{}]
    bodies = [[inner.bind(values) for inner in term.terms] for values in bindings]
    one_term, one_binding = (term.operator == "OR") == wanted, (term.quantifier == "EXISTS") == wanted
    yield from _join(
        [list(_join([list(ways(inner, inventory, wanted)) for inner in body], one_term)) for body in bodies],
        one_binding,
    )


def _join(options: list[list[Way]], one_suffices: bool) -> Iterator[Way]:
    """Ways to take one of several options, or all of them together."""
    if one_suffices:
        yield from itertools.chain.from_iterable(options)
    else:
        for parts in itertools.product(*options):
            yield tuple(dict.fromkeys(itertools.chain.from_iterable(parts)))
