"""Which joint of which articulated object each handle moves: names as in ReplicaCAD, which our exported scenes keep."""

from dataclasses import dataclass

from llarp.scenes.catalog import FRIDGE_HANDLE
from llarp.sim.drawing.house import DOOR_RAD, SLIDE_M


@dataclass(frozen=True)
class Joint:
    """What a handle opens."""

    object: str
    """Part of the articulated object's handle."""
    link: str
    """The link that moves."""
    opened: float
    """How far it opens, radians or metres; less where the object's own limit is nearer."""


JOINTS: dict[str, Joint] = {
    "left_drawer_handle": Joint("kitchen_counter", "drawer1_top", SLIDE_M),
    "middle_drawer_handle": Joint("kitchen_counter", "drawer2_top", SLIDE_M),
    "right_drawer_handle": Joint("kitchen_counter", "drawer3", SLIDE_M),
    "bottom_drawer_handle": Joint("kitchen_counter", "drawer4", SLIDE_M),
    FRIDGE_HANDLE: Joint("fridge", "top_door", DOOR_RAD),
}
"""By handle; object and link are those of the release's markers."""
