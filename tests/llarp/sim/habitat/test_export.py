"""Exported scenes: files that exist, keys that habitat-sim documents, bounds and colours of their models."""

import json
import xml.etree.ElementTree as ET

import mujoco
import numpy as np
import pytest
from stand_in import read

from llarp.errors import UserError
from llarp.scenes.catalog import RECEPTACLES
from llarp.scenes.layouts import layout
from llarp.sim.drawing.bodies import Body, form_body
from llarp.sim.drawing.forms import FORMS
from llarp.sim.drawing.house import build
from llarp.sim.drawing.looks import look
from llarp.sim.habitat.export import CONFIG, export
from llarp.sim.habitat.frames import Y_UP, facing, turned, y_up, z_up
from llarp.sim.habitat.joints import JOINTS
from llarp.sim.habitat.meshes import FLOOR_M, parts, write_glb

trimesh = pytest.importorskip("trimesh")
NAME = "gen_train_0002"


@pytest.fixture(scope="module")
def house():
    return Body(build(layout(NAME)))


def corners(body, geoms):
    """Corners of the boxes around some primitives, in the world, y up."""
    unit = np.array([[i & 1, i >> 1 & 1, i >> 2] for i in range(8)]) * 2 - 1
    boxes = body.model.geom_aabb
    return np.concatenate(
        [(boxes[g, :3] + unit * boxes[g, 3:]) @ body.data.geom_xmat[g].reshape(3, 3).T + body.data.geom_xpos[g]
         for g in geoms]
    ) @ Y_UP.T  # fmt: skip


def test_every_file_that_a_configuration_names_exists(scenes):
    folder = scenes.parent
    dataset = read(scenes)
    for part in ("stages", "objects", "articulated_objects", "scene_instances"):
        for path in dataset[part]["paths"][".json"]:
            assert any((folder / path).glob("*.json"))
    configurations = [path for path in folder.rglob("*.json") if path != scenes]
    assert len(configurations) > 100
    for path in configurations:
        content = read(path)
        for key in ("render_asset", "urdf_filepath"):
            if key in content:
                assert (path.parent / content[key]).is_file()
    for path in folder.glob("urdf/*.urdf"):
        for mesh in ET.parse(path).getroot().iter("mesh"):
            assert (path.parent / mesh.get("filename")).is_file()
    for path in folder.glob("scenes/*.json"):
        content = read(path)
        assert (folder / f"{content['stage_instance']['template_name']}.stage_config.json").is_file()
        for instance in content["articulated_object_instances"]:
            assert (folder / "urdf" / f"{instance['template_name']}.ao_config.json").is_file()


def test_a_stage_is_the_house_without_what_moves(scenes, house):
    scene = trimesh.load(scenes.parent / "stages" / f"{NAME}.glb")
    model = house.model
    moving = [int(model.body(handle).id) for handle in JOINTS]
    still = [g for g in range(model.ngeom) if model.geom_bodyid[g] not in moving]
    solid = [g for g in still if model.geom_type[g] != mujoco.mjtGeom.mjGEOM_PLANE]
    around = corners(house, solid)
    low, high = around.min(0), around.max(0)
    low[1] = -FLOOR_M
    np.testing.assert_allclose(scene.bounds, [low, high], atol=1e-5)
    for body in range(1, model.nbody):
        name = model.body(body).name
        nodes = [part for part in scene.geometry if part.rsplit("_", 1)[0] == name]
        assert bool(nodes) == (body not in moving), name
        if nodes:
            vertices = np.concatenate([scene.geometry[node].vertices for node in nodes])
            around = corners(house, [g for g in still if model.geom_bodyid[g] == body])
            np.testing.assert_allclose([vertices.min(0), vertices.max(0)], [around.min(0), around.max(0)], atol=1e-5)
    painted = {tuple(mesh.visual.material.baseColorFactor[:3]) for mesh in scene.geometry.values()}
    assert painted == {tuple(np.round(model.geom_rgba[g, :3] * 255).astype(int)) for g in still}


def test_joints_are_where_the_model_has_them(scenes, house):
    model, data = house.model, house.data
    for object in ("fridge", "kitchen_counter"):
        robot = ET.parse(scenes.parent / "urdf" / f"{NAME}_{object}.urdf").getroot()
        links = {link.get("name") for link in robot.findall("link")}
        mine = {handle: joint for handle, joint in JOINTS.items() if joint.object == object}
        assert links == {"root", *(joint.link for joint in mine.values())}
        joints = {joint.find("child").get("link"): joint for joint in robot.findall("joint")}
        assert {joint.find("parent").get("link") for joint in joints.values()} == {"root"}
        for handle, joint in mine.items():
            written, number = joints[joint.link], int(model.body(handle).id)
            known = model.joint(handle)
            hinge = known.type[0] == mujoco.mjtJoint.mjJNT_HINGE
            assert written.get("type") == ("revolute" if hinge else "prismatic")
            axis = [float(v) for v in written.find("axis").get("xyz").split()]
            np.testing.assert_allclose(axis, [0, 1, 0] if hinge else [1, 0, 0])
            at = [float(v) for v in written.find("origin").get("xyz").split()]
            np.testing.assert_allclose(at, Y_UP @ data.xpos[number], atol=1e-6)
            limit = written.find("limit")
            assert (float(limit.get("lower")), float(limit.get("upper"))) == (0, pytest.approx(joint.opened))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_an_open_joint_puts_its_link_where_mujoco_does(scenes, share):
    """The chain of URDF, mesh and joint value, against MuJoCo's kinematics."""
    from pathlib import Path

    from stand_in import ManagedArticulatedObject

    body = Body(build(layout(NAME)))
    body.move({handle: share * joint.opened for handle, joint in JOINTS.items()})
    for object in ("fridge", "kitchen_counter"):
        path = Path(scenes.parent / "urdf" / f"{NAME}_{object}.urdf")
        whole = ManagedArticulatedObject(object, path, {})
        links = {whole.get_link_name(number): number for number in whole.get_link_ids()}
        mine = {handle: joint for handle, joint in JOINTS.items() if joint.object == object}
        values = [0.0] * len(links)
        for joint in mine.values():
            values[whole.get_link_joint_pos_offset(links[joint.link])] = share * joint.opened
        whole.joint_positions = values
        placed = list(whole.placed())
        for handle, joint in mine.items():
            mesh, turn, at = placed[links[joint.link]]
            vertices = (mesh.corners.reshape(-1, 3) @ turn.T) + at
            number = int(body.model.body(handle).id)
            around = corners(body, [g for g in range(body.model.ngeom) if body.model.geom_bodyid[g] == number])
            np.testing.assert_allclose([vertices.min(0), vertices.max(0)], [around.min(0), around.max(0)], atol=1e-4)


@pytest.mark.parametrize("form", sorted(FORMS))
def test_every_form_keeps_its_bounds_and_colours(form, tmp_path):
    body, scale = form_body(form), 1.1
    paints = np.linspace(0.1, 0.9, 3 * (body.paints.max() + 1)).reshape(-1, 3)
    write_glb(tmp_path / "form.glb", parts(body.body, range(len(body.paints)), paints[body.paints], "paint", scale))
    scene = trimesh.load(tmp_path / "form.glb")
    around = scale * body.corners @ Y_UP.T
    # Slack: `corners` holds boxes around turned primitives, and round ones have 24 sides.
    np.testing.assert_allclose(scene.bounds, [around.min(0), around.max(0)], atol=0.03)
    assert scene.bounds[0][1] == pytest.approx(around[:, 1].min(), abs=0.01), "it rests on its base"
    assert len(scene.geometry) == len(set(body.paints.tolist()))
    colours = {tuple(mesh.visual.material.baseColorFactor[:3]) for mesh in scene.geometry.values()}
    assert colours == {tuple(np.round(paints[number] * 255).astype(int)) for number in set(body.paints.tolist())}
    for mesh in scene.geometry.values():
        np.testing.assert_allclose(np.linalg.norm(mesh.vertex_normals, axis=1), 1, atol=1e-4)


def test_an_objects_size_and_colours_are_its_looks(scenes):
    path = min((scenes.parent / "objects").glob("017_orange-*.glb"))
    seen = look("017_orange", int(path.stem.rsplit("-", 1)[1]))
    scene = trimesh.load(path)
    size = seen.scale * np.ptp(form_body(seen.form).corners, axis=0)
    np.testing.assert_allclose(np.ptp(scene.bounds, axis=0), size[[0, 2, 1]], rtol=0.05)
    colours = {tuple(mesh.visual.material.baseColorFactor[:3]) for mesh in scene.geometry.values()}
    assert colours == {tuple(np.round(np.array(colour) * 255).astype(int)) for colour in seen.colours}


def test_receptacles_keep_the_releases_handles(scenes):
    config = json.loads((scenes.parent / "stages" / f"{NAME}.stage_config.json").read_text())
    boxes, here = config["user_defined"], layout(NAME)
    assert set(boxes) == {entry.release for entry in RECEPTACLES}
    sofa = boxes["receptacle_aabb_Sofa_frl_apartment_sofa"]
    x, y, z = here.surfaces["sofa"].center
    at = z_up(*sofa["position"])
    assert at[:2] == pytest.approx((x, y)) and at[2] - sofa["scale"][1] == pytest.approx(z)
    assert sofa["rotation"] == list(turned(here.surfaces["sofa"].yaw))


def test_frames():
    assert z_up(*y_up(1.0, 2.0, 3.0)) == (1.0, 2.0, 3.0) and y_up(0, 0, 1) == (0, 1, 0)
    w, x, y, z = facing(0.3)
    ahead = np.array([-2 * (x * z + w * y), 2 * (w * x - y * z), -(1 - 2 * (x * x + y * y))])  # of (0, 0, -1)
    np.testing.assert_allclose(z_up(*ahead), (np.cos(0.3), np.sin(0.3), 0), atol=1e-12)


def test_the_same_layout_gives_the_same_bytes(tmp_path):
    looks = [("013_apple", 0)]
    for folder in ("a", "b"):
        export([NAME], tmp_path / folder, looks)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) > 10
    assert all((tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes() for path in files)


def test_an_export_replaces_an_earlier_one_and_nothing_else(tmp_path):
    out = tmp_path / "scenes"
    assert export([NAME], out, []) == out / CONFIG
    export(["gen_train_0000"], out, [])
    assert [path.name for path in (out / "scenes").iterdir()] == ["gen_train_0000.scene_instance.json"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years")
    with pytest.raises(UserError, match="something else"):
        export([NAME], tmp_path / "mine", [])
    with pytest.raises(UserError, match="castle"):
        export([NAME, "castle"], tmp_path / "new", [])
    assert not (tmp_path / "new").exists() and (tmp_path / "mine" / "thesis.tex").read_text() == "years"
