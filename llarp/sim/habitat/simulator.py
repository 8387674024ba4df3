"""habitat-sim as a simulator: the rules are ours (`llarp.sim.rules`), standing points and pictures are its own.

Deviation from the embedded simulator: view keys cover everything in the apartment that is not shut away, in the picture
or not, because how far a mesh reaches is habitat-sim's to know. Fewer views are then alike, none wrongly.
"""

import hashlib
from dataclasses import replace

import numpy as np

from llarp.config import CameraConfig, SimulatorConfig
from llarp.scenes.layout import Layout, Pose
from llarp.sim.base import Simulator
from llarp.sim.drawing.painter import Placement
from llarp.sim.habitat.apartment import Apartment, Look, apartment
from llarp.sim.rules import Geometry, RuleWorld, measure
from llarp.sim.sight import yaw
from llarp.tasks.episode import Episode

VERSION = 1
"""Part of every view key: raise it whenever any picture changes."""


class HabitatSimulator(RuleWorld, Simulator):
    """RuleWorld whose robot stands on the nav mesh and sees through habitat-sim."""

    def __init__(self, camera: CameraConfig, config: SimulatorConfig) -> None:
        """Args:
        camera: the head camera.
        config: the scene data set.

        Raises:
            UserError: habitat-sim or a path is missing.

        """
        self.apartment: Apartment = apartment(camera, config)
        self._geometries: dict[str, Geometry] = {}

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, 3)."""
        return self.apartment.camera.height, self.apartment.camera.width, 3

    def reset(self, episode: Episode) -> None:
        """Puts everything where the episode says; UserError when the layout or its scene is unknown."""
        super().reset(episode)
        name = episode.layout
        if name not in self._geometries:
            self._geometries[name] = self._measure(self.geometry)
        self.geometry = self._geometries[name]
        self.layout, self.pose = self.geometry.layout, self.geometry.start

    def view_key(self) -> bytes:
        """16-byte digest of all that is not shut away: two equal keys mean two equal pictures."""
        stage = self.apartment
        seen = (VERSION, stage.identity, stage.camera.config, self.layout.name, self.pose, sorted(self.opened))
        content = repr((seen, sorted(self._things()), self._held()))
        return hashlib.blake2b(content.encode(), digest_size=16).digest()

    def render(self) -> np.ndarray:
        """uint8[H, W, 3] picture of the head camera now."""
        return self.apartment.draw(self.layout.name, self.pose, self.opened, sorted(self._things()), self._held())

    def _things(self) -> list[Placement]:
        """The objects that lie about and are not shut away."""
        found = []
        for name, entry in self.objects.items():
            if name != self.held and not self.enclosed(name):
                x, y, _ = self.positions[name]
                height = self.layout.surfaces[self.where[name]].center[2]
                found.append(Placement(entry.asset, entry.variant, x, y, height, yaw(entry.quaternion)))
        return found

    def _held(self) -> Look | None:
        if self.held is None:
            return None
        entry = self.objects[self.held]
        return entry.asset, entry.variant

    def _measure(self, geometry: Geometry) -> Geometry:
        """The same layout with every standing point on the nav mesh."""
        here, stage = geometry.layout, self.apartment
        stage.enter(here.name)
        standing = {target: stage.snapped(pose, _point(here, target)) for target, pose in here.standing.items()}
        first: Pose = stage.snapped(geometry.start, None)
        return measure(replace(here, standing=standing), first)


def _point(here: Layout, target: str) -> tuple[float, float]:
    """Where a navigation target is on the floor."""
    x, y, _ = here.surfaces[target].center if target in here.surfaces else here.handles[target]
    return x, y
