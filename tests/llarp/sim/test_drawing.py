"""What is drawn piece by piece, and only where it moves, equals one cast of everything at every pixel."""

import math

import numpy as np
import pytest
from sim_episodes import inside, make_episode

from llarp.config import CameraConfig
from llarp.scenes.catalog import NAV_TARGETS
from llarp.scenes.layout import Pose
from llarp.sim.bodies import Body, add_solids
from llarp.sim.camera import LIGHT, Camera, shade, turn
from llarp.sim.drawing import SKY, Painter, in_hand, planks
from llarp.sim.embedded import EmbeddedSimulator
from llarp.sim.forms import FORMS, Solid
from llarp.sim.house import build
from llarp.sim.looks import look
from llarp.tasks.skills import SKILLS, Skill

CAMERA = CameraConfig(width=80, height=64, fov_deg=80, tilt_deg=40, elevation_m=1.5)


def draw_everything_at_once(simulator):
    """The same view from one MuJoCo model that holds furniture and objects, cast at every pixel."""
    spec = build(simulator.layout)
    for placement in simulator.view().placements:
        seen = look(placement.asset, placement.variant)
        quaternion = [math.cos(placement.yaw / 2), 0, 0, math.sin(placement.yaw / 2)]
        body = spec.worldbody.add_body(pos=placement[2:5], quat=quaternion)
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
        add_solids(body, scaled, seen.colours)
    body = Body(spec)
    body.move(dict(simulator.view().joints))
    camera, pose = Camera(CAMERA), simulator.pose
    eye = camera.eye_at(pose)
    rays = np.ascontiguousarray(camera.rays.reshape(-1, 3) @ turn(pose.heading).T)
    hits = body.cast(eye, rays)
    albedo = body.model.geom_rgba[hits.geom, :3]
    floor = hits.geom == body.model.geom("floor").id
    albedo[floor] *= planks((eye + hits.distance[:, None] * rays)[floor, :2])[:, None]
    image = shade(albedo, hits.normal, rays, hits.distance, LIGHT)
    image[hits.geom < 0] = SKY
    if simulator.view().held:
        hand = in_hand(CAMERA, *simulator.view().held)
        image[hand.pixels] = hand.colours
    return image.reshape(simulator.image_shape)


def test_it_equals_one_cast_of_everything():
    simulator = EmbeddedSimulator(CAMERA)
    rng = np.random.default_rng(0)
    wrong = []
    for seed in range(4):
        opened = [("opened_fridge", ("fridge_handle",)), ("opened_cab", ("left_drawer_handle",))][: seed % 3]
        simulator.reset(
            make_episode(seed, f"gen_train_{seed:04d}", [inside("fridge", f"gen_train_{seed:04d}")], opened)
        )
        for target in NAV_TARGETS:
            simulator.apply(Skill("nav", target))
            valid = [skill for skill in SKILLS if skill.verb != "nav" and simulator.is_valid(skill)]
            if valid:
                simulator.apply(valid[rng.integers(len(valid))])
            difference = np.abs(simulator.render().astype(int) - draw_everything_at_once(simulator)).max(-1)
            wrong.append((difference > 1).mean())
    # Rounding differs between an object's own frame and the world's: a ray along an edge may fall on either side.
    assert np.mean(wrong) < 1e-4 and max(wrong) < 1e-3


def test_rays_are_cast_at_what_moves_only():
    simulator = EmbeddedSimulator(CAMERA)
    simulator.painter = Painter(Camera(CAMERA))
    simulator.reset(make_episode(1))
    simulator.apply(Skill("nav", "brown_table"))
    simulator.render()
    first = simulator.painter.num_rays
    assert first >= CAMERA.width * CAMERA.height
    simulator.render()
    assert simulator.painter.num_rays == first, "nothing moved"
    name = next(name for name, place in simulator.where.items() if place == "brown_table")
    simulator.apply(Skill("pick", simulator.objects[name].category))
    simulator.apply(Skill("place", "brown_table"))
    simulator.render()
    assert 0 < simulator.painter.num_rays - first < CAMERA.width * CAMERA.height / 4


@pytest.mark.parametrize("heading", [0.0, 1.0, -2.5])
def test_pixel_boxes_hold_the_points_they_are_for(heading):
    camera, pose = Camera(CAMERA), Pose(0.3, -0.2, heading)
    rng = np.random.default_rng(3)
    for row, column in rng.integers(0, (CAMERA.height, CAMERA.width), (50, 2)):
        point = camera.eye_at(pose) + rng.uniform(0.5, 5) * turn(heading) @ camera.rays[row, column]
        cube = point + 0.01 * np.array([(i, j, k) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)])
        top, bottom, left, right = camera.pixel_boxes(cube[None], pose)[0]
        assert top <= row < bottom and left <= column < right
        assert bottom - top < 8 and right - left < 8


def test_pixel_boxes_beside_and_behind_the_camera():
    camera, pose = Camera(CAMERA), Pose(0, 0, 0)
    cube = 0.05 * np.array([(i, j, k) for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)])
    ahead, behind, beside, around = (cube + offset for offset in ((2, 0, 0), (-2, 0, 0), (0, 2, 1), (0, 0, 1.5)))
    boxes = camera.pixel_boxes(np.stack([ahead, behind, beside, around]), pose)
    empty = (boxes[:, 0] >= boxes[:, 1]) | (boxes[:, 2] >= boxes[:, 3])
    assert empty.tolist() == [False, True, True, False]
    assert boxes[3].tolist() == [0, CAMERA.height, 0, CAMERA.width]
