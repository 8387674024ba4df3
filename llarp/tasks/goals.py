"""Predicates and goal expressions: AND / OR / NAND trees with EXISTS / FORALL over typed variables.

The text form is one line and round-trips: `parse(str(goal)) == goal`. Example::

    EXISTS X:apple AND(on_top(X, sofa), not_holding())
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from llarp.scenes.catalog import FRIDGE_HANDLE

ARITY: Mapping[str, int] = {
    "on_top": 2,  # object, receptacle
    "in": 2,  # object, handle of what closes it
    "holding": 1,  # object
    "not_holding": 0,
    "robot_at": 1,  # receptacle, handle or object: within 2.0 m and +-90 degrees
    "robot_at_obj": 1,  # object: within 1.5 m and +-1 rad
    "opened_fridge": 1,  # the fridge's handle
    "closed_fridge": 1,
    "opened_cab": 1,  # a drawer's handle
    "closed_cab": 1,
}
"""Number of arguments of each predicate."""

Operator = Literal["AND", "OR", "NAND"]
Quantifier = Literal["EXISTS", "FORALL"]


@dataclass(frozen=True)
class Predicate:
    """One atom. Arguments are object names, identifiers of the catalogue, or variables of an enclosing goal."""

    name: str
    args: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if ARITY.get(self.name) != len(self.args):
            raise ValueError(f"no predicate {self.name} with {len(self.args)} arguments")

    def __str__(self) -> str:
        return f"{self.name}({', '.join(self.args)})"

    def bind(self, values: Mapping[str, str]) -> "Predicate":
        """The same atom with variables replaced."""
        return Predicate(self.name, tuple(values.get(arg, arg) for arg in self.args))


def door(handle: str, opened: bool) -> Predicate:
    """That the fridge or drawer of a handle is open, or closed."""
    kind = "fridge" if handle == FRIDGE_HANDLE else "cab"
    return Predicate(f"{'opened' if opened else 'closed'}_{kind}", (handle,))


@dataclass(frozen=True)
class Goal:
    """An expression. A quantifier ranges over objects of the variables' categories, all different."""

    operator: Operator
    terms: tuple["Predicate | Goal", ...]
    quantifier: Quantifier | None = None
    variables: tuple[tuple[str, str], ...] = ()
    """(name, category) pairs; empty exactly when there is no quantifier."""

    def __post_init__(self) -> None:
        if (self.quantifier is None) != (not self.variables):
            raise ValueError("a quantifier needs variables, and variables need a quantifier")

    def __str__(self) -> str:
        head = ""
        if self.quantifier:
            head = f"{self.quantifier} {', '.join(f'{name}:{kind}' for name, kind in self.variables)} "
        return f"{head}{self.operator}({', '.join(map(str, self.terms))})"

    def bind(self, values: Mapping[str, str]) -> "Goal":
        """The same expression with free variables replaced."""
        free = {key: value for key, value in values.items() if key not in dict(self.variables)}
        return replace(self, terms=tuple(term.bind(free) for term in self.terms))


class Inventory(Protocol):
    """Who is there to be quantified over."""

    def instances(self, category: str) -> tuple[str, ...]:
        """Names of the objects of a category."""


class Facts(Inventory, Protocol):
    """What a goal is judged by; every world is one."""

    def holds(self, predicate: Predicate) -> bool:
        """Whether an atom without variables is true now."""


def assignments(goal: Goal, facts: Inventory) -> Iterator[dict[str, str]]:
    """Every way to give the goal's variables different objects of their categories."""
    names = [name for name, _ in goal.variables]
    for chosen in itertools.product(*(facts.instances(kind) for _, kind in goal.variables)):
        if len(set(chosen)) == len(chosen):
            yield dict(zip(names, chosen, strict=True))


def satisfied(goal: Goal, facts: Facts) -> bool:
    """Whether the goal holds. EXISTS with NAND reads "there is none such that ...", FORALL over nothing is true.

    The released episodes cannot tell that reading from the weaker "there is one that is not": whenever they take
    something off a place, there is exactly one of its category. Only the stronger is what the instructions ask.
    """

    def conjunction(values: Mapping[str, str]) -> bool:
        return all(_holds(term.bind(values), facts) for term in goal.terms)

    def disjunction(values: Mapping[str, str]) -> bool:
        return any(_holds(term.bind(values), facts) for term in goal.terms)

    one = disjunction if goal.operator == "OR" else conjunction
    if goal.quantifier is None:
        result = one({})
    elif goal.quantifier == "EXISTS":
        result = any(one(values) for values in assignments(goal, facts))
    else:
        result = all(one(values) for values in assignments(goal, facts))
    return result != (goal.operator == "NAND")


def _holds(term: Predicate | Goal, facts: Facts) -> bool:
    return facts.holds(term) if isinstance(term, Predicate) else satisfied(term, facts)


_TOKEN = re.compile(r"\s*([A-Za-z0-9_:.\-]+|[(),])")


def parse(text: str) -> Goal:
    """Reads the text form; ValueError says what was expected where."""
    tokens: list[str] = []
    position = 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"unexpected {text[position]!r} at column {position + 1} of goal {text!r}")
        tokens.append(match[1])
        position = match.end()
    goal, rest = _parse_term(tokens)
    if rest or not isinstance(goal, Goal):
        raise ValueError(f"not one goal expression: {text!r}")
    return goal


def parse_predicate(text: str) -> Predicate:
    """Reads one atom such as `on_top(X, sofa)`."""
    match = re.fullmatch(r"\s*(\w+)\((.*)\)\s*", text)
    if match is None:
        raise ValueError(f"not a predicate: {text!r}")
    return Predicate(match[1], tuple(arg.strip() for arg in match[2].split(",") if arg.strip()))


def _parse_term(tokens: list[str]) -> tuple[Predicate | Goal, list[str]]:
    quantifier: Quantifier | None = None
    variables: list[tuple[str, str]] = []
    if tokens and tokens[0] in ("EXISTS", "FORALL"):
        quantifier, tokens = tokens[0], tokens[1:]  # type: ignore[assignment]
        while tokens and ":" in tokens[0]:
            name, kind = tokens[0].split(":", 1)
            variables.append((name, kind))
            tokens = tokens[2:] if tokens[1:2] == [","] else tokens[1:]
    if len(tokens) < 3 or tokens[1] != "(":
        raise ValueError(f"expected name(...) but found {' '.join(tokens[:3]) or 'the end'!r}")
    name, tokens = tokens[0], tokens[2:]
    if name not in ("AND", "OR", "NAND"):
        end = tokens.index(")")
        return Predicate(name, tuple(token for token in tokens[:end] if token != ",")), tokens[end + 1 :]
    terms: list[Predicate | Goal] = []
    while tokens and tokens[0] != ")":
        term, tokens = _parse_term(tokens)
        terms.append(term)
        if tokens[:1] == [","]:
            tokens = tokens[1:]
    if not tokens:
        raise ValueError("missing )")
    return Goal(name, tuple(terms), quantifier, tuple(variables)), tokens[1:]  # type: ignore[arg-type]
