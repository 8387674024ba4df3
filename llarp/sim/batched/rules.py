"""The rules of `llarp.sim.rules` for N episodes at once: the same states, validity and goals, step for step.

Shapes: N worlds, R of them that are asked for, K objects, M objects per episode, P poses, S spots, G goals.
"""

from collections.abc import Sequence

import numpy as np

from llarp.errors import UserError
from llarp.scenes.catalog import HANDLES, RECEPTACLES
from llarp.sim import sight
from llarp.sim.batched.episode_table import CATEGORY, HAND, NOWHERE, OBJECT, EpisodeTable
from llarp.sim.batched.goal_table import ALWAYS, BEHIND, HELD, HOLDING, NEAR, OPENED, REACHED
from llarp.sim.batched.layout_table import HANDLE, RECEPTACLE, mask
from llarp.sim.rules import ROOMY_M
from llarp.sim.sight import STAND, START
from llarp.tasks.skills import SKILLS, Skill

NAV, PICK, PLACE, OPEN, CLOSE = range(5)
NOBODY = -1
"""What an empty hand holds."""

_ONE = np.uint32(1)
_FAR_M = 1e6
"""Where objects are taken to be that lie on another receptacle: too far to take any room."""
_VERBS = {
    "nav": NAV, "pick": PICK, "place": PLACE, "open_fridge": OPEN, "open_cab": OPEN, "close_fridge": CLOSE,
    "close_cab": CLOSE,
}  # fmt: skip


def _verb(skill: Skill) -> int:
    if skill.verb not in _VERBS:
        raise UserError(f"no arrays for the skill {skill}", "batched environment", "use the single one")
    return _VERBS[skill.verb]


def _target(skill: Skill) -> int:
    """Pose, category, receptacle or handle."""
    return {"nav": STAND, "pick": CATEGORY, "place": RECEPTACLE}.get(skill.verb, HANDLE)[skill.subject]  # type: ignore[index]


_VERB = np.array([_verb(skill) for skill in SKILLS])
_TARGET = np.array([_target(skill) for skill in SKILLS])
_PLACE = np.where(_VERB >= OPEN, len(RECEPTACLE) + _TARGET, np.where(_VERB == PLACE, _TARGET, 0))
"""The place that must be near; of no meaning for nav and pick."""
_BEHIND = {entry.receptacle: HANDLE[entry.id] for entry in HANDLES if entry.receptacle is not None}
_ON = np.zeros(NOWHERE + 1, np.uint32)
"""By where an object is: its bits of what it is on top of and behind."""
_ON[: len(RECEPTACLE)] = [
    mask([number, BEHIND + _BEHIND[id]] if id in _BEHIND else [number]) for id, number in RECEPTACLE.items()
]
_SHUT = np.array(
    [
        mask(RECEPTACLE[it.id] for it in RECEPTACLES if it.handle is not None and not opened >> HANDLE[it.handle] & 1)
        for opened in range(1 << len(HANDLE))
    ],
    np.uint32,
)
"""By which handles are open: mask of the receptacles that are closed."""


class BatchedRules:
    """N worlds of the episodes of a table, their state in arrays."""

    def __init__(self, table: EpisodeTable, num_worlds: int) -> None:
        """Every world must be reset before it is used."""
        self.table = table
        self.number = np.zeros(num_worlds, np.int64)
        """int64[N] the episode that is played."""
        self.layout = np.zeros(num_worlds, np.int64)
        """int64[N] row of `table.layouts`."""
        self.at = np.zeros(num_worlds, np.int64)
        """int64[N] pose; START before the first nav."""
        self.held = np.full(num_worlds, NOBODY)
        """int64[N] number of the held object, or NOBODY."""
        self.opened = np.zeros(num_worlds, np.uint32)
        """uint32[N] mask of the open handles."""
        self.objects = np.zeros((num_worlds, 0), OBJECT)
        """OBJECT[N, M] the objects where they are now; a held one's masks and word are those of where it lay last."""
        self.facts = np.zeros((num_worlds, 1), np.uint32)
        """uint32[N, 1 + M] all that can be true, see `goal_table`."""
        self.key_sums = np.zeros((num_worlds, 2), np.uint64)
        """uint64[N, 2] sums of words of what could be in the picture; zero when the table has no camera."""

    def reset(self, worlds: Sequence[int] | np.ndarray, numbers: Sequence[int] | np.ndarray) -> None:
        """Puts some worlds where their episodes start; UserError when one makes no sense."""
        worlds, numbers, table = np.asarray(worlds, np.int64), np.asarray(numbers, np.int64), self.table
        table.compile(numbers.tolist())
        self._widen(table.objects.shape[1])
        self.number[worlds], self.layout[worlds] = numbers, table.layout[numbers]
        self.at[worlds], self.held[worlds] = START, NOBODY
        self.opened[worlds], self.objects[worlds] = table.opened[numbers], table.objects[numbers]
        self._refresh(worlds)

    def apply(self, actions_N: np.ndarray) -> np.ndarray:
        """Carries out one skill per world where it is valid.

        Returns:
            bool[N] whether it was; an invalid skill changed nothing.

        """
        verb, target = _VERB[actions_N], _TARGET[actions_N]
        valid = self._possible(actions_N[:, None])[:, 0]
        picking = np.flatnonzero((verb == PICK) & (self.held == NOBODY))
        wanted = self._pickable(picking) & (self.objects["category"][picking] == target[picking, None])
        first, found = wanted.argmax(1), wanted.any(1)

        going = np.flatnonzero(verb == NAV)
        self.at[going] = target[going]
        turning = np.flatnonzero((verb >= OPEN) & valid)
        self.opened[turning] ^= _ONE << target[turning].astype(np.uint32)
        placing = np.flatnonzero((verb == PLACE) & valid)
        self._put(placing, target[placing])
        picked = picking[found]
        self.held[picked], valid[picked] = first[found], True
        self.objects["where"][picked, self.held[picked]] = HAND
        self._refresh(np.flatnonzero(valid))
        return valid

    def valid_actions(self) -> np.ndarray:
        """bool[N, 70] which skills are valid now."""
        valid = self._possible(np.arange(len(SKILLS))[None])
        every = np.arange(len(self.held))
        world, thing = np.nonzero(self._pickable(every) & (self.held == NOBODY)[:, None])
        categories = np.zeros((len(every), len(CATEGORY) + 1), bool)
        categories[world, self.objects["category"][world, thing]] = True
        valid[:, _VERB == PICK] = categories[:, _TARGET[_VERB == PICK]]
        return valid

    def hold(self, worlds: np.ndarray, num_goals: int) -> np.ndarray:
        """bool[R, G] whether goal and subgoals of some worlds hold now; see `GoalTable.hold`."""
        return self.table.goals.hold(self.number[worlds], self.facts[worlds], num_goals)

    def shown(self, worlds: np.ndarray) -> np.ndarray:
        """bool[R, M] which objects could be in the picture, the held one left out."""
        return _bit(self.objects["seen"][worlds], self.at[worlds, None]) & ~self._hidden(worlds)

    def doors(self, worlds: np.ndarray) -> np.ndarray:
        """bool[R, handles] which handles are open and could be in the picture."""
        seen = self.opened[worlds] & self.table.layouts.rows["doors"][self.layout[worlds], self.at[worlds]]
        return _bit(seen[:, None], np.arange(len(HANDLE)))

    def _possible(self, actions_NA: np.ndarray) -> np.ndarray:
        """bool[N, A] which of A skills per world are valid now; for picks it does not say."""
        verb, target, opened = _VERB[actions_NA], _TARGET[actions_NA], self.opened[:, None]
        near = _bit(self.facts[:, :1], _PLACE[actions_NA])
        can_place = (self.held != NOBODY)[:, None] & near & ~_bit(_SHUT[opened], np.where(verb == PLACE, target, 0))
        can_turn = near & (_bit(opened, np.where(verb >= OPEN, target, 0)) == (verb == CLOSE))
        return (verb == NAV) | (verb == PLACE) & can_place | (verb >= OPEN) & can_turn

    def _hidden(self, worlds: np.ndarray) -> np.ndarray:
        """bool[R, M] which objects are held, or behind something closed."""
        where = self.objects["where"][worlds]
        return (_ON[where] & _SHUT[self.opened[worlds], None] != 0) | (where >= HAND)

    def _pickable(self, worlds: np.ndarray) -> np.ndarray:
        """bool[R, M] which objects an empty hand could take."""
        return _bit(self.facts[worlds, 1:], REACHED) & ~self._hidden(worlds)

    def _put(self, worlds_K: np.ndarray, receptacles_K: np.ndarray) -> None:
        """Puts what some worlds hold on receptacles: nearest of the roomy spots, else where there is most room."""
        if not len(worlds_K):
            return
        layouts_K, objects, layouts = self.layout[worlds_K], self.objects[worlds_K], self.table.layouts.rows
        num_spots = layouts["num_spots"][layouts_K, receptacles_K].max()
        spots_KS2 = layouts["spot"][layouts_K, receptacles_K, :num_spots]
        here = objects["where"] == receptacles_K[:, None]
        x, y = (np.where(here, objects["place"][..., axis], _FAR_M)[:, None] for axis in (0, 1))
        room = _squared(spots_KS2[:, :, None], x, y).min(2)
        room = np.where(np.isfinite(spots_KS2[..., 0]), np.minimum(room, ROOMY_M**2), -1.0)
        stand = layouts["stand"][layouts_K, :2, self.at[worlds_K]]
        distance = _squared(spots_KS2, stand[:, :1], stand[:, 1:])
        spot_K = np.where(room == room.max(1, keepdims=True), distance, np.inf).argmin(1)
        held_K = self.held[worlds_K]
        things = objects[np.arange(len(worlds_K)), held_K]
        things["where"] = receptacles_K
        things["place"][:, :2] = spots_KS2[np.arange(len(worlds_K)), spot_K]
        things["place"][:, 2] = layouts["height"][layouts_K, receptacles_K]
        things["near"] = layouts["spot_near"][layouts_K, receptacles_K, spot_K]
        things["reach"] = layouts["spot_reach"][layouts_K, receptacles_K, spot_K]
        self.table.see(things, layouts_K)
        self.objects[worlds_K, held_K], self.held[worlds_K] = things, NOBODY

    def _refresh(self, worlds: np.ndarray) -> None:
        """Works out anew what is true in some worlds, and their keys."""
        at, layouts = self.at[worlds], self.table.layouts.rows
        layout, opened = self.layout[worlds], self.opened[worlds]
        near, reach = (_bit(self.objects[name][worlds], at[:, None]) for name in ("near", "reach"))
        facts = np.empty((len(worlds), 1 + near.shape[1]), np.uint32)
        facts[:, 0] = layouts["near"][layout, at] | opened << np.uint32(OPENED) | _ONE << np.uint32(ALWAYS)
        facts[:, 1:] = _ON[self.objects["where"][worlds]]
        facts[:, 1:] |= near * np.uint32(mask([NEAR])) | reach * np.uint32(mask([REACHED]))
        holders = np.flatnonzero(self.held[worlds] != NOBODY)
        held = self.held[worlds[holders]]
        facts[holders, 0] |= _ONE << np.uint32(HOLDING)
        facts[holders, 1 + held] = layouts["under_hand"][layout[holders], at[holders]]
        facts[holders, 1 + held] |= np.uint32(mask([HELD, NEAR, REACHED]))
        self.facts[worlds] = facts
        if self.table.camera is not None:
            sums = layouts["scene"][layout, at]
            sums += _sums(self.shown(worlds), self.objects["word"][worlds])
            sums += _sums(self.doors(worlds), np.broadcast_to(sight.door_words(), (len(worlds), len(HANDLE), 2)))
            sums[holders] += sight.looks().held_L2[self.objects["look"][worlds[holders], held]]
            self.key_sums[worlds] = sums

    def _widen(self, count: int) -> None:
        old = self.objects
        if count > old.shape[1]:
            self.objects = np.zeros((len(old), count), OBJECT)
            self.objects["category"], self.objects["where"] = len(CATEGORY), NOWHERE
            self.objects[:, : old.shape[1]] = old
            self.facts = np.pad(self.facts, ((0, 0), (0, count - old.shape[1])))


def _bit(masks: np.ndarray, numbers: np.ndarray | int) -> np.ndarray:
    """bool[...] whether the bits of these numbers are set."""
    return masks >> np.asarray(numbers, np.uint32) & _ONE != 0


def _sums(chosen: np.ndarray, words: np.ndarray) -> np.ndarray:
    """uint64[R, 2] sums of those of the words, uint64[R, K, 2], that bool[R, K] says, modulo 2**64."""
    return np.einsum("rkw,rk->rw", words, chosen.astype(np.uint64))


def _squared(spots: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared distances, as `rules` computes them."""
    dx, dy = spots[..., 0] - x, spots[..., 1] - y
    return dx * dx + dy * dy
