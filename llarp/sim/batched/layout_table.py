"""Layouts as rows of one array: what the rules ask of a layout, by its number.

Places are numbered as `NAV_TARGETS` are: receptacles first, then handles. Bit k of a mask stands for place k, pose k or
handle k. Shapes: P poses (see `sight`), R receptacles, S spots.
"""

from collections.abc import Iterable

import numpy as np

from llarp.scenes.catalog import HANDLES, RECEPTACLES
from llarp.scenes.reach import REACH_M, REACH_RAD, ROBOT_AT_M, ROBOT_AT_RAD, within
from llarp.sim import sight
from llarp.sim.drawing.camera import Camera
from llarp.sim.rules import geometry
from llarp.sim.sight import STAND, START, Stands

RECEPTACLE: dict[str, int] = {entry.id: number for number, entry in enumerate(RECEPTACLES)}
HANDLE: dict[str, int] = {entry.id: number for number, entry in enumerate(HANDLES)}
NUM_POSES = START + 1
MAX_SPOTS = 256
"""S: more spots, 0.1 m apart, are not within 1.5 m and 1 rad of a standing point."""
_CLOSE = 1e-9
"""Metres or radians from a threshold within which numbers are compared as the rules compare them."""

LAYOUT = np.dtype(
    [
        ("stand", "f8", (4, NUM_POSES)),  # x, y, cosine and sine of the heading
        ("near", "u4", NUM_POSES),  # places that `robot_at` holds for
        ("under_hand", "u4", NUM_POSES),  # receptacles that a held object counts as on top of
        ("height", "f8", len(RECEPTACLES)),  # metres
        ("num_spots", "u2", len(RECEPTACLES)),  # where an object can be put
        ("spot", "f8", (len(RECEPTACLES), MAX_SPOTS, 2)),  # metres; infinity where there is none
        ("spot_near", "u4", (len(RECEPTACLES), MAX_SPOTS)),  # poses from which `robot_at` holds for an object there
        ("spot_reach", "u4", (len(RECEPTACLES), MAX_SPOTS)),  # poses from which `robot_at_obj` does
        ("scene", "u8", (NUM_POSES, 2)),  # see `sight.scene_words`
        ("doors", "u4", NUM_POSES),  # handles that are in the picture once they are open
    ]
)


class LayoutTable:
    """Rows of the layouts asked for so far."""

    def __init__(self, camera: Camera | None) -> None:
        """Args:
        camera: whose pictures have keys; None: `scene` and `doors` stay zero.
        """
        self.camera = camera
        self.names: list[str] = []
        self.rows = np.zeros(0, LAYOUT)
        self._number: dict[str, int] = {}

    def number(self, name: str) -> int:
        """The row of a layout; UserError when it is unknown."""
        if name not in self._number:
            row = self._row(name)
            count = len(self.names)
            if count == len(self.rows):
                self.rows = np.concatenate([self.rows, np.zeros(max(16, count), LAYOUT)])
            self.rows[count] = row
            self.names.append(name)
            self._number[name] = count
        return self._number[name]

    def stands(self, numbers_K: np.ndarray) -> Stands:
        """[K, P] poses of a layout for each of K objects."""
        return Stands(*self.rows["stand"][numbers_K].transpose(1, 0, 2))

    def _row(self, name: str) -> np.ndarray:
        here, row = geometry(name), np.zeros((), LAYOUT)
        row["stand"] = sight.stands(name)
        for target, stand in STAND.items():
            row["near"][stand] = mask(STAND[id] for id in here.near[target])
            row["under_hand"][stand] = mask(RECEPTACLE[id] for id in here.under_hand[target])
        row["spot"] = np.inf
        for id, number in RECEPTACLE.items():
            spots = np.array(here.spots[id]).reshape(-1, 2)
            near, reach = near_and_reach([name] * len(spots), sight.stands(name), *spots.T)
            row["height"][number] = here.layout.surfaces[id].center[2]
            row["num_spots"][number], row["spot"][number, : len(spots)] = len(spots), spots
            row["spot_near"][number, : len(spots)], row["spot_reach"][number, : len(spots)] = near, reach
        if self.camera is not None:
            row["scene"] = sight.scene_words(self.camera.config, name)
            row["doors"] = pack(sight.doors_in_picture(self.camera, name).T)
        return row


def mask(numbers: Iterable[int]) -> int:
    """The number with these bits set."""
    return sum(1 << number for number in set(numbers))


def pack(bits: np.ndarray) -> np.ndarray:
    """uint32[...] from bool[..., up to 32], the first as the lowest bit."""
    return (bits.astype(np.uint32) << np.arange(bits.shape[-1], dtype=np.uint32)).sum(-1, dtype=np.uint32)


def near_and_reach(names: list[str], stands: Stands, x_K: np.ndarray, y_K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(uint32[K], uint32[K]) poses from which `robot_at` and `robot_at_obj` hold for objects at points.

    Exactly as `rules.within` decides: what is very close to a threshold is left to it.

    Args:
        names: layout of each object.
        stands: [K, P] its poses.
        x_K: metres.
        y_K: metres.

    """
    dx, dy = x_K[:, None] - stands.x, y_K[:, None] - stands.y
    ahead, left = dx * stands.cos + dy * stands.sin, dy * stands.cos - dx * stands.sin
    distance, bearing = np.hypot(dx, dy), np.abs(np.arctan2(left, ahead))
    near = (distance <= ROBOT_AT_M) & (bearing <= ROBOT_AT_RAD)
    reach = (distance <= REACH_M) & (bearing <= REACH_RAD)
    close = (np.abs(distance - ROBOT_AT_M) < _CLOSE) | (np.abs(distance - REACH_M) < _CLOSE)
    close |= (np.abs(bearing - ROBOT_AT_RAD) < _CLOSE) | (np.abs(bearing - REACH_RAD) < _CLOSE)
    for thing, stand in zip(*np.nonzero(close), strict=True):
        pose, at = sight.poses_of(names[thing])[stand], (x_K[thing], y_K[thing])
        near[thing, stand] = within(pose, *at, ROBOT_AT_M, ROBOT_AT_RAD)
        reach[thing, stand] = within(pose, *at, REACH_M, REACH_RAD)
    return pack(near), pack(reach)
