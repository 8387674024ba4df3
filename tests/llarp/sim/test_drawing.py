"""What compiled code draws is what MuJoCo's rays see in one model of the whole scene."""

import numpy as np
import pytest
from mujoco_rays import cast, everything, rays, see
from sim_episodes import inside, make_episode

from llarp.config import CameraConfig
from llarp.scenes.catalog import CATEGORIES, NAV_TARGETS
from llarp.scenes.layout import Pose
from llarp.scenes.layouts import layout, room
from llarp.sim.drawing.bodies import form_body
from llarp.sim.drawing.camera import Camera, turn
from llarp.sim.drawing.forms import FORMS
from llarp.sim.drawing.looks import look
from llarp.sim.drawing.painter import Painter, Placement
from llarp.sim.embedded import EmbeddedSimulator
from llarp.tasks.skills import SKILLS, Skill

CAMERA = CameraConfig(width=80, height=64, fov_deg=80, tilt_deg=40, elevation_m=1.5)


def elsewhere(camera, hits, geom, distance):
    """Share of rays that meet another place than MuJoCo's; of two faces in one plane either may be met."""
    distance = distance.reshape(hits.face.shape)
    along = hits.depth / (rays(camera) @ camera.axes[2]).reshape(distance.shape)  # metres along each ray
    far = np.abs(along - distance) > 1e-4
    hit, met = hits.covered, geom.reshape(distance.shape) >= 0
    same = hits.face >> 2 == geom.reshape(distance.shape)
    assert not (far & same & hit).any(), "another place of the same solid"
    return ((hit != met) | (far & hit & met)).mean()


def test_a_picture_is_what_mujocos_rays_see():
    """Open doors and drawers, moved objects and generated layouts; without what the hand holds."""
    simulator, camera = EmbeddedSimulator(CAMERA), Camera(CAMERA)
    painter, rng, other, wrong = Painter(camera), np.random.default_rng(0), [], []
    for seed in range(4):
        name = f"gen_train_{seed:04d}"
        opened = [("opened_fridge", ("fridge_handle",)), ("opened_cab", ("left_drawer_handle",))][: seed % 3]
        simulator.reset(make_episode(seed, name, [inside("fridge", name)], opened))
        for target in NAV_TARGETS:
            simulator.apply(Skill("nav", target))
            valid = [skill for skill in SKILLS if skill.verb != "nav" and simulator.is_valid(skill)]
            if valid:
                simulator.apply(valid[rng.integers(len(valid))])
            view = simulator.view()
            seen = simulator.layout, simulator.pose, view.joints, view.placements
            geom, distance, image = see(camera, simulator.pose, everything(simulator.layout, *seen[2:]))
            hits = painter.cast(*seen)
            other.append(elsewhere(camera, hits, geom, distance))
            wrong.append((np.abs(painter.draw(*seen).astype(int) - image).max(-1) > 1).mean())
    # A ray along an edge may fall on either side.
    assert np.mean(other) < 1e-4 and max(other) < 1e-3
    assert np.mean(wrong) < 1e-4 and max(wrong) < 1e-3


def test_every_form_is_what_mujocos_rays_see():
    """Each form alone, turned several ways, large in a large picture."""
    camera = Camera(CAMERA.model_copy(update={"width": 240, "height": 192}))
    painter, covered = Painter(camera), 0
    assets = {look(asset, 0).form: asset for category in CATEGORIES for asset in category.assets}
    assert set(assets) == set(FORMS)
    for number, (form, asset) in enumerate(assets.items()):
        placement = Placement(asset, 0, 0.45, 0.05, 1.0 + 0.05 * (number % 5), 0.7 * number)
        pose = Pose(0.0, 0.0, 0.1 * (number % 5))
        hits = painter.cast(None, pose, placements=[placement])
        seen, axes = look(asset, 0), turn(placement.yaw)
        eye = (camera.eye_at(pose) - placement[2:5]) @ axes / seen.scale
        geom, distance, _ = cast(form_body(form).body, eye, rays(camera) @ turn(pose.heading).T @ axes)
        assert elsewhere(camera, hits, geom, distance * seen.scale) < 1e-3, form
        covered += (hits.covered & (geom.reshape(hits.face.shape) >= 0)).sum()
    assert covered / len(assets) > 1000


def test_the_eye_inside_a_solid():
    """From inside a wall one sees its far faces, as MuJoCo's rays do, and they are shaded as it says."""
    camera, here = Camera(CAMERA), layout("gen_train_0000")
    left, near, _, far = room(here)
    pose = Pose(left - 0.05, (near + far) / 2, 0.3)
    geom, distance, image = see(camera, pose, everything(here, (), ()))
    hits, drawn = Painter(camera).cast(here, pose), Painter(camera).draw(here, pose)
    assert elsewhere(camera, hits, geom, distance) < 1e-3
    wall = np.bincount(geom[geom >= 0]).argmax()
    same = (hits.face >> 2 == geom) & (geom == wall)
    assert same.mean() > 0.5 and distance[same].min() < 0.12
    assert np.abs(drawn.astype(int) - image)[same].max() <= 1


def test_what_the_hand_holds_is_in_front_and_the_same_everywhere():
    painter, here = Painter(Camera(CAMERA)), layout("gen_train_0000")
    held, empty = {}, painter.draw(None, Pose(0, 0, 0))
    for target in ("sofa", "fridge"):
        pose = here.standing[target]
        without, image = painter.draw(here, pose), painter.draw(here, pose, held=("013_apple", 0))
        hand = painter.cast(None, pose, held=("013_apple", 0)).covered
        assert hand.sum() > 60
        np.testing.assert_array_equal(image[~hand], without[~hand])
        held[target] = image[hand]
    np.testing.assert_array_equal(held["sofa"], held["fridge"])
    assert (empty == empty[0, 0]).all(), "nothing but sky"


@pytest.mark.parametrize("heading", [0.0, 1.0, -2.5])
def test_pixel_boxes_hold_the_points_they_are_for(heading):
    camera, pose = Camera(CAMERA), Pose(0.3, -0.2, heading)
    directions = rays(camera).reshape(camera.height, camera.width, 3)
    rng = np.random.default_rng(3)
    for row, column in rng.integers(0, (CAMERA.height, CAMERA.width), (50, 2)):
        point = camera.eye_at(pose) + rng.uniform(0.5, 5) * turn(heading) @ directions[row, column]
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
