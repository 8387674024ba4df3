"""Drawing of views: a backdrop that never moves, the objects cast in their pixel boxes, and what the hand holds.

The furniture is cast in full once per (layout, standing pose, open doors and drawers). Every object is cast in its
own frame, at most once per place it lies at and pose it is seen from, and only at the pixels its box can cover; depth
decides what is in front. The result equals an image cast in full, at a small share of the rays.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import NamedTuple, TypeVar

import numpy as np

from llarp.config import CameraConfig
from llarp.scenes.layout import Layout, Pose
from llarp.sim.bodies import Body, form_body
from llarp.sim.camera import LIGHT, Camera, shade, turn
from llarp.sim.house import build
from llarp.sim.looks import look

VERSION = 1
"""Part of every view key: raise it whenever any image changes."""
SKY = (214, 226, 236)
HAND_M, HAND_DOWN = 0.46, 0.27
"""The held object's middle: metres along the view axis, and below it in the image."""
HAND_TURN, HAND_LEAN = math.radians(-25), math.radians(8)
"""How far it is turned about its own axis, and leans towards the camera so that its top shows."""
_BACKDROPS, _LAYERS = 1024, 4096

T = TypeVar("T")


class Placement(NamedTuple):
    """One object that could be seen."""

    asset: str
    variant: int
    x: float
    y: float
    z: float
    """Height of its base."""
    yaw: float


@dataclass(frozen=True)
class Layer:
    """The pixels that one body covers from one pose, were nothing else there."""

    pixels: np.ndarray
    """int64[K] pixel numbers."""
    distance: np.ndarray
    """float32[K] metres."""
    colours: np.ndarray
    """uint8[K, 3]"""


class Recent(OrderedDict[Hashable, T]):
    """The most recently used results, at most `limit` of them."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def find(self, key: Hashable, make: Callable[[], T]) -> T:
        """The result for a key, made if it is not here."""
        if key in self:
            self.move_to_end(key)
        else:
            self[key] = make()
            if len(self) > self.limit:
                self.popitem(last=False)
        return self[key]


@lru_cache(maxsize=8192)
def corners(placement: Placement) -> np.ndarray:
    """float64[8, 3] corners, in the world, of a box around an object."""
    seen = look(placement.asset, placement.variant)
    return seen.scale * form_body(seen.form).corners @ turn(placement.yaw).T + placement[2:5]


@dataclass
class Painter:
    """Draws for one camera; keeps what it drew."""

    camera: Camera
    num_rays: int = 0
    """Rays cast so far."""
    _backdrops: Recent[Layer] = field(default_factory=lambda: Recent(_BACKDROPS))
    _layers: Recent[Layer] = field(default_factory=lambda: Recent(_LAYERS))
    _houses: Recent[Body] = field(default_factory=lambda: Recent(256))

    def draw(
        self,
        layout: Layout,
        pose: Pose,
        joints: tuple[tuple[str, float], ...],
        placements: Sequence[Placement],
        boxes: np.ndarray,
        held: tuple[str, int] | None,
    ) -> np.ndarray:
        """One image.

        Args:
            layout: the furniture.
            pose: where the robot stands.
            joints: what stands open and how far, by handle.
            placements: N objects that could be seen.
            boxes: int64[N, 4] the pixels they can cover, see `Camera.pixel_boxes`.
            held: asset and variant of what the hand holds.

        Returns:
            uint8[H, W, 3].

        """
        backdrop = self._backdrops.find((layout.name, pose, joints), lambda: self._backdrop(layout, pose, joints))
        image = backdrop.colours.copy()
        layers = [
            self._layers.find((pose, placement), lambda: self.layer(placement, box, pose))  # noqa: B023
            for placement, box in zip(placements, boxes, strict=True)
        ]
        if layers:
            pixels = np.concatenate([layer.pixels for layer in layers])
            distance = np.concatenate([layer.distance for layer in layers])
            colours = np.concatenate([layer.colours for layer in layers])
            front = np.flatnonzero(distance < backdrop.distance[pixels])
            front = front[np.argsort(-distance[front], kind="stable")]  # the nearest is written last
            image[pixels[front]] = colours[front]
        if held is not None:
            hand = in_hand(self.camera.config, *held)
            image[hand.pixels] = hand.colours
        return image.reshape(self.camera.height, self.camera.width, 3)

    def _backdrop(self, layout: Layout, pose: Pose, joints: tuple[tuple[str, float], ...]) -> Layer:
        """Every pixel of the furniture."""
        house = self._houses.find(layout.name, lambda: Body(build(layout)))
        house.move(dict(joints))
        eye, rays = (
            self.camera.eye_at(pose),
            np.ascontiguousarray(self.camera.rays.reshape(-1, 3) @ turn(pose.heading).T),
        )
        hits = house.cast(eye, rays)
        self.num_rays += len(rays)
        met = np.flatnonzero(hits.geom >= 0)
        geom, distance, met_rays = hits.geom[met], hits.distance[met], rays[met]
        albedo = house.model.geom_rgba[geom, :3]
        on_floor = geom == house.model.geom("floor").id
        albedo[on_floor] *= planks(eye[:2] + distance[on_floor, None] * met_rays[on_floor, :2])[:, None]
        colours = np.full((len(rays), 3), SKY, np.uint8)
        colours[met] = shade(albedo, hits.normal[met], met_rays, distance, LIGHT)
        depth = np.full(len(rays), np.inf, np.float32)
        depth[met] = distance
        return Layer(np.arange(len(rays)), depth, colours)

    def layer(self, placement: Placement, box: np.ndarray, pose: Pose) -> Layer:
        """The pixels of its box (see `Camera.pixel_boxes`) that an object covers from a pose."""
        top, bottom, left, right = box
        rotation = turn(placement.yaw - pose.heading)  # the object's frame to the robot's
        eye = (self.camera.eye_at(pose) - placement[2:5]) @ turn(placement.yaw)
        rays = self.camera.rays[top:bottom, left:right].reshape(-1, 3)
        self.num_rays += len(rays)
        layer = _cast(placement.asset, placement.variant, eye, rays @ rotation, LIGHT @ turn(placement.yaw))
        rows, columns = np.divmod(layer.pixels, right - left)
        return Layer((rows + top) * self.camera.width + columns + left, layer.distance, layer.colours)


def _cast(asset: str, variant: int, eye: np.ndarray, rays: np.ndarray, light: np.ndarray) -> Layer:
    """Casts rays at one look, all in the object's frame; pixels are indices of `rays`."""
    seen = look(asset, variant)
    form = form_body(seen.form)
    rays = np.ascontiguousarray(rays)
    hits = form.body.cast(eye / seen.scale, rays)
    met = np.flatnonzero(hits.geom >= 0)
    distance = hits.distance[met] * seen.scale
    albedo = np.array(seen.colours)[form.paints[hits.geom[met]]]
    return Layer(met, distance.astype(np.float32), shade(albedo, hits.normal[met], rays[met], distance, light))


@cache
def painter(config: CameraConfig) -> Painter:
    """The painter of a camera, one per process: its simulators share what they have drawn."""
    return Painter(Camera(config))


@lru_cache(maxsize=4096)
def in_hand(config: CameraConfig, asset: str, variant: int) -> Layer:
    """The held object: always at the same place of the image, in front of everything."""
    camera = Camera(config)
    seen = look(asset, variant)
    right, down, ahead = camera.axes
    up = -math.cos(HAND_LEAN) * down - math.sin(HAND_LEAN) * ahead
    rotation = np.stack([right, np.cross(up, right), up], -1) @ turn(HAND_TURN)  # the object's frame to the robot's
    middle = seen.scale * form_body(seen.form).corners.mean(0)
    place = camera.eye + ahead * HAND_M + down * HAND_DOWN - rotation @ middle
    rays = camera.rays.reshape(-1, 3)
    return _cast(asset, variant, (camera.eye - place) @ rotation, rays @ rotation, LIGHT @ rotation)


def planks(points_N2: np.ndarray) -> np.ndarray:
    """float[N] lightness of wooden planks at points of the floor."""
    row = np.floor(points_N2[:, 1] / 0.22)
    board = np.floor(points_N2[:, 0] / 1.4 + 0.37 * row)
    tone = np.mod(np.sin(12.9898 * row + 78.233 * board) * 43758.5453, 1.0)
    return 0.90 + 0.14 * tone
