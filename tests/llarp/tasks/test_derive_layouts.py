import json
import math
import random
from importlib.resources import files as resources
from pathlib import Path

import pytest
import released_files as files

from llarp.errors import UserError
from llarp.scenes import layouts
from llarp.scenes.layout import Surface
from llarp.tasks.released.derive_layouts import held_out, write
from llarp.tasks.released.fit_places import Evidence, fit, fit_fronts, fit_places
from llarp.tasks.released.release import read


@pytest.mark.parametrize("yaw_deg", [0, 90, 20, 54, 132])
def test_a_rectangle_is_found_again_from_points_on_it(yaw_deg):
    rng = random.Random(yaw_deg)
    half = (0.25, 0.75)
    surface = Surface((1.2, -3.4, 0.0), half, math.radians(yaw_deg))
    points = [surface.to_world(rng.uniform(-1, 1) * half[0], rng.uniform(-1, 1) * half[1]) for _ in range(200)]
    x, y, yaw = fit(points, half)
    assert (x, y) == pytest.approx((1.2, -3.4), abs=0.03)
    assert abs(math.remainder(yaw - surface.yaw, math.pi)) < math.radians(4)


def test_a_piece_faces_the_side_that_is_free():
    places = {"sofa": (0.0, 0.0, 0.0), "tv_stand": (1.2, 0.0, 0.0)}
    assert abs(fit_fronts(places, Evidence())["sofa"][2]) == pytest.approx(math.pi)


@pytest.mark.parametrize("times_near, front", [(3, 0.0), (0, math.pi)])
def test_a_piece_faces_the_side_from_which_the_record_is_true(times_near, front):
    places = {"sofa": (0.0, 0.0, 0.0), "chair": (-0.9, 0.9, 0.0)}  # ahead of a robot at x > 0, behind one at x < 0
    scene = Evidence()
    scene.visits["sofa"] = 3
    scene.near["sofa"]["chair"] = times_near
    assert abs(fit_fronts(places, scene)["sofa"][2]) == pytest.approx(front)


def test_a_piece_on_which_nothing_lies_is_named():
    scene = Evidence(points={"sofa": [(0.0, 0.0)], "black_table": [], "brown_table": [(1.0, 0.0)], "tv_stand": []})
    scene.points |= {"left_counter": [(0.0, 0.0)], "sink": [(0.0, 0.0)], "right_counter": [(0.0, 0.0)]}
    with pytest.raises(UserError, match=r"scene here.*nothing lies on black_table, tv_stand"):
        fit_places({"here": scene}, {"here": "sc9"})


def test_damaged_input_leaves_no_file(tmp_path):
    (tmp_path / "new_scenes.pickle").write_bytes(b"no pickle")
    with pytest.raises(UserError, match="is no whole pickle"):
        write([tmp_path], tmp_path / "x.json")
    assert not (tmp_path / "x.json").exists()


def test_a_fit_of_what_is_held_out_is_refused(tmp_path):
    with pytest.raises(UserError, match="all episodes named are held out"):
        write([files.write(tmp_path, name="novel_objects")], tmp_path / "x.json")


def test_every_fifth_episode_of_train_validation_is_held_out(tmp_path):
    data = files.content()
    data["all_eps"] *= 7
    kept = [not held_out(episode) for episode in read([files.write(tmp_path, data)])]
    assert kept == [False, True, True, True, True, False, True]
    assert not any(map(held_out, read([files.write(tmp_path, data, name="new_scenes")])[:7]))
    assert all(map(held_out, read([files.write(tmp_path, data, name="conditional_instructions")])))


@files.needs_release
def test_a_scene_from_elsewhere_is_fitted_and_then_found(tmp_path, monkeypatch):
    """Episodes of a known scene under another name are refused, fitted, and then imported in the fitted scene."""
    source = files.released_folder() / "new_scenes.pickle"
    renamed = tmp_path / "new_scenes.pickle"
    renamed.write_bytes(source.read_bytes().replace(b"v3_sc3_staging_0", b"v3_sc8_staging_0"))
    with pytest.raises(UserError, match="unknown scene 'v3_sc8_staging_00'.*llarp simulator fit .*LLARP_LAYOUTS=FILE"):
        read([renamed])
    out = tmp_path / "layouts.json"
    assert write([renamed], out) == 15
    monkeypatch.setenv(layouts.LAYOUTS_VARIABLE, str(out))
    layouts._data.cache_clear()
    layouts.layout.cache_clear()
    try:
        assert len(read([renamed])) == 100
        here, there = (layouts.layout(f"v3_{family}_staging_00") for family in ("sc8", "sc3"))
        assert here.family == "sc8"
        for id, surface in there.surfaces.items():
            if surface.center[2] and id in ("sofa", "brown_table", "sink"):
                assert math.dist(here.surfaces[id].center[:2], surface.center[:2]) < 0.15
    finally:
        monkeypatch.undo()
        layouts._data.cache_clear()
        layouts.layout.cache_clear()


@files.needs_release
def test_the_committed_layouts_are_what_the_release_says(tmp_path):
    out = tmp_path / "layouts.json"
    write([files.released_folder()], out)
    fresh, kept = (
        json.loads(path.read_text()) for path in (out, Path(str(resources("llarp.scenes") / "data/layouts.json")))
    )
    assert (fresh["about"], fresh["sources"]) == (kept["about"], kept["sources"])
    assert fresh["layouts"].keys() == kept["layouts"].keys()
    for name, entry in kept["layouts"].items():
        for section, numbers in entry.items():
            for id, values in numbers.items():
                assert fresh["layouts"][name][section][id] == pytest.approx(values, abs=0.002), f"{name} {section} {id}"
