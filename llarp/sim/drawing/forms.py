"""The shape of every category: a few primitive solids each, at the size where an image of some 100 pixels shows them.

Solids are MuJoCo primitives in the object's own frame: metres, z up, base at z = 0, long things along x. They are
larger than life, so that every category covers 30 pixels from where the robot stands, wherever on a surface it lies.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from llarp.scenes.extension import extension


@dataclass(frozen=True)
class Solid:
    """One primitive of an object."""

    shape: str
    """sphere, capsule, ellipsoid, cylinder or box, as MuJoCo names them."""
    size: tuple[float, ...]
    """MuJoCo's sizes, metres: radius; radius and half length; or three half extents."""
    at: tuple[float, float, float]
    """Its centre."""
    paint: int = 0
    """Index into the look's colours."""
    turn_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Rotations about x, y and z, in this order, about fixed axes."""


_S, _C, _E, _Y, _B = "sphere", "capsule", "ellipsoid", "cylinder", "box"
_LIE = (0.0, 90.0, 0.0)  # a capsule or cylinder along x


def _studs(step: float, height: float, paint: int) -> Iterator[Solid]:
    for x, y in itertools.product((-1.5, -0.5, 0.5, 1.5), (-0.5, 0.5)):
        yield Solid(_Y, (step * 0.32, 0.012), (x * step, y * step, height), paint)


def _stickers(half: float) -> Iterator[Solid]:
    """2 x 2 coloured stickers on the five faces of a cube that can be seen."""
    thin, edge, off = 0.003, half * 0.42, half * 0.5
    for number, (a, b) in enumerate(itertools.product((-off, off), repeat=2)):
        yield Solid(_B, (edge, edge, thin), (a, b, 2 * half), 1 + number)
        for side, turn in ((1, 0), (-1, 3)):
            yield Solid(_B, (thin, edge, edge), (side * half, a, half + b), 1 + (number + turn + 1) % 6)
            yield Solid(_B, (edge, thin, edge), (a, side * half, half + b), 1 + (number + turn + 2) % 6)


FORMS: dict[str, tuple[Solid, ...]] = {
    "ball": (
        Solid(_S, (0.085,), (0, 0, 0.085)),
        Solid(_Y, (0.0865, 0.014), (0, 0, 0.085), 1, (0, 0, 0)),
        Solid(_Y, (0.0865, 0.014), (0, 0, 0.085), 1, (90, 0, 30)),
    ),
    "clamp": (
        Solid(_B, (0.11, 0.02, 0.025), (0, 0.075, 0.025)),
        Solid(_B, (0.02, 0.075, 0.025), (0.09, 0, 0.025)),
        Solid(_B, (0.02, 0.075, 0.025), (-0.09, 0, 0.025)),
        Solid(_Y, (0.014, 0.085), (0.03, -0.06, 0.025), 1, _LIE),
        Solid(_B, (0.015, 0.045, 0.03), (0.12, -0.06, 0.03), 1),
    ),
    "hammer": (
        Solid(_C, (0.02, 0.13), (-0.04, 0, 0.02), 0, _LIE),
        Solid(_B, (0.035, 0.085, 0.035), (0.12, 0, 0.035), 1),
    ),
    "screwdriver": (
        Solid(_C, (0.0515, 0.062), (-0.103, 0, 0.0515), 0, _LIE),
        Solid(_Y, (0.0225, 0.103), (0.099, 0, 0.0515), 1, _LIE),
        Solid(_B, (0.027, 0.031, 0.0125), (0.1955, 0, 0.0515), 1),
    ),
    "padlock": (
        Solid(_B, (0.0725, 0.04, 0.0585), (0, 0, 0.0585)),
        Solid(_C, (0.0165, 0.0525), (-0.0445, 0, 0.152), 1),
        Solid(_C, (0.0165, 0.0525), (0.0445, 0, 0.152), 1),
        Solid(_C, (0.0165, 0.0445), (0, 0, 0.2085), 1, _LIE),
    ),
    "scissors": (
        Solid(_B, (0.1, 0.0145, 0.0085), (0.063, 0, 0.021), 1, (0, 0, 14)),
        Solid(_B, (0.1, 0.0145, 0.0085), (0.063, 0, 0.0125), 1, (0, 0, -14)),
        Solid(_Y, (0.0505, 0.017), (-0.0735, 0.0545, 0.019)),
        Solid(_Y, (0.0505, 0.017), (-0.0735, -0.0545, 0.019)),
        Solid(_Y, (0.0275, 0.0185), (-0.0735, 0.0545, 0.019), 2),
        Solid(_Y, (0.0275, 0.0185), (-0.0735, -0.0545, 0.019), 2),
    ),
    "block": (Solid(_B, (0.055, 0.055, 0.10), (0, 0, 0.10)),),
    "blocks": (
        Solid(_B, (0.05, 0.05, 0.05), (-0.054, 0, 0.05), 0),
        Solid(_B, (0.05, 0.05, 0.05), (0.054, 0, 0.05), 1),
        Solid(_B, (0.05, 0.05, 0.05), (0, 0, 0.152), 2, (0, 0, 20)),
    ),
    "drill": (
        Solid(_Y, (0.038, 0.085), (-0.01, 0, 0.19), 0, _LIE),
        Solid(_Y, (0.02, 0.05), (0.12, 0, 0.19), 1, _LIE),
        Solid(_B, (0.025, 0.022, 0.075), (-0.045, 0, 0.10), 1),
        Solid(_B, (0.06, 0.04, 0.025), (-0.035, 0, 0.025), 0),
    ),
    "spatula": (
        Solid(_B, (0.1175, 0.0155, 0.0115), (-0.094, 0, 0.0235)),
        Solid(_B, (0.0875, 0.0705, 0.008), (0.1055, 0, 0.0165), 1),
        Solid(_B, (0.0585, 0.0105, 0.009), (0.1055, 0.0305, 0.0165), 2),
        Solid(_B, (0.0585, 0.0105, 0.009), (0.1055, -0.0305, 0.0165), 2),
    ),
    "knife": (
        Solid(_B, (0.075, 0.0305, 0.025), (-0.115, 0, 0.0265)),
        Solid(_B, (0.121, 0.041, 0.0085), (0.0725, 0, 0.0265), 1),
        Solid(_E, (0.06, 0.041, 0.0085), (0.193, 0, 0.0265), 1),
    ),
    "spoon": (
        Solid(_C, (0.026, 0.122), (-0.0605, 0, 0.0315), 0, _LIE),
        Solid(_E, (0.0945, 0.0775, 0.0335), (0.1405, 0, 0.0335), 0),
        Solid(_E, (0.0695, 0.0525, 0.019), (0.1405, 0, 0.0525), 1),
    ),
    "plate": (
        Solid(_Y, (0.14, 0.010), (0, 0, 0.012)),
        Solid(_Y, (0.095, 0.011), (0, 0, 0.013), 1),
    ),
    "sponge": (
        Solid(_B, (0.0935, 0.0605, 0.031), (0, 0, 0.031), 0),
        Solid(_B, (0.0935, 0.0605, 0.013), (0, 0, 0.0725), 1),
    ),
    "cleanser": (
        Solid(_E, (0.055, 0.045, 0.04), (0, 0, 0.19)),
        Solid(_Y, (0.052, 0.095), (0, 0, 0.095)),
        Solid(_Y, (0.0535, 0.04), (0, 0, 0.095), 1),
        Solid(_Y, (0.024, 0.028), (0, 0, 0.245), 1),
    ),
    "plum": (
        Solid(_E, (0.0875, 0.0875, 0.075), (0, 0, 0.075)),
        Solid(_C, (0.013, 0.0175), (0, 0, 0.157), 1),
    ),
    "pear": (
        Solid(_S, (0.078,), (0, 0, 0.078)),
        Solid(_E, (0.053, 0.053, 0.078), (0, 0, 0.1695)),
        Solid(_C, (0.0115, 0.0195), (0, 0, 0.262), 1, (0, 20, 0)),
    ),
    "peach": (
        Solid(_S, (0.0795,), (0, 0, 0.077)),
        Solid(_S, (0.0715,), (0.019, -0.0135, 0.086), 1),
        Solid(_E, (0.0405, 0.017, 0.0075), (-0.0275, 0, 0.1575), 2, (0, 0, 30)),
    ),
    "apple": (
        Solid(_E, (0.0865, 0.0865, 0.08), (0, 0, 0.08)),
        Solid(_C, (0.0115, 0.023), (0, 0, 0.172), 1),
        Solid(_E, (0.0425, 0.0205, 0.0095), (0.0425, 0, 0.1795), 2),
    ),
    "lemon": (
        Solid(_E, (0.103, 0.0765, 0.0765), (0, 0, 0.0765)),
        Solid(_S, (0.0285,), (0.0985, 0, 0.0765)),
        Solid(_S, (0.0285,), (-0.0985, 0, 0.0765), 1),
    ),
    "can": (
        Solid(_Y, (0.066, 0.0825), (0, 0, 0.0825)),
        Solid(_Y, (0.067, 0.031), (0, 0, 0.0825), 1),
        Solid(_Y, (0.0595, 0.0045), (0, 0, 0.165), 2),
    ),
    "flat_can": (
        Solid(_Y, (0.0825, 0.035), (0, 0, 0.035)),
        Solid(_Y, (0.0835, 0.013), (0, 0, 0.035), 1),
        Solid(_Y, (0.075, 0.0045), (0, 0, 0.0715), 2),
    ),
    "box": (
        Solid(_B, (0.085, 0.035, 0.12), (0, 0, 0.12)),
        Solid(_B, (0.055, 0.0365, 0.04), (0, 0, 0.14), 1),
        Solid(_B, (0.0855, 0.0355, 0.012), (0, 0, 0.05), 1),
    ),
    "low_box": (
        Solid(_B, (0.0835, 0.0665, 0.0445), (0, 0, 0.0445)),
        Solid(_B, (0.0555, 0.067, 0.017), (0, 0, 0.05), 1),
        Solid(_B, (0.05, 0.039, 0.045), (0, 0, 0.045), 1),
    ),
    "banana": (
        Solid(_C, (0.038, 0.0645), (0, -0.0405, 0.038), 0, _LIE),
        Solid(_C, (0.0345, 0.054), (0.1, -0.0115, 0.038), 0, (0, 90, 35)),
        Solid(_C, (0.0345, 0.054), (-0.1, -0.0115, 0.038), 0, (0, 90, -35)),
        Solid(_C, (0.015, 0.017), (0.1645, 0.038, 0.038), 1, (0, 90, 45)),
    ),
    "strawberry": (
        Solid(_E, (0.072, 0.072, 0.095), (0, 0, 0.0745)),
        Solid(_S, (0.0655,), (0, 0, 0.099)),
        Solid(_Y, (0.0645, 0.01), (0, 0, 0.1545), 1),
        Solid(_C, (0.011, 0.018), (0, 0, 0.18), 1),
    ),
    "lego": (
        Solid(_B, (0.104, 0.053, 0.036), (0, 0, 0.036)),
        *_studs(0.052, 0.081, 0),
    ),
    "rubriks_cube": (
        Solid(_B, (0.064, 0.064, 0.064), (0, 0, 0.064)),
        *_stickers(0.064),
    ),
    "book": (
        Solid(_B, (0.11, 0.085, 0.005), (0, 0, 0.045)),
        Solid(_B, (0.11, 0.085, 0.005), (0, 0, 0.005)),
        Solid(_B, (0.105, 0.08, 0.018), (0.003, 0, 0.025), 1),
        Solid(_B, (0.006, 0.085, 0.025), (-0.108, 0, 0.025)),
        Solid(_B, (0.06, 0.012, 0.006), (0.01, 0.03, 0.045), 2),
    ),
    "bowl": (
        Solid(_Y, (0.05, 0.02), (0, 0, 0.02)),
        Solid(_Y, (0.08, 0.02), (0, 0, 0.04)),
        Solid(_Y, (0.105, 0.022), (0, 0, 0.07)),
        Solid(_Y, (0.088, 0.002), (0, 0, 0.0915), 1),
    ),
    "cup": (
        Solid(_Y, (0.056, 0.0725), (0, 0, 0.0725)),
        Solid(_Y, (0.068, 0.0365), (0, 0, 0.138)),
        Solid(_Y, (0.054, 0.0025), (0, 0, 0.173), 1),
    ),
    "mug": (
        Solid(_Y, (0.0735, 0.0765), (0, 0, 0.0765)),
        Solid(_Y, (0.059, 0.0025), (0, 0, 0.154), 1),
        Solid(_C, (0.0155, 0.0355), (0.124, 0, 0.0765), 0),
        Solid(_C, (0.0155, 0.0295), (0.092, 0, 0.1185), 0, _LIE),
        Solid(_C, (0.0155, 0.0295), (0.092, 0, 0.0355), 0, _LIE),
    ),
    "orange": (
        Solid(_S, (0.0875,), (0, 0, 0.0875)),
        Solid(_Y, (0.017, 0.005), (0, 0, 0.174), 1),
    ),
    "lid": (
        Solid(_Y, (0.13, 0.010), (0, 0, 0.010), 1),
        Solid(_E, (0.115, 0.115, 0.045), (0, 0, 0.015), 0),
        Solid(_Y, (0.012, 0.015), (0, 0, 0.065), 1),
        Solid(_S, (0.028,), (0, 0, 0.09), 1),
    ),
    "toy_airplane": (
        Solid(_C, (0.032, 0.085), (0, 0, 0.034), 0, _LIE),
        Solid(_B, (0.032, 0.13, 0.008), (0.02, 0, 0.044), 1),
        Solid(_B, (0.018, 0.055, 0.007), (-0.10, 0, 0.044), 1),
        Solid(_B, (0.02, 0.006, 0.035), (-0.10, 0, 0.079), 0),
        Solid(_S, (0.018,), (0.12, 0, 0.034), 2),
    ),
    "wrench": (
        Solid(_B, (0.1265, 0.0265, 0.0155), (-0.0375, 0, 0.0175)),
        Solid(_B, (0.0275, 0.0695, 0.02), (0.0945, 0, 0.02)),
        Solid(_B, (0.0375, 0.02, 0.02), (0.152, 0.0505, 0.02)),
        Solid(_B, (0.0375, 0.02, 0.02), (0.152, -0.0505, 0.02)),
        Solid(_Y, (0.033, 0.0165), (-0.164, 0, 0.0175), 1),
    ),
}
"""Shape of every category; two categories have two (tall and flat). What a lab adds comes last."""
FORMS |= {
    own.id: tuple(Solid(part.shape, part.size, part.at, part.paint, part.turn_deg) for part in own.solid)
    for own in extension().form
}
