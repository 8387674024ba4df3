"""The furniture of a layout as one MuJoCo model: tables, sofa, kitchen with drawers and fridge, walls and floor.

Sizes come from `llarp.scenes.furniture`. Each piece is its own body: x points to its front, where the robot stands, y
to the right of that robot, z up, the floor at 0.
"""

import hashlib
import math

import mujoco

from llarp.scenes.catalog import FRIDGE_HANDLE
from llarp.scenes.extension import extension
from llarp.scenes.furniture import FURNITURE, HANDLE_FORWARD
from llarp.scenes.layout import Layout, Surface
from llarp.scenes.layouts import room
from llarp.sim.drawing.bodies import Colour, add_solids, new_spec
from llarp.sim.drawing.forms import Solid

SLIDE_M = 2 * FURNITURE["left_drawer"].body[0]
"""How far an open drawer stands out."""
DOOR_RAD = 1.9
"""How wide the fridge's door opens."""

_WALL = 2.5  # height of the walls
_FLOORS = ("c49a6c", "a67c52", "cfae80", "94745a", "bba78f")
_WALLS = (
    ("efe6d2", "d3e0cf", "e0d3e2", "cfdcea"),
    ("e8dcc4", "d8e6ea", "ecd9cc", "d6e0c8"),
    ("dfe6ea", "efe6cc", "d0e2dc", "ead6d6"),
)
_SOFAS = ("4f7d9e", "76905f", "a0789a", "5f9390")
_CHAIRS = ("e0a030", "c9603a", "4f9d69")

Corner = tuple[float, float, float]


def _rgb(paint: str) -> Colour:
    red, green, blue = (int(paint[at : at + 2], 16) / 255 for at in (0, 2, 4))
    return red, green, blue


def _box(body: mujoco.MjsBody, paint: str, low: Corner, high: Corner) -> None:
    """Adds a box between two corners."""
    centre = tuple((a + b) / 2 for a, b in zip(low, high, strict=True))
    half = tuple((b - a) / 2 for a, b in zip(low, high, strict=True))
    add_solids(body, [Solid("box", half, centre)], [_rgb(paint)])  # type: ignore[arg-type]


class _House:
    """Builds the pieces of one layout."""

    def __init__(self, layout: Layout) -> None:
        self.layout, self.spec = layout, new_spec()
        self.choice = hashlib.blake2b(layout.name.encode(), digest_size=4).digest()

    def piece(self, name: str, x: float, y: float, yaw: float) -> mujoco.MjsBody:
        turn = [math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)]
        return self.spec.worldbody.add_body(name=name, pos=[x, y, 0], quat=turn)

    def at(self, receptacle: str) -> tuple[mujoco.MjsBody, float, float, float]:
        """A new body there; half depth and half width of the piece, and the height at which objects rest."""
        surface, sizes = self.layout.surfaces[receptacle], FURNITURE[receptacle]
        return self.piece(receptacle, *surface.center[:2], surface.yaw), *sizes.body, sizes.rest

    def room(self) -> None:
        """Floor, four walls of different tints, and something on each wall to know it by."""
        left, near, right, far = room(self.layout)
        world = self.spec.worldbody
        floor = world.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 1], name="floor")
        floor.rgba = (*_rgb(_FLOORS[self.choice[0] % len(_FLOORS)]), 1.0)
        middle_x, middle_y, half_x, half_y = (left + right) / 2, (near + far) / 2, (right - left) / 2, (far - near) / 2
        walls = (
            (middle_x, near, math.pi / 2, half_x), (middle_x, far, -math.pi / 2, half_x),
            (left, middle_y, 0.0, half_y), (right, middle_y, math.pi, half_y),
        )  # fmt: skip
        pictures = ("8fc4e8", "d98c5f", "6f9f72", "b07fb8")
        for number, ((x, y, yaw, half), tint) in enumerate(
            zip(walls, _WALLS[self.choice[1] % len(_WALLS)], strict=True)
        ):
            wall = self.piece(f"wall_{number}", x, y, yaw)
            _box(wall, tint, (-0.1, -half - 0.1, 0), (0, half + 0.1, _WALL))
            _box(wall, "f7f5f0", (0, -half, 0), (0.02, half, 0.12))
            for side in (-0.5, 0.35):
                _box(wall, "f7f5f0", (0, side * half - 0.65, 0.95), (0.03, side * half + 0.65, 2.0))
                _box(wall, pictures[number], (0, side * half - 0.57, 1.03), (0.04, side * half + 0.57, 1.92))

    def sofa(self) -> None:
        body, depth, width, top = self.at("sofa")
        height, arm, back = FURNITURE["sofa"].height, width - 0.17, -depth + 0.15
        cloth = _SOFAS[self.choice[2] % len(_SOFAS)]
        _box(body, "3a322c", (-depth, -width + 0.03, 0), (depth - 0.05, width - 0.03, 0.10))
        _box(body, cloth, (-depth, -width, 0.08), (depth - 0.02, width, top - 0.12))
        for low, high in ((-arm, -0.01), (0.01, arm)):
            _box(body, cloth, (back, low, top - 0.14), (depth, high, top))
        _box(body, cloth, (-depth, -width, 0.08), (back, width, height))
        for low, high in ((-width, -arm), (arm, width)):
            _box(body, cloth, (-depth, low, 0.06), (depth, high, top + 0.16))

    def table(self, receptacle: str, paint: str, legs: str) -> None:
        body, depth, width, top = self.at(receptacle)
        _box(body, paint, (-depth, -width, top - 0.05), (depth, width, top))
        for x in (-depth + 0.05, depth - 0.11):
            for y in (-width + 0.05, width - 0.11):
                _box(body, legs, (x, y, 0), (x + 0.06, y + 0.06, top - 0.05))

    def tv_stand(self) -> None:
        body, depth, width, top = self.at("tv_stand")
        _box(body, "e9e7e2", (-depth, -width, 0.06), (depth, width, top))
        _box(body, "2c2c30", (-depth + 0.04, -width + 0.04, 0), (depth - 0.04, width - 0.04, 0.06))
        for low, high in ((-width + 0.03, -0.015), (0.015, width - 0.03)):
            _box(body, "b9c6cc", (depth, low, 0.10), (depth + 0.015, high, top - 0.05))
        back, half = -depth - 0.02, 0.60
        _box(body, "1a1a1c", (back - 0.05, -half, top + 0.07), (back, half, top + 0.80))
        _box(body, "27405c", (back, -half + 0.03, top + 0.10), (back + 0.005, half - 0.03, top + 0.77))
        _box(body, "1a1a1c", (back - 0.05, -0.15, top), (back + 0.02, 0.15, top + 0.08))

    def counter(self, receptacle: str, paint: str) -> None:
        body, depth, width, top = self.at(receptacle)
        self.cabinet(body, depth, width, top - 0.04)
        _box(body, paint, (-depth, -width, top - 0.04), (depth, width, top))

    def cabinet(self, body: mujoco.MjsBody, depth: float, width: float, top: float) -> None:
        """What is below a worktop, and the tiles behind it."""
        _box(body, "8a9a7a", (-depth, -width, 0.08), (depth - 0.03, width, top))
        _box(body, "2c2c30", (-depth, -width, 0), (depth - 0.10, width, 0.08))
        _box(body, "f4f0e6", (-depth - 0.03, -width, top), (-depth, width, 1.4))

    def sink(self) -> None:
        """A basin let into a steel top, and a tap."""
        body, depth, width, floor = self.at("sink")
        top, (inner_x, inner_y) = FURNITURE["sink"].height, self.layout.surfaces["sink"].half
        inner_x, inner_y = inner_x + 0.05, inner_y + 0.03
        self.cabinet(body, depth, width, floor - 0.02)
        _box(body, "8f9aa5", (-inner_x, -inner_y, floor - 0.02), (inner_x, inner_y, floor))
        for low, high in (((-depth, -width), (depth, -inner_y)), ((-depth, inner_y), (depth, width)),
                          ((-depth, -inner_y), (-inner_x, inner_y)),
                          ((inner_x, -inner_y), (depth, inner_y))):  # fmt: skip
            _box(body, "c3ccd4", (*low, floor - 0.02), (*high, top))
        _box(body, "5f6a75", (-depth + 0.05, -0.025, top), (-depth + 0.10, 0.025, top + 0.28))
        _box(body, "5f6a75", (-depth + 0.10, -0.02, top + 0.24), (-depth + 0.26, 0.02, top + 0.28))

    def chair(self) -> None:
        body, depth, width, top = self.at("chair")
        paint = _CHAIRS[self.choice[3] % len(_CHAIRS)]
        _box(body, paint, (-depth, -width, top - 0.05), (depth, width, top))
        for x in (-depth, depth - 0.05):
            for y in (-width, width - 0.05):
                _box(body, "4a3626", (x, y, 0), (x + 0.05, y + 0.05, top - 0.05))
        height = FURNITURE["chair"].height
        _box(body, paint, (-depth, -width, top + 0.16), (-depth + 0.04, width, height))
        for y in (-width, width - 0.05):
            _box(body, "4a3626", (-depth, y, top), (-depth + 0.04, y + 0.05, top + 0.16))

    def fridge(self) -> None:
        """A cupboard with shelves and a bright inside; its door turns about its right edge."""
        body, depth, width, top = self.at("fridge")
        wall, height = 0.04, FURNITURE["fridge"].height
        for low, high in ((-width, -width + wall), (width - wall, width)):
            _box(body, "c9ced2", (-depth, low, 0), (depth, high, height))
        for low, high in ((0.0, 0.08), (height - wall, height)):
            _box(body, "c9ced2", (-depth, -width + wall, low), (depth, width - wall, high))
        _box(body, "dff4ff", (-depth, -width + wall, 0.08), (-depth + wall, width - wall, height - wall))
        for level in (top, top - 0.36, top - 0.70):
            _box(body, "8fd0ef", (-depth + wall, -width + wall, level - 0.025), (depth - 0.08, width - wall, level))
        door = body.add_body(name=FRIDGE_HANDLE, pos=[depth, width, 0])
        door.add_joint(name=FRIDGE_HANDLE, type=mujoco.mjtJoint.mjJNT_HINGE, axis=[0, 0, 1])
        _box(door, "d5dadd", (0.015, -2 * width, 0.04), (0.05, 0, height))
        _box(door, "eef9ff", (0, -2 * width + wall, 0.08), (0.015, -wall, height - wall))
        _box(door, "4a4f55", (0.05, -1.9 * width, 0.75), (0.09, -1.8 * width, 1.35))

    def drawers(self) -> None:
        """Four trays that slide out; a shut one shows its front and handle only."""
        for name, (x, y, z) in self.layout.handles.items():
            if name == FRIDGE_HANDLE:
                continue
            half, low, high = FURNITURE["left_drawer"].body[1], FURNITURE["left_drawer"].rest - 0.02, 0.82
            if name == "bottom_drawer_handle":
                half, low, high = 0.45, z - 0.14, z + 0.12
            yaw = self.layout.surfaces["sink"].yaw  # the kitchen faces one way
            body = self.piece(name, *Surface((x, y, z), (0, 0), yaw).to_world(-HANDLE_FORWARD, 0), yaw)
            body.add_joint(name=name, type=mujoco.mjtJoint.mjJNT_SLIDE, axis=[1, 0, 0])
            _box(body, "c3cbb0", (-0.03, -half, low), (0.0, half, high))
            _box(body, "33352f", (0.0, -0.10, z - 0.012), (0.03, 0.10, z + 0.012))
            _box(body, "d9a05f", (-SLIDE_M - 0.05, -half + 0.02, low), (-0.03, half - 0.02, low + 0.02))
            for side in (-half + 0.01, half - 0.03):
                _box(body, "a97844", (-SLIDE_M - 0.05, side, low), (-0.03, side + 0.02, high - 0.05))


def build(layout: Layout) -> mujoco.MjSpec:
    """The layout's furniture, not compiled yet; joints are named after the handles, at zero everything is shut."""
    house = _House(layout)
    house.room()
    house.sofa()
    house.table("black_table", "3a3c42", "26272b")
    house.table("brown_table", "8f5a30", "6e4424")
    house.tv_stand()
    house.counter("left_counter", "e6ddca")
    house.counter("right_counter", "6f8288")
    house.sink()
    house.chair()
    for own in extension().receptacle:
        house.table(own.id, own.colour, own.colour)
    house.fridge()
    house.drawers()
    return house.spec
