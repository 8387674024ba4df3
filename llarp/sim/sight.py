"""What the head camera could see, as numbers: who is in the picture, and the key of a view.

A key is a sum of pseudo-random 128-bit words, modulo 2**64 in each half: one word for camera, furniture and pose, one
for every object that reaches into the picture, for every open door in it and for what the hand holds. A sum knows no
order, so the keys of many views are sums over the rows of arrays, and a view has the same key alone as in a batch:
all arithmetic here is elementwise.

Shapes: K objects, P poses.
"""

import hashlib
import math
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np

from llarp.config import CameraConfig
from llarp.scenes.catalog import FRIDGE_HANDLE, HANDLES, NAV_TARGETS
from llarp.scenes.extension import extension
from llarp.scenes.layout import Pose
from llarp.sim.drawing.bodies import form_body
from llarp.sim.drawing.camera import Camera
from llarp.sim.drawing.forms import FORMS
from llarp.sim.drawing.look_table import look_numbers
from llarp.sim.drawing.looks import look
from llarp.sim.drawing.painter import VERSION
from llarp.sim.rules import geometry

START = len(NAV_TARGETS)
"""Number of the pose before the first skill; pose p < START is the one before NAV_TARGETS[p]."""
STAND: dict[str | None, int] = {target: number for number, target in enumerate(NAV_TARGETS)} | {None: START}
"""Number of a pose by what `RuleWorld.at` says."""
KEY_DTYPE = np.dtype("V16")

_ODD = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93))
_SHIFT = np.uint64(32)


class Looks(NamedTuple):
    """Every look of the catalogue, in the order of `look_numbers`."""

    words_L2: np.ndarray
    """uint64[L, 2] digest of form, size and colours."""
    held_L2: np.ndarray
    """uint64[L, 2] word of one in the hand, where it always looks the same."""
    middle_L3: np.ndarray
    """float64[L, 3] middle of the box that holds it, in its own frame, metres."""
    half_L3: np.ndarray
    """float64[L, 3] half extents of that box, metres."""


class Things(NamedTuple):
    """K objects where they lie."""

    look: np.ndarray
    """int[K] number of the look."""
    place_K4: np.ndarray
    """float64[K, 4] metres x, y and height of the base; yaw in radians."""


class Stands(NamedTuple):
    """Where the robot can be: the START + 1 poses of a layout, or of one layout for each of K objects."""

    x: np.ndarray
    """float64[P] or [K, P] metres."""
    y: np.ndarray
    cos: np.ndarray
    """float64[P] or [K, P] of the heading."""
    sin: np.ndarray


@cache
def looks() -> Looks:
    """All looks, once per process."""
    seen = [look(asset, variant) for asset, variant in look_numbers()]
    content = [(entry.scale, entry.colours, FORMS[entry.form]) for entry in seen]
    corners = [entry.scale * form_body(entry.form).corners for entry in seen]
    low, high = np.array([box.min(0) for box in corners]), np.array([box.max(0) for box in corners])
    return Looks(
        words_L2=np.array([word("object", entry) for entry in content]),
        held_L2=np.array([word("held", entry) for entry in content]),
        middle_L3=(low + high) / 2,
        half_L3=(high - low) / 2,
    )


def word(*content: object) -> np.ndarray:
    """uint64[2] digest of values that print alike only when they are alike."""
    return np.frombuffer(hashlib.blake2b(repr(content).encode(), digest_size=16).digest(), "<u8")


def as_keys(sums_N2: np.ndarray) -> np.ndarray:
    """V16[N] keys from uint64[N, 2] sums of words."""
    return np.ascontiguousarray(sums_N2, "<u8").view(KEY_DTYPE)[:, 0]


@lru_cache(maxsize=16_384)
def yaw(quaternion: tuple[float, float, float, float]) -> float:
    """Radians by which an upright object is turned."""
    w, x, y, z = quaternion
    return math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def object_words(things: Things) -> np.ndarray:
    """uint64[K, 2] one word per object: its look, where it lies and how it is turned."""
    words = looks().words_L2[things.look]
    for numbers in np.ascontiguousarray(things.place_K4).view(np.uint64).T:
        for odd in _ODD:  # one round per odd number; each is a bijection of the word so far
            words = (words ^ numbers[:, None]) * odd
            words ^= words >> _SHIFT
    return words


@lru_cache(maxsize=4096)
def stands(name: str) -> Stands:
    """The poses of a layout; UserError when it is unknown."""
    poses = poses_of(name)
    return Stands(
        np.array([pose.x for pose in poses]),
        np.array([pose.y for pose in poses]),
        np.array([math.cos(pose.heading) for pose in poses]),
        np.array([math.sin(pose.heading) for pose in poses]),
    )


def poses_of(name: str) -> tuple[Pose, ...]:
    """The START + 1 poses of a layout; UserError when it is unknown."""
    here = geometry(name)
    return (*(here.layout.standing[target] for target in NAV_TARGETS), here.start)


def in_picture(camera: Camera, stands: Stands, things: Things) -> np.ndarray:
    """bool[K, P] whether each object reaches into the picture from each pose, were nothing before it."""
    middle, half = looks().middle_L3[things.look], looks().half_L3[things.look]
    x, y, z, yaw = things.place_K4.T
    cos, sin = np.cos(yaw), np.sin(yaw)
    x = x + (middle[:, 0] * cos - middle[:, 1] * sin)
    y = y + (middle[:, 0] * sin + middle[:, 1] * cos)
    return _boxes_in_picture(camera, stands, x, y, z + middle[:, 2], cos, sin, half)


@lru_cache(maxsize=4096)
def doors_in_picture(camera: Camera, name: str) -> np.ndarray:
    """bool[handles, P] whether what opening each handle can change reaches into the picture from each pose."""
    points = np.array([geometry(name).layout.handles[entry.id] for entry in HANDLES])
    is_fridge = np.array([entry.id == FRIDGE_HANDLE for entry in HANDLES])
    half = np.where(is_fridge[:, None], (1.0, 1.0, 1.0), (0.7, 0.7, 0.4))
    height = np.where(is_fridge, 1.0, points[:, 2])  # the door is as high as the fridge
    ahead, aside = np.ones(len(HANDLES)), np.zeros(len(HANDLES))
    return _boxes_in_picture(camera, stands(name), points[:, 0], points[:, 1], height, ahead, aside, half)


def _boxes_in_picture(
    camera: Camera,
    stands: Stands,
    x: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
    cos: np.ndarray,
    sin: np.ndarray,
    half_K3: np.ndarray,
) -> np.ndarray:
    """bool[K, P]: a box is out of the picture when it lies wholly beyond one of its sides, or behind the camera.

    Args:
        camera: where its picture ends.
        stands: P poses.
        x: float64[K] middles in the world, metres; `y` and `z` likewise.
        y: see `x`.
        z: see `x`.
        cos: float64[K] of the boxes' yaw; `sin` likewise.
        sin: see `cos`.
        half_K3: half extents, metres.

    """
    dx, dy = x[:, None] - stands.x, y[:, None] - stands.y
    ahead, left = dx * stands.cos + dy * stands.sin, dy * stands.cos - dx * stands.sin
    above = (z - camera.config.elevation_m)[:, None]
    turned_x = cos[:, None] * stands.cos + sin[:, None] * stands.sin  # the box's first axis in the robot's frame
    turned_y = sin[:, None] * stands.cos - cos[:, None] * stands.sin
    seen = np.ones(dx.shape, bool)
    for n_x, n_y, n_z in _inward(camera):
        reach = np.abs(n_x * turned_x + n_y * turned_y) * half_K3[:, 0, None]
        reach = reach + np.abs(n_y * turned_x - n_x * turned_y) * half_K3[:, 1, None]
        reach = reach + abs(n_z) * half_K3[:, 2, None]
        seen &= (n_x * ahead + n_y * left) + n_z * above + reach >= 0
    return seen


def _inward(camera: Camera) -> list[list[float]]:
    """Normals, in the robot's frame, of the four sides of the pyramid that the camera sees, and of its front."""
    right, down, ahead = camera.axes
    across, along = camera.width / 2 / camera.focal * ahead, camera.height / 2 / camera.focal * ahead
    return np.stack([across + right, across - right, along + down, along - down, ahead]).tolist()


@lru_cache(maxsize=4096)
def scene_words(config: CameraConfig, name: str) -> np.ndarray:
    """uint64[P, 2] a word per pose of a layout: drawing code, camera, furniture and where the robot stands.

    What a lab adds is part of it, whose colours and shapes may change under the same names.
    """
    furniture = word(geometry(name).layout, extension()).tobytes()
    return np.array([word(VERSION, config, furniture, pose) for pose in poses_of(name)])


@cache
def door_words() -> np.ndarray:
    """uint64[handles, 2] a word per open door or drawer."""
    return np.array([word("open", entry.id) for entry in HANDLES])
