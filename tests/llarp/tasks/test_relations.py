"""Every phrase that says where something is, judged apart from the code that makes it: by bearings and outlines."""

import math
import re
from collections import Counter
from functools import cache

import numpy as np
import pytest

from llarp.scenes.furniture import FREESTANDING, furnish
from llarp.scenes.layouts import bodies, layout, released
from llarp.tasks.language.load import language
from llarp.tasks.language.relations import Position, positions
from llarp.tasks.language.templates import WORDS

LAYOUTS = (*released()[::5], *(f"gen_{kind}_{number:04d}" for kind in ("train", "new") for number in range(5)))
PLACE_OF = {words: id for id, words in WORDS.items() if id in FREESTANDING}


@cache
def outline(name, id):
    """float[n, 2]: points along the edge of a piece, 4 cm apart."""
    corners = [bodies(layout(name))[id].to_world(u, v) for u, v in _corners(name, id)]
    edges = zip(corners, corners[1:] + corners[:1], strict=True)
    return np.concatenate([np.linspace(a, b, max(2, int(math.dist(a, b) / 0.04))) for a, b in edges])


def _corners(name, id):
    u, v = bodies(layout(name))[id].half
    return [(u, v), (-u, v), (-u, -v), (u, -v)]


@cache
def apart(name, one, other):
    """Metres between two pieces, to some 3 cm."""
    a, b = outline(name, one), outline(name, other)
    return float(np.sqrt(((a[:, None] - b) ** 2).sum(-1)).min())


def middle(name, id):
    return np.array(bodies(layout(name))[id].center[:2])


def seen_from_front(name, landmark, point):
    """Radians to the left (positive) of a landmark's middle at which one who stands 2 m before it sees a point."""
    yaw = bodies(layout(name))[landmark].yaw
    viewer = middle(name, landmark) + 2.0 * np.array([math.cos(yaw), math.sin(yaw)])
    x, y = np.asarray(point) - viewer
    return math.remainder(math.atan2(y, x) - (yaw + math.pi), math.tau)


def off_front(name, here, there):
    """Radians between where a piece's front points and another's middle."""
    x, y = middle(name, there) - middle(name, here)
    return abs(math.remainder(math.atan2(y, x) - bodies(layout(name))[here].yaw, math.tau))


def is_true(name, relation, target, landmarks):
    """Whether a relation holds of one piece, other pieces aside."""
    one = landmarks[0]
    gap = apart(name, target, one)
    if relation == "next_to":
        return gap < 0.55
    if relation in ("left_of", "right_of"):
        side = 1 if relation == "left_of" else -1
        return gap < 1.55 and all(side * seen_from_front(name, one, corner) > 0 for corner in outline(name, target))
    if relation == "in_front_of":
        return gap < 1.55 and off_front(name, one, target) < math.pi / 3
    if relation == "opposite":
        return gap < 6.05 and max(off_front(name, one, target), off_front(name, target, one)) < math.radians(21)
    if relation == "between":
        a, b = (middle(name, landmark) for landmark in landmarks)
        line = a + np.linspace(0.15, 0.85, 200)[:, None] * (b - a)
        return np.sqrt(((line - middle(name, target)) ** 2).sum(1)).min() < 0.45
    raise AssertionError(relation)


def check(name, relation, target, landmarks, kind):
    """That a relation holds of one of a kind and of no other."""
    others = [id for id in kind if id not in (target, *landmarks)]
    if relation in ("nearest", "farthest"):
        sign = 1 if relation == "nearest" else -1
        assert others
        return all(sign * (apart(name, id, landmarks[0]) - apart(name, target, landmarks[0])) > 0.4 for id in others)
    return is_true(name, relation, target, landmarks) and not any(
        is_true(name, relation, id, landmarks) for id in others
    )


def understood(phrase):
    """(relation, words of the kind, landmarks) of a phrase, read back from its words."""
    for relation, texts in language().relations.items():
        for text in texts:
            pattern = re.escape(text)
            for slot in ("kind", "one", "other"):
                pattern = pattern.replace(re.escape(f"{{{slot}}}"), f"(?P<{slot}>.+?)")
            if found := re.fullmatch(pattern, phrase):
                names = found.groupdict()
                if names["kind"] in language().kinds and all(names[key] in PLACE_OF for key in names.keys() - {"kind"}):
                    return relation, names["kind"], [PLACE_OF[names[key]] for key in ("one", "other") if key in names]
    return None


def test_every_phrase_is_true_of_its_target_and_of_nothing_else():
    judged = Counter()
    for name in LAYOUTS:
        for target, groups in language().positions(name).items():
            for phrase in (phrase for group in groups for phrase in group):
                if phrase in language().where.get(target, ()):
                    continue
                relation, word, landmarks = understood(phrase)
                kind = language().kinds[word]
                assert target in kind and target not in landmarks
                assert check(name, relation, target, landmarks, kind), f"{name}: {target} is not the {phrase}"
                judged[relation] += 1
    assert set(judged) == set(language().relations) and min(judged.values()) >= 4


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_is_said_of_the_kitchen_everywhere_is_true(name):
    order = ["left_counter", "sink", "right_counter"]
    bearing = {id: seen_from_front(name, "sink", middle(name, id)) for id in order}
    assert bearing["left_counter"] > 0.2 > bearing["sink"] > -0.2 > bearing["right_counter"]
    assert language().where.keys() == set(order)


def test_everything_can_be_said_in_most_layouts():
    found = Counter(id for name in LAYOUTS for id in language().positions(name))
    assert set(found) == set(FREESTANDING)
    assert min(found.values()) > 0.6 * len(LAYOUTS)


def test_phrases_differ_within_a_layout():
    for name in LAYOUTS:
        phrases = [phrase for groups in language().positions(name).values() for group in groups for phrase in group]
        assert len(phrases) == len(set(phrases))


def test_relations_of_a_room_arranged_by_hand():
    """The kitchen looks along +x; everything else is far off but for two tables and a TV stand."""
    kitchen = {"left_counter": (0.0, -0.76, 0.0), "sink": (0.0, 0.0, 0.0), "right_counter": (0.0, 1.04, 0.0)}
    far = {"chair": (9.0, -8.0, 0.0), "fridge": (0.0, -1.71, 0.0)}
    here = furnish(
        "by hand", "", {
            **kitchen, **far, "sofa": (3.0, 6.0, 0.0), "tv_stand": (6.0, 6.0, math.pi), "black_table": (3.0, 4.0, 0.0),
            "brown_table": (3.0, -5.0, 0.0),
        },
    )  # fmt: skip
    found = set(positions(here, ("black_table", "brown_table")))
    assert {
        Position("nearest", "black_table", ("sofa",)),
        Position("farthest", "brown_table", ("sofa",)),
        Position("nearest", "brown_table", ("chair",)),
        Position("left_of", "black_table", ("sofa",)),
    } <= found
    assert Position("right_of", "black_table", ("sofa",)) not in found
    assert Position("opposite", "tv_stand", ("sofa",)) in set(positions(here, ("tv_stand", "chair")))
    assert Position("next_to", "left_counter", ("fridge",)) in set(positions(here, ("left_counter", "right_counter")))
    between = Position("between", "left_counter", ("sink", "fridge"))
    assert between in set(positions(here, ("left_counter", "right_counter")))
    assert list(positions(here, ("sofa",))) and not [
        position for position in positions(here, ("sofa",)) if position.relation in ("nearest", "farthest")
    ]
