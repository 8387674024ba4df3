"""How large every category appears to the camera of params.yaml; `llarp visibility` prints the table.

Of every asset, in several variants and turned several ways, lying on a grid of spots of every open receptacle, the
pixels that it covers are counted from that receptacle's standing point, nothing else being there.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from llarp.config import CameraConfig
from llarp.scenes.catalog import CATEGORIES, OPEN_RECEPTACLES
from llarp.scenes.layouts import layout
from llarp.scenes.variants import NUM_VARIANTS
from llarp.sim.drawing.painter import Placement, corners, painter

SPOTS = tuple(itertools.product((-0.9, 0.0, 0.9), repeat=2))
"""Shares of a surface's half extents."""
GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
"""Turns by it cover all directions evenly, however many there are."""


@dataclass(frozen=True)
class Visibility:
    """Pixels that one category covers, over its looks and placements."""

    category: str
    least: int
    low: float
    """Fifth percentile."""
    median: float
    outside: float
    """Share of placements that are not, or not wholly, in the picture."""


def _placements(layout_name: str, category: int) -> Iterator[tuple[str, Placement]]:
    """Receptacle and placement of every case, deterministic."""
    surfaces = layout(layout_name).surfaces
    cases = itertools.product(OPEN_RECEPTACLES, SPOTS)
    assets = CATEGORIES[category].assets
    for number, (receptacle, (u, v)) in enumerate(cases):
        surface = surfaces[receptacle]
        x, y = surface.to_world(u * surface.half[0], v * surface.half[1])
        for case in (2 * number, 2 * number + 1):
            asset, variant = assets[case % len(assets)], case * 5 % NUM_VARIANTS
            yield receptacle, Placement(asset, variant, x, y, surface.center[2], case * GOLDEN_ANGLE)


def table(camera: CameraConfig, layout_name: str = "gen_train_0000") -> list[Visibility]:
    """One row per category, the one with the smallest median first."""
    brush = painter(camera)
    poses = layout(layout_name).standing
    rows = []
    for index, category in enumerate(CATEGORIES):
        counts, outside = [], 0
        for receptacle, placement in _placements(layout_name, index):
            box = brush.camera.pixel_boxes(corners(placement)[None], poses[receptacle])[0]
            counts.append(int(brush.cast(None, poses[receptacle], placements=[placement]).covered.sum()))
            top, bottom, left, right = box
            outside += bool(top == 0 or left == 0 or bottom == camera.height or right == camera.width)
        rows.append(
            Visibility(
                category.id,
                min(counts),
                float(np.percentile(counts, 5)),
                float(np.median(counts)),
                outside / len(counts),
            )
        )
    return sorted(rows, key=lambda row: row.median)


def print_table(camera: CameraConfig) -> None:
    """Prints the table, smallest category first."""
    rows = table(camera)
    size = f"{camera.width} x {camera.height} pixels, {camera.fov_deg:g} degrees high"
    print(f"Pixels covered from the standing point ({size})")
    print(f"{'category':<14}{'least':>7}{'5 %':>7}{'median':>8}{'cut off':>9}")
    for row in rows:
        print(f"{row.category:<14}{row.least:>7}{row.low:>7.0f}{row.median:>8.0f}{row.outside:>8.0%}")
