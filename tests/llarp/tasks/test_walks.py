"""The fewest walks for what a plan does."""

import pytest

from llarp.tasks.skills import parse
from llarp.tasks.walks import Deed, orders, walk


def deed(skill, *stands, usual=None):
    return Deed(parse(skill), usual or stands[0], frozenset(stands))


def texts(skills):
    return " ".join(map(str, skills))


def test_it_stays_as_long_as_one_standing_point_will_do():
    deeds = [
        deed("pick(apple)", "sink", "sofa"),
        deed("place(left_counter)", "left_counter", "sink"),
        deed("pick(ball)", "sink"),
    ]
    assert texts(walk(deeds)) == "nav(sink) pick(apple) place(left_counter) pick(ball)"


def test_the_usual_standing_point_is_preferred():
    deeds = [
        deed("pick(apple)", "sofa", "tv_stand", "sink", usual="tv_stand"),
        deed("place(sofa)", "sofa", "tv_stand", usual="sofa"),
    ]
    assert texts(walk(deeds)) == "nav(tv_stand) pick(apple) place(sofa)"
    assert texts(walk(deeds[1:])) == "nav(sofa) place(sofa)"


@pytest.mark.parametrize(("first", "walks"), [("sofa", 2), ("sink", 3)])
def test_walks_are_counted_between_disjoint_points(first, walks):
    deeds = [deed("pick(apple)", first), deed("place(sofa)", "sofa"), deed("open_fridge()", "fridge")]
    assert sum(skill.verb == "nav" for skill in walk(deeds)) == walks


def test_errands_change_places_but_stay_whole():
    deeds = [
        deed(text, "sink") for text in ("open_fridge()", "pick(apple)", "place(sofa)", "pick(ball)", "place(sink)")
    ]
    found = [texts(entry.skill for entry in order) for order in orders(deeds)]
    assert len(found) == len(set(found)) == 6
    assert found[0] == "open_fridge() pick(apple) place(sofa) pick(ball) place(sink)"
    assert all("pick(apple) place(sofa)" in order and "pick(ball) place(sink)" in order for order in found)


def test_what_is_opened_on_the_way_belongs_to_the_errand():
    deeds = [deed(text, "sink") for text in ("pick(apple)", "open_fridge()", "place(fridge)", "close_fridge()")]
    assert [texts(entry.skill for entry in order) for order in orders(deeds)] == [
        "pick(apple) open_fridge() place(fridge) close_fridge()",
        "close_fridge() pick(apple) open_fridge() place(fridge)",
    ]
