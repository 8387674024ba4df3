"""Solids compiled by MuJoCo: the furniture of a layout, and the form of every object. Nothing is simulated in time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import mujoco
import numpy as np

from llarp.sim.drawing.forms import FORMS, Solid
from llarp.sim.drawing.raycast import Solids

Colour = tuple[float, float, float]
"""RGB in [0, 1]."""
_GEOM = {
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "ellipsoid": mujoco.mjtGeom.mjGEOM_ELLIPSOID,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "box": mujoco.mjtGeom.mjGEOM_BOX,
}


class Body:
    """A compiled MuJoCo model and its state."""

    def __init__(self, spec: mujoco.MjSpec) -> None:
        spec.memory = 1 << 16  # bytes; the default of 15 MB would be paid for each of many small bodies
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        self.move({})

    def move(self, joints: Mapping[str, float]) -> None:
        """Sets joints by name (radians or metres), all others to zero."""
        self.data.qpos[:] = 0
        for name, value in joints.items():
            self.data.qpos[self.model.joint(name).qposadr[0]] = value
        mujoco.mj_kinematics(self.model, self.data)

    @property
    def solids(self) -> Solids:
        """Its primitives as they stand now, in the world; views of MuJoCo's own arrays."""
        axes = self.data.geom_xmat.reshape(-1, 3, 3)
        return Solids(self.model.geom_type, self.model.geom_size, self.data.geom_xpos, axes)


def new_spec() -> mujoco.MjSpec:
    """An empty model whose Euler angles are degrees about the fixed axes x, y, z."""
    spec = mujoco.MjSpec()
    spec.compiler.degree = True
    spec.compiler.eulerseq = "XYZ"
    return spec


def add_solids(parent: mujoco.MjsBody, solids: Iterable[Solid], colours: Sequence[Colour] | None = None) -> None:
    """Adds primitives to a body, in their order, painted when `colours` are given."""
    for solid in solids:
        size = (*solid.size, 0.0, 0.0)[:3]
        geom = parent.add_geom(type=_GEOM[solid.shape], size=size, pos=solid.at)
        geom.alt.type = mujoco.mjtOrientation.mjORIENTATION_EULER
        geom.alt.euler = solid.turn_deg
        if colours is not None:
            geom.rgba = (*colours[solid.paint], 1.0)


@dataclass(frozen=True)
class FormBody:
    """One form of an object at scale 1."""

    body: Body
    paints: np.ndarray
    """int[geoms] index into a look's colours."""
    corners: np.ndarray
    """float64[8, 3] corners of a box that holds the form."""


@cache
def form_body(form: str) -> FormBody:
    """The compiled form, once per process; KeyError when it is unknown."""
    spec = new_spec()
    add_solids(spec.worldbody.add_body(), FORMS[form])
    body = Body(spec)
    at, axes, box = body.data.geom_xpos, body.solids.axes, body.model.geom_aabb
    centres = at + np.einsum("gij,gj->gi", axes, box[:, :3])
    reaches = np.einsum("gij,gj->gi", np.abs(axes), box[:, 3:])
    low, high = (centres - reaches).min(0), (centres + reaches).max(0)
    corners = np.array([np.where([i & 1, i & 2, i & 4], high, low) for i in range(8)])
    return FormBody(body, np.array([solid.paint for solid in FORMS[form]]), corners)
