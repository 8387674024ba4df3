"""The adapter keeps the simulators' contract on a stand-in for habitat-sim, and shows what the embedded one shows."""

import math
import sys
from dataclasses import replace

import numpy as np
import pytest
from sim_episodes import make_episode
from simulator_contract import SimulatorContract

from llarp.config import CameraConfig, SimulatorConfig, load_params
from llarp.errors import UserError
from llarp.sim.embedded import EmbeddedSimulator
from llarp.sim.habitat import apartment, library
from llarp.sim.habitat.simulator import HabitatSimulator
from llarp.sim.make import make_simulator
from llarp.sim.rules import measure
from llarp.tasks.skills import Skill

CAMERA = load_params().camera
SMALL = CAMERA.model_copy(update={"width": 48, "height": 48})


def config(scenes, objects=None):
    return SimulatorConfig(name="habitat", scenes=str(scenes), objects=objects)


class TestHabitatSimulator(SimulatorContract):
    @pytest.fixture
    def simulator(self, habitat, scenes):
        return HabitatSimulator(CAMERA, config(scenes))


def colours(image):
    """[H, W, 2] what is left of colours whatever the light."""
    image = image.astype(float) + 4
    return (image / image.sum(-1, keepdims=True))[..., :2]


@pytest.mark.parametrize(
    "skills",
    [
        (Skill("nav", "sofa"),),
        (Skill("nav", "left_counter"),),
        (Skill("nav", "fridge_handle"), Skill("open_fridge")),
        (Skill("nav", "right_drawer_handle"), Skill("open_cab", "right_drawer_handle")),
        (Skill("nav", "bottom_drawer_handle"), Skill("open_cab", "bottom_drawer_handle")),
    ],
    ids=lambda skills: str(skills[-1]),
)
def test_exported_scenes_look_like_embedded_ones(habitat, scenes, monkeypatch, skills):
    """With the camera above the base's axis both see the same geometry: nearly every pixel has the same hue."""
    monkeypatch.setattr(apartment, "HEAD_FORWARD_M", 0.0)
    pictures = []
    for simulator in (EmbeddedSimulator(CAMERA), HabitatSimulator(CAMERA, config(scenes))):
        simulator.reset(make_episode(10))
        assert all(simulator.apply(skill) for skill in skills)
        pictures.append(colours(simulator.render()))
    difference = np.abs(pictures[0] - pictures[1]).max(-1)
    assert (difference < 0.03).mean() > 0.97


def test_what_is_held_is_where_the_embedded_simulator_draws_it(habitat, scenes, monkeypatch):
    monkeypatch.setattr(apartment, "HEAD_FORWARD_M", 0.0)
    changed = []
    for simulator in (EmbeddedSimulator(CAMERA), HabitatSimulator(CAMERA, config(scenes))):
        simulator.reset(make_episode(8))
        category = next(entry.category for entry in simulator.episode.objects if entry.receptacle == "brown_table")
        simulator.apply(Skill("nav", "sofa"))
        empty = simulator.render()
        for skill in (Skill("nav", "brown_table"), Skill("pick", category), Skill("nav", "sofa")):
            assert simulator.apply(skill)
        changed.append((simulator.render() != empty).any(-1))
    assert (changed[0] & changed[1]).sum() > 0.9 * (changed[0] | changed[1]).sum()


def test_one_simulator_serves_all_worlds_of_a_process(habitat, scenes):
    first, second = (HabitatSimulator(SMALL, config(scenes)) for _ in range(2))
    first.reset(make_episode(0))
    second.reset(make_episode(1, "gen_train_0002"))
    before = first.render(), second.render()
    assert habitat.Simulator.running == 1
    np.testing.assert_array_equal(first.render(), before[0])
    np.testing.assert_array_equal(second.render(), before[1])
    first.apartment.close()
    assert habitat.Simulator.running == 0
    np.testing.assert_array_equal(first.render(), before[0])


def test_no_object_is_left_behind(habitat, scenes):
    simulator = HabitatSimulator(SMALL, config(scenes))
    for seed in (0, 1):
        simulator.reset(make_episode(seed))
        simulator.render()
        manager = simulator.apartment._simulator.get_rigid_object_manager()
        assert manager.get_num_objects() == len(simulator.objects)


def test_standing_points_are_on_the_nav_mesh(habitat, scenes, monkeypatch):
    """A point that the nav mesh lacks moves to the nearest, and the robot still faces what it went to."""
    simulator = HabitatSimulator(SMALL, config(scenes))
    plain = EmbeddedSimulator(SMALL)
    for each in (plain, simulator):
        each.reset(make_episode(0))
        each.apply(Skill("nav", "sofa"))
    assert simulator.pose == plain.pose, "it is navigable already"

    monkeypatch.setattr(habitat.PathFinder, "nudge", staticmethod(lambda x, y, z: (x + 0.3, 0.1, z - 0.4)))
    moved = HabitatSimulator(SMALL, config(scenes))
    moved.reset(make_episode(0))
    moved.apply(Skill("nav", "sofa"))
    assert moved.pose.x == pytest.approx(plain.pose.x + 0.3) and moved.pose.y == pytest.approx(plain.pose.y + 0.4)
    sofa = plain.layout.surfaces["sofa"].center[:2]
    assert moved.pose.bearing(*sofa) == pytest.approx(plain.pose.bearing(*sofa), abs=1e-9)
    assert moved.geometry == measure(moved.layout, moved.geometry.start) != simulator.geometry, "the rules go by it"
    assert moved.view_key() != simulator.view_key()


@pytest.mark.parametrize("nearest", [(math.nan,) * 3, (50.0, 0.1, 0.0), (0.0, 0.9, 0.0)])
def test_a_point_without_nav_mesh_near_it_stays(habitat, scenes, monkeypatch, nearest):
    """Nowhere, far away, or on top of a table."""
    monkeypatch.setattr(
        habitat.PathFinder, "nudge", staticmethod(lambda x, y, z: nearest if nearest[0] != 0 else (x, nearest[1], z))
    )
    simulator = HabitatSimulator(SMALL, config(scenes))
    simulator.reset(make_episode(0))
    plain = EmbeddedSimulator(SMALL)
    plain.reset(make_episode(0))
    assert simulator.layout == plain.layout and simulator.pose == plain.pose


def test_keys_tell_apart_all_that_could_be_seen(habitat, scenes):
    episode = make_episode(1)
    entry = episode.objects[0]

    def key(camera=SMALL, changed=entry, start=()):
        simulator = HabitatSimulator(camera, config(scenes))
        simulator.reset(replace(make_episode(1, start=start), objects=(changed, *episode.objects[1:])))
        return simulator.view_key()

    x, y, z = entry.position
    keys = [
        key(),
        key(changed=replace(entry, variant=(entry.variant + 1) % 12)),
        key(changed=replace(entry, position=(x + 0.01, y, z))),
        key(changed=replace(entry, quaternion=(1.0, 0.0, 0.0, 0.0))),
        key(camera=CameraConfig(**{**SMALL.model_dump(), "tilt_deg": SMALL.tilt_deg + 1})),
        key(start=[("opened_fridge", ("fridge_handle",))]),
    ]
    assert len(set(keys)) == len(keys)
    assert key(changed=replace(entry, name="another:0")) == keys[0], "names are not seen"
    embedded = EmbeddedSimulator(SMALL)
    embedded.reset(episode)
    assert embedded.view_key() != keys[0]


def test_released_scenes_name_objects_by_asset_in_a_folder_of_their_own(habitat, scenes, tmp_path):
    """As YCB's: no variants, found through `simulator.objects`."""
    folder = tmp_path / "ycb"
    folder.mkdir()
    mesh = next(path for path in (scenes.parent / "objects").glob("013_apple-*.glb"))
    (folder / "013_apple.glb").write_bytes(mesh.read_bytes())
    text = mesh.with_suffix(".object_config.json").read_text().replace(mesh.name, "013_apple.glb")
    (folder / "013_apple.object_config.json").write_text(text)
    episode = make_episode(0)
    apple = replace(episode.objects[0], asset="013_apple", category="apple", variant=11, name="013_apple:0")
    if (scenes.parent / "objects" / "013_apple-11.glb").exists():
        pytest.fail("the test wants a variant that was not exported")
    alone = replace(episode, objects=(apple,))
    simulator = HabitatSimulator(SMALL, config(scenes))
    simulator.reset(alone)
    with pytest.raises(UserError, match=r"013_apple.*simulator\.objects"):
        simulator.render()
    simulator = HabitatSimulator(SMALL, config(scenes, str(folder)))
    simulator.reset(alone)
    simulator.render()
    (body,) = simulator.apartment._bodies["013_apple", 11]
    low = body.root_scene_node.cumulative_bb.min[1]
    assert body.translation[1] + low == pytest.approx(simulator.layout.surfaces[apple.receptacle].center[2])


def test_the_parameters_choose_it(habitat, scenes):
    params = load_params()
    chosen = params.model_copy(update={"simulator": config(scenes)})
    assert isinstance(make_simulator(params), EmbeddedSimulator)
    assert isinstance(make_simulator(chosen), HabitatSimulator)


@pytest.mark.parametrize(
    ("scenes", "objects", "said"),
    [(None, None, "simulator.scenes"), ("nowhere.json", None, "nowhere.json does not exist")],
)
def test_paths_that_are_wrong_are_the_users_errors(habitat, scenes, objects, said):
    with pytest.raises(UserError, match=said):
        HabitatSimulator(SMALL, SimulatorConfig(name="habitat", scenes=scenes, objects=objects))


def test_a_scene_that_was_not_exported_is_named(habitat, scenes):
    simulator = HabitatSimulator(SMALL, config(scenes))
    with pytest.raises(UserError, match="gen_new_0007.*llarp simulator export gen_new_0007"):
        simulator.reset(make_episode(0, "gen_new_0007"))


def test_its_absence_is_one_line_that_tells_how_to_get_it(scenes, monkeypatch):
    monkeypatch.setitem(sys.modules, "habitat_sim", None)
    with pytest.raises(UserError) as error:
        HabitatSimulator(SMALL.model_copy(update={"width": 40}), config(scenes))
    assert "environment.habitat.yml" in str(error.value) and "\n" not in str(error.value)


def test_a_build_without_bullet_is_refused(habitat, scenes, monkeypatch):
    monkeypatch.setattr(habitat, "built_with_bullet", False)
    with pytest.raises(UserError, match="withbullet"):
        HabitatSimulator(SMALL, config(scenes))


def test_the_device_is_tried_in_another_process(monkeypatch):
    """A GPU on which habitat-sim would end the process is not chosen."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(library.Path, "glob", lambda *_: iter([library.Path("/dev/nvidia0")]))
    for works, chosen in ((True, library.GPU), (False, library.CPU)):
        library.device.cache_clear()
        monkeypatch.setattr(library, "_draws", lambda number, works=works: works)
        assert library.device() == chosen
    library.device.cache_clear()
    monkeypatch.setattr(library.Path, "glob", lambda *_: iter([]))
    assert library.device() == library.CPU
    library.device.cache_clear()


def test_a_probe_that_dies_says_no(monkeypatch):
    monkeypatch.setattr(library, "_PROBE", "import os; os.abort()")
    assert library._draws(0) is False
    monkeypatch.setattr(library, "_PROBE", "")
    assert library._draws(0) is True
