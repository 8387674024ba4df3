"""The shape of every category: a few primitive solids each, at the size where an image of some 100 pixels shows them.

Solids are MuJoCo primitives in the object's own frame: metres, z up, base at z = 0, long things along x. They are
somewhat larger than life, so that even the smallest category covers some 30 pixels from where the robot stands.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass


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
        Solid(_C, (0.039, 0.064), (-0.096, 0, 0.039), 0, _LIE),
        Solid(_Y, (0.014, 0.096), (0.096, 0, 0.039), 1, _LIE),
        Solid(_B, (0.021, 0.021, 0.009), (0.182, 0, 0.039), 1),
    ),
    "padlock": (
        Solid(_B, (0.062, 0.034, 0.05), (0, 0, 0.05)),
        Solid(_C, (0.014, 0.045), (-0.038, 0, 0.13), 1),
        Solid(_C, (0.014, 0.045), (0.038, 0, 0.13), 1),
        Solid(_C, (0.014, 0.038), (0, 0, 0.178), 1, _LIE),
    ),
    "scissors": (
        Solid(_B, (0.095, 0.014, 0.008), (0.06, 0, 0.02), 1, (0, 0, 14)),
        Solid(_B, (0.095, 0.014, 0.008), (0.06, 0, 0.012), 1, (0, 0, -14)),
        Solid(_Y, (0.048, 0.016), (-0.07, 0.052, 0.018)),
        Solid(_Y, (0.048, 0.016), (-0.07, -0.052, 0.018)),
        Solid(_Y, (0.026, 0.0175), (-0.07, 0.052, 0.018), 2),
        Solid(_Y, (0.026, 0.0175), (-0.07, -0.052, 0.018), 2),
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
        Solid(_B, (0.10, 0.013, 0.010), (-0.08, 0, 0.02)),
        Solid(_B, (0.075, 0.06, 0.007), (0.09, 0, 0.014), 1),
        Solid(_B, (0.05, 0.009, 0.008), (0.09, 0.026, 0.014), 2),
        Solid(_B, (0.05, 0.009, 0.008), (0.09, -0.026, 0.014), 2),
    ),
    "knife": (
        Solid(_B, (0.075, 0.023, 0.020), (-0.115, 0, 0.021)),
        Solid(_B, (0.115, 0.030, 0.007), (0.069, 0, 0.021), 1),
        Solid(_E, (0.057, 0.030, 0.007), (0.184, 0, 0.021), 1),
    ),
    "spoon": (
        Solid(_C, (0.019, 0.134), (-0.067, 0, 0.026), 0, _LIE),
        Solid(_E, (0.084, 0.061, 0.030), (0.134, 0, 0.030), 0),
        Solid(_E, (0.061, 0.041, 0.017), (0.134, 0, 0.048), 1),
    ),
    "plate": (
        Solid(_Y, (0.14, 0.010), (0, 0, 0.012)),
        Solid(_Y, (0.095, 0.011), (0, 0, 0.013), 1),
    ),
    "sponge": (
        Solid(_B, (0.085, 0.055, 0.028), (0, 0, 0.028), 0),
        Solid(_B, (0.085, 0.055, 0.012), (0, 0, 0.066), 1),
    ),
    "cleanser": (
        Solid(_E, (0.055, 0.045, 0.04), (0, 0, 0.19)),
        Solid(_Y, (0.052, 0.095), (0, 0, 0.095)),
        Solid(_Y, (0.0535, 0.04), (0, 0, 0.095), 1),
        Solid(_Y, (0.024, 0.028), (0, 0, 0.245), 1),
    ),
    "plum": (
        Solid(_E, (0.076, 0.076, 0.065), (0, 0, 0.065)),
        Solid(_C, (0.011, 0.015), (0, 0, 0.136), 1),
    ),
    "pear": (
        Solid(_S, (0.063,), (0, 0, 0.063)),
        Solid(_E, (0.043, 0.043, 0.063), (0, 0, 0.137)),
        Solid(_C, (0.009, 0.016), (0, 0, 0.212), 1, (0, 20, 0)),
    ),
    "peach": (
        Solid(_S, (0.070,), (0, 0, 0.068)),
        Solid(_S, (0.063,), (0.017, -0.012, 0.076), 1),
        Solid(_E, (0.036, 0.015, 0.007), (-0.024, 0, 0.139), 2, (0, 0, 30)),
    ),
    "apple": (
        Solid(_E, (0.075, 0.075, 0.069), (0, 0, 0.069)),
        Solid(_C, (0.010, 0.020), (0, 0, 0.149), 1),
        Solid(_E, (0.037, 0.018, 0.008), (0.037, 0, 0.156), 2),
    ),
    "lemon": (
        Solid(_E, (0.087, 0.065, 0.065), (0, 0, 0.065)),
        Solid(_S, (0.024,), (0.083, 0, 0.065)),
        Solid(_S, (0.024,), (-0.083, 0, 0.065), 1),
    ),
    "can": (
        Solid(_Y, (0.06, 0.075), (0, 0, 0.075)),
        Solid(_Y, (0.061, 0.028), (0, 0, 0.075), 1),
        Solid(_Y, (0.054, 0.004), (0, 0, 0.150), 2),
    ),
    "flat_can": (
        Solid(_Y, (0.075, 0.032), (0, 0, 0.032)),
        Solid(_Y, (0.076, 0.012), (0, 0, 0.032), 1),
        Solid(_Y, (0.068, 0.004), (0, 0, 0.065), 2),
    ),
    "box": (
        Solid(_B, (0.085, 0.035, 0.12), (0, 0, 0.12)),
        Solid(_B, (0.055, 0.0365, 0.04), (0, 0, 0.14), 1),
        Solid(_B, (0.0855, 0.0355, 0.012), (0, 0, 0.05), 1),
    ),
    "low_box": (
        Solid(_B, (0.075, 0.06, 0.04), (0, 0, 0.04)),
        Solid(_B, (0.05, 0.0605, 0.015), (0, 0, 0.045), 1),
        Solid(_B, (0.045, 0.035, 0.0405), (0, 0, 0.0405), 1),
    ),
    "banana": (
        Solid(_C, (0.033, 0.056), (0, -0.035, 0.033), 0, _LIE),
        Solid(_C, (0.030, 0.047), (0.087, -0.010, 0.033), 0, (0, 90, 35)),
        Solid(_C, (0.030, 0.047), (-0.087, -0.010, 0.033), 0, (0, 90, -35)),
        Solid(_C, (0.013, 0.015), (0.143, 0.033, 0.033), 1, (0, 90, 45)),
    ),
    "strawberry": (
        Solid(_E, (0.059, 0.059, 0.078), (0, 0, 0.061)),
        Solid(_S, (0.054,), (0, 0, 0.081)),
        Solid(_Y, (0.053, 0.008), (0, 0, 0.127), 1),
        Solid(_C, (0.009, 0.015), (0, 0, 0.148), 1),
    ),
    "lego": (
        Solid(_B, (0.09, 0.046, 0.032), (0, 0, 0.032)),
        *_studs(0.045, 0.072, 0),
    ),
    "rubriks_cube": (
        Solid(_B, (0.06, 0.06, 0.06), (0, 0, 0.06)),
        *_stickers(0.06),
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
        Solid(_Y, (0.048, 0.062), (0, 0, 0.062)),
        Solid(_Y, (0.058, 0.031), (0, 0, 0.118)),
        Solid(_Y, (0.046, 0.002), (0, 0, 0.148), 1),
    ),
    "mug": (
        Solid(_Y, (0.062, 0.065), (0, 0, 0.065)),
        Solid(_Y, (0.05, 0.002), (0, 0, 0.130), 1),
        Solid(_C, (0.013, 0.03), (0.105, 0, 0.065), 0),
        Solid(_C, (0.013, 0.025), (0.078, 0, 0.10), 0, _LIE),
        Solid(_C, (0.013, 0.025), (0.078, 0, 0.03), 0, _LIE),
    ),
    "orange": (
        Solid(_S, (0.073,), (0, 0, 0.073)),
        Solid(_Y, (0.014, 0.004), (0, 0, 0.145), 1),
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
        Solid(_B, (0.115, 0.024, 0.014), (-0.034, 0, 0.016)),
        Solid(_B, (0.025, 0.063, 0.018), (0.086, 0, 0.018)),
        Solid(_B, (0.034, 0.018, 0.018), (0.138, 0.046, 0.018)),
        Solid(_B, (0.034, 0.018, 0.018), (0.138, -0.046, 0.018)),
        Solid(_Y, (0.030, 0.015), (-0.149, 0, 0.016), 1),
    ),
}
"""Shape of every category; two categories have two (tall and flat)."""
