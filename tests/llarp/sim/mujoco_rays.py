"""What MuJoCo's own rays see: the reference for the compiled drawing, with its own shading in numpy."""

import math

import mujoco
import numpy as np

from llarp.sim.drawing.bodies import Body, add_solids
from llarp.sim.drawing.camera import turn
from llarp.sim.drawing.forms import FORMS, Solid
from llarp.sim.drawing.house import build
from llarp.sim.drawing.looks import look
from llarp.sim.drawing.raycast import FAR_M
from llarp.sim.drawing.shading import AMBIENT, FOG, HEAD, LAMP, LIGHT, SKY


def rays(camera):
    """float64[H * W, 3] unit vectors in the robot's frame."""
    rows, columns = np.mgrid[: camera.height, : camera.width] + 0.5
    x, y = (columns - camera.width / 2) / camera.focal, (rows - camera.height / 2) / camera.focal
    directions = np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3) @ camera.axes
    return directions / np.linalg.norm(directions, axis=-1, keepdims=True)


def cast(body, eye, directions):
    """Geom (-1 where nothing), distance and outward normal of what each ray meets first, by mj_multiRay."""
    directions = np.ascontiguousarray(directions)
    count = len(directions)
    geom, distance, normal = np.empty(count, np.int32), np.empty(count), np.zeros((count, 3))
    mujoco.mj_multiRay(
        body.model, body.data, eye, directions.reshape(-1), None, 1, -1,
        geom, distance, normal.reshape(-1), count, FAR_M,
    )  # fmt: skip
    return geom, distance, normal


def everything(layout, joints, placements):
    """One MuJoCo model of furniture and objects; its geoms are in the order in which the drawing numbers them."""
    spec = build(layout)
    for placement in placements:
        seen = look(placement.asset, placement.variant)
        quaternion = [math.cos(placement.yaw / 2), 0, 0, math.sin(placement.yaw / 2)]
        scaled = [
            Solid(
                solid.shape,
                tuple(seen.scale * value for value in solid.size),
                tuple(seen.scale * value for value in solid.at),
                solid.paint,
                solid.turn_deg,
            )
            for solid in FORMS[seen.form]
        ]
        add_solids(spec.worldbody.add_body(pos=placement[2:5], quat=quaternion), scaled, seen.colours)
    body = Body(spec)
    body.move(dict(joints))
    return body


def see(camera, pose, body):
    """Geoms and distances, [H, W], and the image of a model."""
    eye, directions = camera.eye_at(pose), rays(camera) @ turn(pose.heading).T
    geom, distance, normal = cast(body, eye, directions)
    albedo = body.model.geom_rgba[geom, :3]
    floor = geom == body.model.geom("floor").id
    x, y = (eye + distance[:, None] * directions)[floor, :2].T
    row = np.floor(y / 0.22)
    noise = np.sin(12.9898 * row + 78.233 * np.floor(x / 1.4 + 0.37 * row)) * 43758.5453
    albedo[floor] *= 0.90 + 0.14 * np.mod(noise, 1.0)[:, None]
    lamp, head = np.maximum(normal @ LIGHT, 0), np.maximum(-(normal * directions).sum(1), 0)
    brightness = (AMBIENT + LAMP * lamp + HEAD * head) * np.exp(-FOG * distance)
    image = (np.minimum(albedo * brightness[:, None], 1) * 255 + 0.5).astype(np.uint8)
    image[geom < 0] = SKY
    shape = camera.height, camera.width
    return geom.reshape(shape), distance.reshape(shape), image.reshape(*shape, 3)
