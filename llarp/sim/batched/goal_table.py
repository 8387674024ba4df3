"""Goals compiled to tests of single bits, so that those of many episodes are judged at once.

The state of one world is a row of masks, its facts: the robot's in column 0, object m's in column m + 1. A goal is a
disjunction of ways, a way a conjunction of literals (`llarp.tasks.ways`), and a literal asks whether one bit is set.
"""

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np

from llarp.errors import UserError
from llarp.sim.batched.layout_table import HANDLE, RECEPTACLE
from llarp.sim.sight import STAND
from llarp.tasks.episode import Episode, by_category
from llarp.tasks.goals import Predicate
from llarp.tasks.ways import MAX_WAYS, Way, ways

# Bits of the robot's mask: 0 to 15 the places that `robot_at` holds for, then the open handles, then
OPENED = len(STAND) - 1
HOLDING = OPENED + len(HANDLE)
ALWAYS = HOLDING + 1

# Bits of an object's mask: 0 to 10 the receptacles that it is on top of, then the handles that it is behind, then
BEHIND = len(RECEPTACLE)
HELD = BEHIND + len(HANDLE)
NEAR = HELD + 1
REACHED = NEAR + 1

if max(ALWAYS, REACHED) >= 32:
    raise UserError(
        f"{len(RECEPTACLE)} receptacles do not fit into a mask", "batched environment", "use the single one"
    )

LITERAL = np.dtype(
    [
        ("column", "u2"),
        ("bit", "u1"),
        ("wanted", "?"),
        ("opens", "u1"),  # 0: goes on with a way, 1: begins a way, 2: begins a goal
    ]
)


class GoalTable:
    """The goal and the subgoals of every episode compiled so far."""

    def __init__(self, num_episodes: int) -> None:
        self.num_goals = np.zeros(num_episodes, np.int64)
        """int64[E] goals of an episode: its goal, then its subgoals; 0 when it is not compiled."""
        self._first, self._end = np.zeros(num_episodes, np.int64), np.zeros(num_episodes, np.int64)
        self._literals = np.zeros(1024, LITERAL)
        self._count = 0

    def compile(self, number: int, episode: Episode) -> None:
        """Adds an episode; UserError when a goal has too many ways or names what is not there."""
        entries: list[tuple[int, int, bool, int]] = []
        inventory = _Inventory(episode)
        for goal in (episode.goal, *episode.subgoals):
            found: list[Way] = list(islice(ways(goal, inventory), MAX_WAYS + 1))
            if len(found) > MAX_WAYS:
                raise UserError(f"{goal} can be met in too many ways", f"episode {episode.episode_id}", "simplify it")
            try:
                entries += _entries(found, inventory.columns)
            except KeyError as error:
                raise UserError(
                    f"{goal} names {error}, which is not there", f"episode {episode.episode_id}", "correct the goal"
                ) from None
        first, end = self._count, self._count + len(entries)
        if end > len(self._literals):
            self._literals = np.concatenate([self._literals, np.zeros(max(len(entries), first), LITERAL)])
        self._literals[first:end] = entries
        self._first[number], self._end[number], self._count = first, end, end
        self.num_goals[number] = 1 + len(episode.subgoals)

    def hold(self, numbers_N: np.ndarray, facts_NC: np.ndarray, num_goals: int) -> np.ndarray:
        """bool[N, G] which goals hold now; False beyond an episode's last.

        Args:
            numbers_N: which episode each row of facts is of.
            facts_NC: uint32 masks.
            num_goals: G, at least as many as any of the episodes has.

        """
        lengths = self._end[numbers_N] - self._first[numbers_N]
        ends = lengths.cumsum()
        owner = np.repeat(np.arange(len(numbers_N)), lengths)
        literals = self._literals[np.arange(len(owner)) + (self._end[numbers_N] - ends)[owner]]
        bits = facts_NC[owner, literals["column"]] >> literals["bit"] & 1
        ways = np.flatnonzero(literals["opens"])
        goals = np.flatnonzero(literals["opens"][ways] == 2)
        result = np.zeros((len(numbers_N), num_goals), bool)
        if len(goals):
            met = np.logical_and.reduceat(bits == literals["wanted"], ways)
            result[np.arange(num_goals) < self.num_goals[numbers_N, None]] = np.logical_or.reduceat(met, goals)
        return result


class _Inventory:
    """The objects of an episode."""

    def __init__(self, episode: Episode) -> None:
        self.columns = {entry.name: column for column, entry in enumerate(episode.objects, 1)}
        self._instances = by_category(episode.objects)

    def instances(self, category: str) -> tuple[str, ...]:
        """Names of the objects of a category, in the episode's order."""
        return self._instances.get(category, ())


def _entries(found: Sequence[Way], columns: dict[str, int]) -> Iterable[tuple[int, int, bool, int]]:
    """The literals of one goal."""
    if not found:
        yield 0, ALWAYS, False, 2  # nothing meets it
    for number, way in enumerate(found):
        opens = 1 if number else 2
        if not way:
            yield 0, ALWAYS, True, opens  # everything does
        for atom, wanted in way:
            yield *_bit(atom, columns), wanted == (atom.name not in _NEGATED), opens
            opens = 0


_NEGATED = ("not_holding", "closed_fridge", "closed_cab")
"""What holds while its bit is not set."""


def _bit(atom: Predicate, columns: dict[str, int]) -> tuple[int, int]:
    """(column, bit) of an atom; KeyError when it names what is not there."""
    name, args = atom.name, atom.args
    if name == "on_top":
        return columns[args[0]], RECEPTACLE[args[1]]
    if name == "in":
        return columns[args[0]], BEHIND + HANDLE[args[1]]
    if name == "holding":
        return columns[args[0]], HELD
    if name == "not_holding":
        return 0, HOLDING
    if name == "robot_at_obj":
        return columns[args[0]], REACHED
    if name == "robot_at":
        return (columns[args[0]], NEAR) if args[0] in columns else (0, STAND[args[0]])
    return 0, OPENED + HANDLE[args[0]]
