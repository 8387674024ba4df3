"""Episodes as rows of arrays, compiled when they are first played, so that a reset only copies rows.

A compiled episode takes some 2.5 KB; memory for one that is never played is never touched.
"""

from collections.abc import Sequence

import numpy as np

from llarp.scenes.catalog import CATEGORIES
from llarp.sim import sight
from llarp.sim.batched.goal_table import GoalTable
from llarp.sim.batched.layout_table import HANDLE, RECEPTACLE, LayoutTable, mask, near_and_reach, pack
from llarp.sim.drawing.camera import Camera
from llarp.sim.drawing.look_table import look_numbers
from llarp.sim.rules import opened_at_start
from llarp.sim.sight import Things
from llarp.tasks.episode import Episode

CATEGORY: dict[str, int] = {entry.id: number for number, entry in enumerate(CATEGORIES)}
HAND = len(RECEPTACLE)
"""Where an object is that the robot holds."""
NOWHERE = HAND + 1
"""Where an object is that an episode does not have."""

OBJECT = np.dtype(
    [
        ("category", "u1"),  # len(CATEGORY) for an object that an episode does not have
        ("where", "u1"),  # receptacle, HAND or NOWHERE
        ("look", "u2"),  # see `look_table.look_numbers`
        ("near", "u4"),  # mask of poses from which `robot_at` holds
        ("reach", "u4"),  # mask of poses from which `robot_at_obj` holds
        ("seen", "u4"),  # mask of poses from which it is in the picture
        ("place", "f8", 4),  # metres x, y and height; yaw in radians
        ("word", "u8", 2),  # its part of a view's key
    ]
)


class EpisodeTable:
    """Start states and goals of episodes, by their number in the sequence."""

    def __init__(self, episodes: Sequence[Episode], camera: Camera | None = None) -> None:
        """Args:
        episodes: read one by one when they are first played.
        camera: whose pictures have keys; None: views are of no interest.
        """
        self.episodes, self.camera = episodes, camera
        self.layouts, self.goals = LayoutTable(camera), GoalTable(len(episodes))
        self.layout = np.zeros(len(episodes), np.int64)
        """int64[E] row of `layouts`."""
        self.opened = np.zeros(len(episodes), np.uint32)
        """uint32[E] mask of the handles that stand open at the start."""
        self.objects = np.zeros((len(episodes), 0), OBJECT)
        """OBJECT[E, M]; M grows to the most objects of an episode."""
        self.texts: dict[int, tuple[str, str, str]] = {}
        """(episode_id, family, instruction) of the episodes compiled so far."""

    def compile(self, numbers: Sequence[int]) -> None:
        """Makes sure of some episodes; UserError when one's layout, start or goal makes no sense."""
        new = [number for number in dict.fromkeys(numbers) if not self.goals.num_goals[number]]
        if not new:
            return
        episodes = [self.episodes[number] for number in new]
        self._widen(max(len(episode.objects) for episode in episodes))
        layouts = [self.layouts.number(episode.layout) for episode in episodes]
        self.layout[new] = layouts
        self.opened[new] = [mask(HANDLE[handle] for handle in opened_at_start(episode)) for episode in episodes]
        counts = np.array([len(episode.objects) for episode in episodes])
        rows = np.zeros((len(new), self.objects.shape[1]), OBJECT)
        rows["category"], rows["where"] = len(CATEGORY), NOWHERE
        rows[np.arange(rows.shape[1]) < counts[:, None]] = self._objects(episodes, np.repeat(layouts, counts))
        self.objects[new] = rows
        for number, episode in zip(new, episodes, strict=True):
            self.goals.compile(number, episode)
            self.texts[number] = episode.episode_id, episode.family, episode.instruction

    def _objects(self, episodes: Sequence[Episode], layouts_K: np.ndarray) -> np.ndarray:
        """OBJECT[K] all objects of some episodes, one after the other, given the layout of each."""
        entries = [entry for episode in episodes for entry in episode.objects]
        rows = np.zeros(len(entries), OBJECT)
        rows["category"] = [CATEGORY[entry.category] for entry in entries]
        rows["where"] = [RECEPTACLE[entry.receptacle] for entry in entries]
        rows["look"] = [look_numbers()[entry.asset, entry.variant] for entry in entries]
        rows["place"][:, :2] = np.array([entry.position[:2] for entry in entries]).reshape(-1, 2)
        rows["place"][:, 2] = self.layouts.rows["height"][layouts_K, rows["where"]]
        rows["place"][:, 3] = [sight.yaw(entry.quaternion) for entry in entries]
        names, stands = [self.layouts.names[number] for number in layouts_K], self.layouts.stands(layouts_K)
        rows["near"], rows["reach"] = near_and_reach(names, stands, rows["place"][:, 0], rows["place"][:, 1])
        self.see(rows, layouts_K)
        return rows

    def see(self, objects_K: np.ndarray, layouts_K: np.ndarray) -> None:
        """Fills in what objects are to the camera where they lie now, if there is one."""
        if self.camera is not None:
            things = Things(objects_K["look"], objects_K["place"])
            objects_K["word"] = sight.object_words(things)
            objects_K["seen"] = pack(sight.in_picture(self.camera, self.layouts.stands(layouts_K), things))

    def _widen(self, count: int) -> None:
        old = self.objects
        if count > old.shape[1]:
            self.objects = np.zeros((len(old), count), OBJECT)
            done = np.flatnonzero(self.goals.num_goals)
            self.objects["category"][done], self.objects["where"][done] = len(CATEGORY), NOWHERE
            self.objects[done, : old.shape[1]] = old[done]
