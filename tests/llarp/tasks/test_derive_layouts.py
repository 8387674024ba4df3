import json
import math
import random
import subprocess
import sys
from importlib.resources import files as resources

import pytest
import released_files as files

from llarp.scenes.layout import Surface
from llarp.tasks.derive_layouts import Evidence, fit, fit_fronts


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


def test_damaged_input_ends_in_one_line_and_no_file(tmp_path):
    (tmp_path / "new_scenes.pickle").write_bytes(b"no pickle")
    command = [sys.executable, "-m", "llarp.tasks.derive_layouts", str(tmp_path), "--out", str(tmp_path / "x.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0 and "is no whole pickle" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "x.json").exists()


@files.needs_release
def test_the_committed_layouts_are_what_the_release_says(tmp_path):
    out = tmp_path / "layouts.json"
    command = [sys.executable, "-m", "llarp.tasks.derive_layouts", str(files.released_folder()), "--out", str(out)]
    subprocess.run(command, check=True, timeout=240)
    assert json.loads(out.read_text()) == json.loads(
        resources("llarp.scenes").joinpath("data/layouts.json").read_text()
    )
