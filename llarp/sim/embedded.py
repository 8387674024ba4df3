"""The embedded simulator: the rules of the benchmark, seen through MuJoCo's ray casting. Needs no GL library."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from llarp.config import CameraConfig
from llarp.scenes.catalog import FRIDGE_HANDLE, HANDLES
from llarp.sim import sight
from llarp.sim.base import Simulator
from llarp.sim.drawing.house import DOOR_RAD, SLIDE_M
from llarp.sim.drawing.look_table import look_numbers
from llarp.sim.drawing.painter import Placement, painter
from llarp.sim.rules import RuleWorld
from llarp.sim.sight import STAND, Things
from llarp.tasks.episode import Episode
from llarp.tasks.skills import Skill

_HANDLES = [entry.id for entry in HANDLES]


@dataclass(frozen=True)
class View:
    """All that the camera could see now; nothing of it is drawn yet."""

    placements: tuple[Placement, ...]
    """Objects that could be in the picture, sorted."""
    joints: tuple[tuple[str, float], ...]
    """Open doors and drawers that could be in view: handle, and radians or metres."""
    held: tuple[str, int] | None
    """Asset and variant of the held object."""


def open_joints(opened: np.ndarray) -> tuple[tuple[str, float], ...]:
    """Handles of which bool[handles] says that they are open, and how far their joints are: radians or metres."""
    names = (_HANDLES[number] for number in np.flatnonzero(opened))
    return tuple((name, DOOR_RAD if name == FRIDGE_HANDLE else SLIDE_M) for name in names)


class EmbeddedSimulator(RuleWorld, Simulator):
    """RuleWorld with a head camera."""

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
        self._number = {entry.name: number for number, entry in enumerate(episode.objects)}
        self._look = np.array([look_numbers()[entry.asset, entry.variant] for entry in episode.objects], int)
        self._yaws = [sight.yaw(entry.quaternion) for entry in episode.objects]
        self._words = np.zeros((len(self._look), 2), np.uint64)
        self._in_picture = np.zeros((len(self._look), len(STAND)), bool)
        self._notice(self._number)

    def apply(self, skill: Skill) -> bool:
        """Carries the skill out if it is valid; returns whether it was."""
        held = self.held
        valid = super().apply(skill)
        if valid:
            self._view = None
            if held is not None and self.held is None:
                self._notice([held])
        return valid

    def view_key(self) -> bytes:
        """16-byte digest of the view: two equal keys mean two equal images."""
        camera, layout, stand = self.painter.camera, self.layout.name, STAND[self.at]
        key = sight.scene_words(camera.config, layout)[stand] + self._words[self._shown()].sum(0)
        key += sight.door_words()[self._doors()].sum(0)
        if self.held is not None:
            key += sight.looks().held_L2[self._look[self._number[self.held]]]
        return key.tobytes()

    def view(self) -> View:
        """What the camera could see now."""
        if self._view is None:
            names = list(self._number)
            held = None if self.held is None else self.objects[self.held]
            self._view = View(
                tuple(sorted(self._placement(names[number]) for number in np.flatnonzero(self._shown()))),
                open_joints(self._doors()),
                None if held is None else (held.asset, held.variant),
            )
        return self._view

    def render(self) -> np.ndarray:
        """uint8[H, W, 3] image of the head camera now."""
        view = self.view()
        return self.painter.draw(self.layout, self.pose, view.joints, view.placements, view.held)

    def _notice(self, names: Collection[str]) -> None:
        """Works out what some objects contribute to views from where they lie now."""
        placements = [self._placement(name) for name in names]
        numbers = [self._number[name] for name in names]
        things = Things(self._look[numbers], np.array([it[2:] for it in placements]).reshape(-1, 4))
        self._words[numbers] = sight.object_words(things)
        self._in_picture[numbers] = sight.in_picture(self.painter.camera, sight.stands(self.layout.name), things)

    def _shown(self) -> np.ndarray:
        """bool[objects] which could be in the picture."""
        out = [name == self.held or self.enclosed(name) for name in self._number]
        return self._in_picture[:, STAND[self.at]] & ~np.array(out, bool)

    def _doors(self) -> np.ndarray:
        """bool[handles] which are open and could be in the picture."""
        opened = np.array([handle in self.opened for handle in _HANDLES])
        return opened & sight.doors_in_picture(self.painter.camera, self.layout.name)[:, STAND[self.at]]

    def _placement(self, name: str) -> Placement:
        """Where an object is drawn: upright, its base on the surface that it lies on."""
        entry, (x, y, _) = self.objects[name], self.positions[name]
        height = self.layout.surfaces[self.where[name]].center[2]
        return Placement(entry.asset, entry.variant, x, y, height, self._yaws[self._number[name]])
