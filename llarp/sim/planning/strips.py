"""Planning tasks with typed STRIPS actions, and their text in PDDL."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

Atom = tuple[str, ...]
"""A predicate and its arguments; arguments that begin with a question mark are variables."""


@dataclass(frozen=True)
class Action:
    """An action schema: possible when all conditions hold; makes `adds` true and `deletes` false."""

    name: str
    parameters: Mapping[str, str]
    """Variable to type."""
    conditions: Sequence[Atom]
    adds: Sequence[Atom]
    deletes: Sequence[Atom] = ()

    def __str__(self) -> str:
        effects = [*map(text, self.adds), *(f"(not {text(atom)})" for atom in self.deletes)]
        return (
            f"  (:action {self.name}\n"
            f"    :parameters ({' '.join(f'{name} - {kind}' for name, kind in self.parameters.items())})\n"
            f"    :precondition (and {' '.join(map(text, self.conditions))})\n"
            f"    :effect (and {' '.join(effects)}))"
        )


@dataclass(frozen=True)
class Task:
    """A domain and one problem in it."""

    name: str
    types: Mapping[str, str]
    """Type to its supertype."""
    predicates: Mapping[str, Sequence[str]]
    """Predicate to the types of its arguments."""
    actions: Sequence[Action]
    objects: Mapping[str, str]
    """Object to its type. All of them are constants where an action names one."""
    init: Sequence[Atom]
    """What is true at the start; all else is false."""
    goal: Sequence[Atom]
    note: str = ""
    """One line that heads the problem."""

    @property
    def domain(self) -> str:
        """The PDDL text of the domain."""
        lines = [f"(define (domain {self.name})", "  (:requirements :strips :typing)", "  (:types"]
        lines += [f"    {kind} - {parent}" for kind, parent in self.types.items()]
        named = {arg for action in self.actions for atom in _atoms(action) for arg in atom[1:]}
        lines += ["  )", "  (:constants", *self._typed(named & self.objects.keys()), "  )", "  (:predicates"]
        for predicate, kinds in self.predicates.items():
            arguments = (f" ?{letter} - {kind}" for letter, kind in zip("abc", kinds, strict=False))
            lines.append(f"    ({predicate}{''.join(arguments)})")
        return "\n".join([*lines, "  )", *map(str, self.actions), ")\n"])

    @property
    def problem(self) -> str:
        """The PDDL text of the problem."""
        named = {arg for action in self.actions for atom in _atoms(action) for arg in atom[1:]}
        lines = [f"; {' '.join(self.note.split())}", f"(define (problem episode) (:domain {self.name})", "  (:objects"]
        lines += [*self._typed(self.objects.keys() - named), "  )", "  (:init"]
        lines += [f"    {text(atom)}" for atom in self.init]
        return "\n".join([*lines, "  )", f"  (:goal (and {' '.join(map(text, self.goal))})))", ""])

    def _typed(self, names: Collection[str]) -> list[str]:
        return [f"    {name} - {kind}" for name, kind in self.objects.items() if name in names]


def text(atom: Atom) -> str:
    """An atom in PDDL."""
    return f"({' '.join(atom)})"


def _atoms(action: Action) -> Iterable[Atom]:
    return (*action.conditions, *action.adds, *action.deletes)
