"""What opens in a layout, as URDF: the fridge's door and four drawers, in the world's place and frame (y up).

The root link stands at the world's origin and shows nothing, for what does not move belongs to the stage.
"""

import xml.etree.ElementTree as ET
from pathlib import Path

import mujoco
import numpy as np

from llarp.sim.drawing.bodies import Body
from llarp.sim.habitat.frames import Y_UP
from llarp.sim.habitat.joints import JOINTS
from llarp.sim.habitat.meshes import Part, parts, write_glb

MASS_KG = 5.0
"""Of every link that moves; nothing is simulated in time here, but habitat-sim asks for it."""


def write_urdf(folder: Path, name: str, object: str, body: Body) -> None:
    """Writes `NAME.urdf` and a .glb per moving link.

    Args:
        folder: of both.
        name: of the articulated object in the scene data set.
        object: which one it is: an `object` of `JOINTS`.
        body: the compiled house, all shut.

    """
    robot = ET.Element("robot", name=name)
    ET.SubElement(robot, "link", name="root")
    for handle, joint in JOINTS.items():
        if joint.object == object:
            number = int(body.model.body(handle).id)
            mesh = f"{name}_{joint.link}.glb"
            content = link_parts(body, number)
            write_glb(folder / mesh, content)
            _link(robot, joint.link, mesh, np.concatenate([part.vertices for part in content]))
            _joint(robot, joint.link, body, handle, joint.opened)
    ET.indent(robot)
    ET.ElementTree(robot).write(folder / f"{name}.urdf", encoding="utf-8", xml_declaration=True)


def link_parts(body: Body, number: int) -> list[Part]:
    """The primitives of one body in its own frame, with y up."""
    model, data = body.model, body.data
    geoms = [geom for geom in range(model.ngeom) if model.geom_bodyid[geom] == number]
    at, axes = Y_UP @ data.xpos[number], Y_UP @ data.xmat[number].reshape(3, 3) @ Y_UP.T
    return [
        part._replace(vertices=(part.vertices - at) @ axes, normals=part.normals @ axes)
        for part in parts(body, geoms, model.geom_rgba[:, :3], model.body(number).name)
    ]


def _link(robot: ET.Element, name: str, mesh: str, vertices: np.ndarray) -> None:
    link = ET.SubElement(robot, "link", name=name)
    inertial = ET.SubElement(link, "inertial")
    ET.SubElement(inertial, "origin", xyz="0 0 0", rpy="0 0 0")
    ET.SubElement(inertial, "mass", value=str(MASS_KG))
    ET.SubElement(inertial, "inertia", ixx="1", ixy="0", ixz="0", iyy="1", iyz="0", izz="1")
    visual = ET.SubElement(link, "visual")
    ET.SubElement(visual, "origin", xyz="0 0 0", rpy="0 0 0")
    ET.SubElement(ET.SubElement(visual, "geometry"), "mesh", filename=mesh, scale="1 1 1")
    low, high = vertices.min(0), vertices.max(0)
    collision = ET.SubElement(link, "collision")
    ET.SubElement(collision, "origin", xyz=_numbers((low + high) / 2), rpy="0 0 0")
    ET.SubElement(ET.SubElement(collision, "geometry"), "box", size=_numbers(high - low))


def _joint(robot: ET.Element, link: str, body: Body, handle: str, opened: float) -> None:
    model, data = body.model, body.data
    number = int(model.body(handle).id)
    known = model.joint(handle)
    kind = "revolute" if known.type[0] == mujoco.mjtJoint.mjJNT_HINGE else "prismatic"
    axes = data.xmat[number].reshape(3, 3)
    heading = float(np.arctan2(axes[1, 0], axes[0, 0]))  # every piece stands upright
    joint = ET.SubElement(robot, "joint", name=f"{link}_joint", type=kind)
    ET.SubElement(joint, "origin", xyz=_numbers(Y_UP @ data.xpos[number]), rpy=_numbers([0.0, heading, 0.0]))
    ET.SubElement(joint, "parent", link="root")
    ET.SubElement(joint, "child", link=link)
    ET.SubElement(joint, "axis", xyz=_numbers(Y_UP @ known.axis))
    ET.SubElement(joint, "limit", lower="0", upper=f"{opened:.6f}", effort="100", velocity="10")


def _numbers(values: np.ndarray | list[float]) -> str:
    return " ".join(f"{value + 0.0:.6f}" for value in np.round(values, 6))
