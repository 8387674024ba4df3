"""Drawing of views: furniture, objects and what the hand holds, put before the camera, cast and shaded at once.

Nothing that was drawn is kept: MuJoCo's compiled models say which primitives there are and where they stand, and
compiled code (`raycast`, `shading`) draws them anew for every view.
"""

import math
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

import mujoco
import numpy as np

from llarp.config import CameraConfig
from llarp.scenes.layout import Layout, Pose
from llarp.sim.drawing.bodies import Body, form_body, new_spec
from llarp.sim.drawing.camera import Camera, turn
from llarp.sim.drawing.house import build
from llarp.sim.drawing.look_table import look_numbers, look_table
from llarp.sim.drawing.looks import look
from llarp.sim.drawing.raycast import FAR_M, NOTHING, Solids, compiled, first_hits
from llarp.sim.drawing.shading import LIGHT, shade

VERSION = 3
"""Part of every view key: raise it whenever any image changes."""
HAND_AT = np.array([0.0, 0.27, 0.46])
"""The held object's middle in the camera's frame, metres: below the view axis, and along it."""
HAND_TURN, HAND_LEAN = math.radians(-25), math.radians(8)
"""How far it is turned about its own axis, and leans towards the camera so that its top shows."""
HAND_AXES = np.array([
    [1.0, 0.0, 0.0],
    [0.0, -math.sin(HAND_LEAN), -math.cos(HAND_LEAN)],
    [0.0, math.cos(HAND_LEAN), -math.sin(HAND_LEAN)],
]) @ turn(HAND_TURN)  # fmt: skip
"""[3, 3] columns are its axes in the camera's frame."""
_HOUSES = 256
"""Compiled houses kept, 0.8 MB each."""


class Placement(NamedTuple):
    """One object that could be seen."""

    asset: str
    variant: int
    x: float
    y: float
    z: float
    """Height of its base."""
    yaw: float


class Hits(NamedTuple):
    """What the rays of one view met first."""

    solids: Solids
    """All primitives, in the camera's frame: the furniture's, then the objects' in order, then those in the hand."""
    albedo: np.ndarray
    """float64[G, 3] their RGB in [0, 1]."""
    first_held: int
    """Number of the first in the hand; their count when there is none."""
    depth: np.ndarray
    """float32[H, W] metres along the view axis: FAR_M where a ray met nothing, negative for what the hand holds."""
    face: np.ndarray
    """int32[H, W] 4 * number of the primitive + axis of the normal, see `raycast`; NOTHING where a ray met none."""

    @property
    def covered(self) -> np.ndarray:
        """bool[H, W] where a ray met something."""
        return self.face != NOTHING


class House(NamedTuple):
    """The furniture of a layout."""

    body: Body
    albedo: np.ndarray
    """float64[G, 3] RGB in [0, 1] of its primitives."""


class Painter:
    """Draws for one camera. Houses are compiled once; nothing that was drawn is kept."""

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        self._houses: dict[str, House] = {}
        self._held_light = camera.axes @ LIGHT

    def draw(
        self,
        layout: Layout | None,
        pose: Pose,
        joints: Iterable[tuple[str, float]] = (),
        placements: Sequence[Placement] = (),
        held: tuple[str, int] | None = None,
    ) -> np.ndarray:
        """One image.

        Args:
            layout: the furniture; None for none.
            pose: where the robot stands.
            joints: what stands open and how far (radians or metres), by handle.
            placements: the objects that could be seen.
            held: asset and variant of what the hand holds.

        Returns:
            uint8[H, W, 3].

        """
        hits = self.cast(layout, pose, joints, placements, held)
        image = np.empty((self.camera.height, self.camera.width, 3), np.uint8)
        light = self.camera.view(pose) @ LIGHT
        shade(*hits[:3], light, self._held_light, self.camera.focal, hits.depth, hits.face, image)
        return image

    def cast(
        self,
        layout: Layout | None,
        pose: Pose,
        joints: Iterable[tuple[str, float]] = (),
        placements: Sequence[Placement] = (),
        held: tuple[str, int] | None = None,
    ) -> Hits:
        """What `draw` paints."""
        house = _no_house() if layout is None else self._house(layout)
        house.body.move(dict(joints))
        table, numbers = look_table(), look_numbers()
        looks = [numbers[placement[:2]] for placement in placements]
        if held is not None:
            looks.append(numbers[held])
        places = np.array([placement[2:] for placement in placements]).reshape(-1, 4)
        solids, albedo = _gather(
            house.body.solids, house.albedo, self.camera.view(pose), self.camera.eye_at(pose),
            table, np.array(looks, np.int64), places, HAND_AXES, HAND_AT,
        )  # fmt: skip
        count, focal = len(albedo), self.camera.focal
        first_held = count if held is None else count - (table.end[looks[-1]] - table.first[looks[-1]])
        shape = self.camera.height, self.camera.width
        depth, face = np.full(shape, FAR_M, np.float32), np.full(shape, NOTHING, np.int32)
        if held is not None:
            first_hits(solids, first_held, count, focal, depth, face)
            depth[face != NOTHING] *= -1  # nothing is nearer than that
        first_hits(solids, 0, first_held, focal, depth, face)
        return Hits(solids, albedo, first_held, depth, face)

    def _house(self, layout: Layout) -> House:
        if layout.name not in self._houses:
            if len(self._houses) == _HOUSES:
                self._houses.pop(next(iter(self._houses)))  # the oldest
            self._houses[layout.name] = _house(build(layout))
        return self._houses[layout.name]


def _house(spec: mujoco.MjSpec) -> House:
    body = Body(spec)
    return House(body, body.model.geom_rgba[:, :3].astype(np.float64))


@cache
def _no_house() -> House:
    return _house(new_spec())


@cache
def painter(config: CameraConfig) -> Painter:
    """The painter of a camera, one per process: its simulators share the compiled houses."""
    return Painter(Camera(config))


def corners(placement: Placement) -> np.ndarray:
    """float64[8, 3] corners, in the world, of a box around an object."""
    seen = look(placement.asset, placement.variant)
    return seen.scale * form_body(seen.form).corners @ turn(placement.yaw).T + placement[2:5]


@compiled
def _gather(house, house_albedo, view, eye, table, looks, places_N4, hand_axes, hand_at):
    """All primitives in the camera's frame, and their colours: the furniture's, then the objects' in order.

    Args:
        house: furniture in the world.
        house_albedo: its colours.
        view: float64[3, 3] the world's frame to the camera's.
        eye: float64[3] the camera's place in the world.
        table: of all looks.
        looks: int64[N or N + 1] those of the objects, then that of what the hand holds.
        places_N4: x, y, z and yaw of the objects in the world.
        hand_axes: float64[3, 3] columns are the axes of what the hand holds, in the camera's frame.
        hand_at: float64[3] its middle in the camera's frame.

    """
    num_house = total = len(house.kind)
    for look_number in looks:
        total += table.end[look_number] - table.first[look_number]
    solids = Solids(np.empty(total, np.int32), np.empty((total, 3)), np.empty((total, 3)), np.empty((total, 3, 3)))
    albedo, axes, at = np.empty((total, 3)), np.empty((3, 3)), np.empty(3)
    for i in range(3):
        at[i] = -(view[i, 0] * eye[0] + view[i, 1] * eye[1] + view[i, 2] * eye[2])
    _put(_part(solids, 0, num_house), house, 1.0, view, at)
    _paint(albedo, house_albedo, np.arange(num_house))
    begin = num_house
    for number in range(len(looks)):
        look_number = looks[number]
        if number < len(places_N4):
            x, y, z, yaw = places_N4[number]
            x, y, z, cos, sin = x - eye[0], y - eye[1], z - eye[2], np.cos(yaw), np.sin(yaw)
            for i in range(3):
                axes[i, 0], axes[i, 1] = cos * view[i, 0] + sin * view[i, 1], cos * view[i, 1] - sin * view[i, 0]
                axes[i, 2] = view[i, 2]
                at[i] = view[i, 0] * x + view[i, 1] * y + view[i, 2] * z
        else:
            x, y, z = table.middle[look_number]
            for i in range(3):
                for j in range(3):
                    axes[i, j] = hand_axes[i, j]
                at[i] = hand_at[i] - (axes[i, 0] * x + axes[i, 1] * y + axes[i, 2] * z)
        first, last = table.first[look_number], table.end[look_number]
        end = begin + last - first
        _put(_part(solids, begin, end), _part(table.parts, first, last), table.scale[look_number], axes, at)
        _paint(albedo[begin:end], table.colours[look_number], table.paint[first:last])
        begin = end
    return solids, albedo


@compiled
def _part(solids, begin, end):
    """Solids [begin, end)."""
    return Solids(solids.kind[begin:end], solids.size[begin:end], solids.at[begin:end], solids.axes[begin:end])


@compiled
def _put(into, parts, scale, axes, at):
    """Writes the parts of a body enlarged by `scale`, whose axes are `axes`' columns and whose origin is `at`."""
    for part in range(len(parts.kind)):
        into.kind[part] = parts.kind[part]
        for i in range(3):
            into.size[part, i] = scale * parts.size[part, i]
            into.at[part, i] = at[i]
            for k in range(3):
                into.at[part, i] += scale * axes[i, k] * parts.at[part, k]
            for j in range(3):
                into.axes[part, i, j] = 0.0
                for k in range(3):
                    into.axes[part, i, j] += axes[i, k] * parts.axes[part, k, j]


@compiled
def _paint(into, colours, paint):
    """Writes the colour of each part."""
    for part in range(len(paint)):
        for i in range(3):
            into[part, i] = colours[paint[part], i]
