import itertools
import json
import math
from importlib.resources import files
from statistics import median

import pytest

from llarp.errors import UserError
from llarp.scenes import layouts
from llarp.scenes.catalog import HANDLES, NAV_TARGETS, OPEN_RECEPTACLES, RECEPTACLES
from llarp.scenes.furniture import FURNITURE, KITCHEN, ROBOT_RADIUS, clearance, overlap
from llarp.scenes.layout import Surface
from llarp.scenes.layouts import bodies, layout, released, room, start

GENERATED = [f"gen_{kind}_{number:04d}" for kind in ("train", "new") for number in range(25)]


def corners(surface):
    return [surface.to_world(u * surface.half[0], v * surface.half[1]) for u in (-1, 0, 1) for v in (-1, 0, 1)]


def test_the_released_layouts_are_fifteen_and_nineteen():
    families = [layout(name).family for name in released()]
    assert (families.count("sc0"), families.count("sc3"), len(families)) == (15, 19, 34)


@pytest.mark.parametrize("name", [*released(), *GENERATED])
class TestEveryLayout:
    def test_it_has_everything(self, name):
        here = layout(name)
        assert list(here.surfaces) == [entry.id for entry in RECEPTACLES]
        assert list(here.handles) == [entry.id for entry in HANDLES]
        assert list(here.standing) == list(NAV_TARGETS)

    def test_from_its_standing_point_the_robot_reaches_all_of_a_surface(self, name):
        here = layout(name)
        for id, surface in here.surfaces.items():
            pose = here.standing[id]
            assert pose.bearing(*surface.center[:2]) < 1e-6, f"{id} is not faced"
            for x, y in corners(surface):
                assert pose.distance(x, y) <= 1.5 and pose.bearing(x, y) <= 1.0, f"a corner of {id} is out of reach"

    def test_handles_are_near_and_in_front(self, name):
        here = layout(name)
        for id, (x, y, _) in here.handles.items():
            assert here.standing[id].distance(x, y) <= 1.5 and here.standing[id].bearing(x, y) <= 1.0

    def test_the_kitchen_runs_from_left_to_right_for_who_faces_it(self, name):
        here = layout(name)
        pose = here.standing["sink"]
        ahead = [here.surfaces[id].to_local(pose.x, pose.y) for id in KITCHEN]
        assert all(u > 0 for u, _ in ahead)
        left, middle, right = (
            math.remainder(
                math.atan2(here.surfaces[id].center[1] - pose.y, here.surfaces[id].center[0] - pose.x) - pose.heading,
                math.tau,
            )
            for id in KITCHEN
        )
        assert left > middle > right

    def test_receptacles_and_handles_are_near_from_before_them(self, name):
        here = layout(name)
        for target, pose in here.standing.items():
            x, y = here.points[target]
            assert pose.distance(x, y) <= 2.0 and pose.bearing(x, y) <= math.pi / 2, f"{target} is not near"

    def test_at_the_start_nothing_is_within_two_metres_ahead(self, name):
        here = layout(name)
        pose = start(here)
        points = [surface.center for surface in here.surfaces.values()] + list(here.handles.values())
        points += here.points.values()
        assert not [at for at in points if pose.distance(*at[:2]) <= 2.0 and pose.bearing(*at[:2]) <= math.pi / 2]
        assert min(clearance(pose.x, pose.y, rect) for rect in bodies(here).values()) >= ROBOT_RADIUS

    def test_walls_are_around_everything(self, name):
        here = layout(name)
        x0, y0, x1, y1 = room(here)
        for rect in bodies(here).values():
            assert all(x0 < x < x1 and y0 < y < y1 for x, y in corners(rect))
        assert all(x0 < pose.x < x1 and y0 < pose.y < y1 for pose in here.standing.values())


@pytest.mark.parametrize("name", GENERATED)
def test_generated_furniture_does_not_overlap_and_leaves_the_robot_room(name):
    here = layout(name)
    rects = bodies(here)
    for (first, a), (second, b) in itertools.combinations(rects.items(), 2):
        if not {first, second} <= set(KITCHEN):  # the parts of the kitchen block touch
            assert not overlap(a, b), f"{first} and {second}"
    for target, pose in here.standing.items():
        for id, rect in rects.items():
            assert clearance(pose.x, pose.y, rect) >= ROBOT_RADIUS - 1e-9, f"{id} before {target}"


def test_a_layout_depends_on_its_name_alone():
    before = layout("gen_train_0007")
    layout.cache_clear()
    assert layout("gen_train_0007") == before
    assert len({str(layout(name).surfaces) for name in GENERATED}) == len(GENERATED)


def test_new_layouts_have_other_rooms_and_another_kitchen_wall():
    def shape(name):
        x0, y0, x1, y1 = room(layout(name))
        return max(x1 - x0, y1 - y0) / min(x1 - x0, y1 - y0)

    train, new = ([name for name in GENERATED if kind in name] for kind in ("train", "new"))
    assert median(map(shape, train)) < 1.35 and median(map(shape, new)) > 1.6
    assert {layout(name).surfaces["sink"].yaw for name in train} == {0.0}
    assert all(abs(layout(name).surfaces["sink"].yaw) > 1 for name in new)


@pytest.mark.parametrize("name", ["v3_sc9_staging_00", "gen_train_1", "gen_test_0001", "", "gen_train_0001x"])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(UserError, match="no layout is called"):
        layout(name)


@pytest.fixture
def more(monkeypatch, tmp_path):
    """Names a file of more layouts, whose text it takes."""

    def name(text):
        path = tmp_path / "layouts.json"
        if text is not None:
            path.write_text(text)
        monkeypatch.setenv(layouts.LAYOUTS_VARIABLE, str(path))
        _forget()

    yield name
    monkeypatch.undo()
    _forget()


def _forget():
    layouts._data.cache_clear()
    layout.cache_clear()


def test_a_lab_brings_layouts_in_a_file_of_the_same_form(more):
    shipped = json.loads(files("llarp.scenes").joinpath("data/layouts.json").read_text())["layouts"]
    entry = shipped["v3_sc0_staging_00"]
    entry["places"]["sofa"][0] += 0.5
    entry["stands"]["sofa"][0] += 0.5
    more(json.dumps({"layouts": {"lab_kitchen_1": entry}}))
    assert len(released()) == 35 and layout("lab_kitchen_1").family == "kitchen"
    here, there = layout("lab_kitchen_1"), layout("v3_sc0_staging_00")
    assert here.surfaces["sofa"].center[0] == pytest.approx(there.surfaces["sofa"].center[0] + 0.5)
    assert here.standing["sofa"].x == pytest.approx(there.standing["sofa"].x + 0.5)
    assert here.points["fridge"] == there.points["fridge"]


@pytest.mark.parametrize(
    "text, reason",
    [(None, "cannot be read"), ("[", "holds no layouts"), ('{"layouts": {"a": {"places": {}}}}', "holds no layouts")],
)
def test_a_file_of_layouts_that_cannot_be_used_is_named(more, text, reason):
    more(text)
    with pytest.raises(UserError, match=reason):
        layout("v3_sc0_staging_00")


def test_surfaces_lie_within_their_bodies():
    for id in OPEN_RECEPTACLES:
        piece = FURNITURE[id]
        assert all(s <= b for s, b in zip(piece.surface, piece.body, strict=True)) and piece.rest <= piece.height


def test_overlap_and_clearance_of_turned_rectangles():
    square = Surface((0.0, 0.0, 0.0), (0.5, 0.5), 0.0)
    turned = Surface((1.1, 0.0, 0.0), (0.5, 0.5), math.pi / 4)
    assert overlap(square, turned)  # its corner reaches in: 0.5 + 0.707 > 1.1
    assert not overlap(square, Surface((1.1, 0.0, 0.0), (0.5, 0.5), 0.0))
    assert overlap(square, Surface((1.1, 0.0, 0.0), (0.5, 0.5), 0.0), gap=0.2)
    assert clearance(0.2, -0.3, square) == 0.0
    assert clearance(1.5, 1.5, square) == pytest.approx(math.sqrt(2))
