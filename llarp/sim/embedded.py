"""The embedded simulator: the rules of the benchmark, seen through MuJoCo's ray casting. Needs no GL library."""

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from llarp.config import CameraConfig
from llarp.scenes.layouts import layout
from llarp.sim.base import Simulator
from llarp.sim.drawing import VERSION, Placement, corners, painter
from llarp.sim.house import DOOR_RAD, FRIDGE, SLIDE_M
from llarp.sim.rules import RuleWorld
from llarp.tasks.episode import Episode
from llarp.tasks.skills import Skill


@dataclass(frozen=True)
class View:
    """All that the camera could see now; nothing of it is drawn yet."""

    placements: tuple[Placement, ...]
    """Objects whose pixel box is not empty, sorted."""
    boxes: np.ndarray
    """int64[N, 4] their pixel boxes, see `Camera.pixel_boxes`."""
    joints: tuple[tuple[str, float], ...]
    """Open doors and drawers that could be in view: handle, and radians or metres."""
    held: tuple[str, int] | None
    """Asset and variant of the held object."""


class EmbeddedSimulator(RuleWorld, Simulator):
    """RuleWorld with a head camera. Simulators of one process share what they have drawn."""

    def __init__(self, camera: CameraConfig) -> None:
        """Args:
        camera: size, field of view, tilt and elevation of the head camera.
        """
        self.painter = painter(camera)
        self._view: View | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, 3)."""
        return self.painter.camera.height, self.painter.camera.width, 3

    def reset(self, episode: Episode) -> None:
        """Puts everything where the episode says; UserError when the layout is unknown."""
        super().reset(episode)
        self._view = None
        self._furniture = _furniture(self.layout.name)
        self._yaws = {entry.name: _yaw(entry.quaternion) for entry in episode.objects}

    def apply(self, skill: Skill) -> bool:
        """Carries the skill out if it is valid; returns whether it was."""
        valid = super().apply(skill)
        if valid:
            self._view = None
        return valid

    def view(self) -> View:
        """What the camera could see now."""
        if self._view is None:
            self._view = self._look()
        return self._view

    def view_key(self) -> bytes:
        """16-byte digest of the view: two equal keys mean two equal images."""
        view = self.view()
        content = (
            VERSION, self.painter.camera.config, self._furniture, self.pose, view.placements, view.joints, view.held
        )  # fmt: skip
        return _digest(content)

    def render(self) -> np.ndarray:
        """uint8[H, W, 3] image of the head camera now."""
        view = self.view()
        return self.painter.draw(self.layout, self.pose, view.joints, view.placements, view.boxes, view.held)

    def _look(self) -> View:
        camera, pose = self.painter.camera, self.pose
        placements = sorted(
            self._placement(name) for name in self.objects if name != self.held and not self.enclosed(name)
        )
        if placements:
            boxes = camera.pixel_boxes(np.stack([corners(placement) for placement in placements]), pose)
            seen = np.flatnonzero((boxes[:, 0] < boxes[:, 1]) & (boxes[:, 2] < boxes[:, 3]))
        else:
            boxes, seen = np.zeros((0, 4), np.int64), np.zeros(0, np.int64)
        handles = sorted(self.opened)
        joints: tuple[tuple[str, float], ...] = ()
        if handles:
            around = camera.pixel_boxes(
                np.stack([_around(handle, self.layout.handles[handle]) for handle in handles]), pose
            )
            joints = tuple(
                (handle, DOOR_RAD if handle == FRIDGE else SLIDE_M)
                for handle, (top, bottom, left, right) in zip(handles, around, strict=True)
                if top < bottom and left < right
            )
        held = None
        if self.held is not None:
            held = (self.objects[self.held].asset, self.objects[self.held].variant)
        return View(tuple(placements[index] for index in seen), boxes[seen], joints, held)

    def _placement(self, name: str) -> Placement:
        """Where an object is drawn: upright, its base on the surface that it lies on."""
        entry, (x, y, _) = self.objects[name], self.positions[name]
        height = self.layout.surfaces[self.where[name]].center[2]
        return Placement(entry.asset, entry.variant, x, y, height, self._yaws[name])


def _yaw(quaternion: tuple[float, float, float, float]) -> float:
    w, x, y, z = quaternion
    return math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def _around(handle: str, point: tuple[float, float, float]) -> np.ndarray:
    """float64[8, 3] corners of a box that holds whatever opening this handle can change."""
    x, y, z = point
    reach, low, high = (1.0, 0.0, 2.0) if handle == FRIDGE else (0.7, z - 0.4, z + 0.4)
    return np.array([(x + i * reach, y + j * reach, k) for i in (-1, 1) for j in (-1, 1) for k in (low, high)])


def _digest(content: object) -> bytes:
    return hashlib.blake2b(repr(content).encode(), digest_size=16).digest()


@lru_cache(maxsize=4096)
def _furniture(name: str) -> bytes:
    """Digest of where the furniture of a layout stands."""
    return _digest(layout(name))
