"""Batched worlds do what single ones do, step for step."""

import math
import os
import random
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from sim_episodes import inside, make_episode, make_object

from llarp.config import load_params
from llarp.errors import UserError
from llarp.scenes.catalog import HANDLES, NAV_TARGETS, RECEPTACLES
from llarp.scenes.layout import Pose
from llarp.scenes.reach import REACH_M, REACH_RAD, ROBOT_AT_M, ROBOT_AT_RAD, within
from llarp.sim import sight
from llarp.sim.batched.episode_table import EpisodeTable
from llarp.sim.batched.layout_table import near_and_reach
from llarp.sim.batched.rules import NOBODY, BatchedRules
from llarp.sim.drawing.painter import painter
from llarp.sim.embedded import EmbeddedSimulator
from llarp.sim.rules import RuleWorld
from llarp.tasks.generator import generate
from llarp.tasks.goals import Goal, Predicate, parse, satisfied
from llarp.tasks.skills import INDEX, SKILLS, Skill
from llarp.tasks.splits import SPLITS

PARAMS = load_params()


@cache
def generated(per_split=3):
    return [
        episode for split in SPLITS for episode in generate(split, per_split, 5, PARAMS.episodes, world=RuleWorld())
    ]


def released(per_file=6):
    from llarp.tasks.released.release import read

    folder = os.environ.get("LLARP_RELEASED")
    if folder is None:
        pytest.skip("LLARP_RELEASED does not name the folder of released files")
    by_split = {}
    for episode in read([Path(folder)]):
        by_split.setdefault(episode.split, []).append(episode)
    return [episode for episodes in by_split.values() for episode in episodes[:: len(episodes) // per_file]]


def by_hand():
    """Other numbers of objects, things behind doors, doors open from the start, no subgoals."""
    opened = [("opened_fridge", ("fridge_handle",)), ("opened_cab", ("left_drawer_handle",))]
    extra = [inside("fridge"), replace(inside("left_drawer"), name="a:1"), replace(inside("right_drawer"), name="a:2")]
    few = make_episode(3)
    return [
        make_episode(1, extra=extra, goal="EXISTS X:apple AND(holding(X))"),
        make_episode(2, extra=extra, start=opened, goal="FORALL X:apple AND(in(X, fridge_handle))"),
        replace(few, objects=few.objects[:5], goal=parse("EXISTS X:apple AND(on_top(X, sofa))")),
        replace(few, objects=()),
    ]


def some_actions(rng, valid_N70):
    """Mostly valid skills, seldom a mere nav, so that things get moved; the others at random."""
    weights = np.where(valid_N70, np.where(np.arange(len(SKILLS)) < len(NAV_TARGETS), 1.0, 6.0), 0.0)
    chosen = (weights.cumsum(1) > rng.random((len(weights), 1)) * weights.sum(1, keepdims=True)).argmax(1)
    return np.where(rng.random(len(weights)) < 0.7, chosen, rng.integers(len(SKILLS), size=len(weights)))


def compare(episodes, steps, seed=0):
    """Plays episodes side by side in both; returns how often each verb was valid, and how often a goal held."""
    rng = np.random.default_rng(seed)
    table = EpisodeTable(episodes, painter(PARAMS.camera).camera)
    rules, every = BatchedRules(table, len(episodes)), np.arange(len(episodes))
    singles = [EmbeddedSimulator(PARAMS.camera) for _ in episodes]
    rules.reset(every, every)
    for single, episode in zip(singles, episodes, strict=True):
        single.reset(episode)
    num_goals, met, did = table.goals.num_goals.max(), 0, dict.fromkeys((skill.verb for skill in SKILLS), 0)
    for step in range(steps):
        valid_N70 = rules.valid_actions()
        if step % 8 == 0:
            np.testing.assert_array_equal(
                valid_N70, [[single.is_valid(skill) for skill in SKILLS] for single in singles]
            )
        actions = some_actions(rng, valid_N70)
        for world, episode in enumerate(episodes[::2]):  # every other one reaches its goals first
            if step < len(episode.plan):
                actions[2 * world] = INDEX[episode.plan[step]]
        np.testing.assert_array_equal(valid_N70[every, actions], valid_N := rules.apply(actions))
        assert valid_N.tolist() == [
            single.apply(SKILLS[action]) for single, action in zip(singles, actions, strict=True)
        ]
        for action in actions[valid_N]:
            did[SKILLS[action].verb] += 1
        hold = rules.hold(every, num_goals)
        for row, single, episode in zip(hold, singles, episodes, strict=True):
            goals = (episode.goal, *episode.subgoals)
            assert row.tolist() == [satisfied(goal, single) for goal in goals] + [False] * (num_goals - len(goals))
        keys = sight.as_keys(rules.key_sums)
        assert [key.tobytes() for key in keys] == [single.view_key() for single in singles]
        met += int(hold.sum())
    for world, single in enumerate(singles):
        assert_same_state(rules, world, single)
    return did, met


def assert_same_state(rules, world, single):
    names = list(single.objects)
    assert sight.STAND[single.at] == rules.at[world]
    assert single.held == (None if rules.held[world] == NOBODY else names[rules.held[world]])
    assert single.opened == {entry.id for bit, entry in enumerate(HANDLES) if rules.opened[world] >> bit & 1}
    for name, row in zip(names, rules.objects[world], strict=False):
        if name != single.held:
            assert single.where[name] == RECEPTACLES[row["where"]].id
            assert single.positions[name][:2] == tuple(row["place"][:2])


def test_generated_episodes_of_every_split():
    did, met = compare(generated(), steps=70)
    assert min(did.values()) > 5 and did["place"] > 100 and met > 100, did


def test_released_episodes():
    did, met = compare(released(), steps=70)
    assert min(did.values()) > 5 and did["place"] > 100 and met > 20, did


def test_episodes_made_by_hand():
    did, met = compare(by_hand(), steps=150)
    assert did["place"] > 20 and met > 10


def random_goal(rng, names, categories, depth=2, variables=()):
    """Any tree of operators and quantifiers; names and variables of objects among its arguments."""

    def atom():
        thing = rng.choice([*variables] or names) if rng.random() < 0.8 else rng.choice(names)
        handle = rng.choice([entry.id for entry in HANDLES])
        kind = "fridge" if handle == "fridge_handle" else "cab"
        return rng.choice(
            [
                Predicate("on_top", (thing, rng.choice(RECEPTACLES).id)),
                Predicate("in", (thing, handle)),
                Predicate("holding", (thing,)),
                Predicate("not_holding"),
                Predicate("robot_at", (rng.choice([thing, *NAV_TARGETS]),)),
                Predicate("robot_at_obj", (thing,)),
                Predicate(f"{rng.choice(['opened', 'closed'])}_{kind}", (handle,)),
            ]
        )

    quantifier = rng.choice([None, "EXISTS", "FORALL"])
    bound = ()
    if quantifier:
        bound = tuple((f"X{depth}{n}", rng.choice(categories)) for n in range(rng.randint(1, 2)))
    scope = (*variables, *(name for name, _ in bound))
    terms = tuple(
        random_goal(rng, names, categories, depth - 1, scope) if depth and rng.random() < 0.4 else atom()
        for _ in range(rng.randint(0 if depth else 1, 2))
    )
    return Goal(rng.choice(["AND", "OR", "NAND"]), terms, quantifier, bound)


def test_any_goal_is_judged_alike():
    rng, outcomes = random.Random(0), []
    objects = make_episode(4).objects[:4]
    objects += tuple(make_object("013_apple", "apple", 0, "sink", (0.0, 0.0, 0.7), number=n) for n in (1, 2))
    names, categories = [entry.name for entry in objects], [*(entry.category for entry in objects), "drill"]
    goals = tuple(random_goal(rng, names, categories) for _ in range(300))
    episode = replace(make_episode(4), objects=objects, goal=goals[0], subgoals=goals[1:])
    rules, single = BatchedRules(EpisodeTable([episode]), 1), RuleWorld()
    rules.reset([0], [0])
    single.reset(episode)
    generator = np.random.default_rng(1)
    for _ in range(25):
        (action,) = some_actions(generator, rules.valid_actions())
        rules.apply(np.array([action]))
        single.apply(SKILLS[action])
        hold = rules.hold(np.array([0]), len(goals))[0]
        assert hold.tolist() == [satisfied(goal, single) for goal in goals]
        outcomes.append(hold)
    changing = (np.any(outcomes, 0) & ~np.all(outcomes, 0)).sum()
    assert changing > 50 and 0.2 < np.mean(outcomes) < 0.8


def test_at_the_very_threshold_the_rules_decide(monkeypatch):
    pose = Pose(0.0, 0.0, 0.0)
    monkeypatch.setattr(sight, "poses_of", lambda name: (pose,))
    stands = sight.Stands(*(np.array([value]) for value in (0.0, 0.0, 1.0, 0.0)))
    points = [(1.2, 1.6), (0.9, 1.2), (0.0, 1.0), (0.0, -1.0), (-1e-12, 1.0), (1.6, -1.2)]
    points += [(math.cos(side), math.sin(side)) for side in (-1.0, 1.0, math.nextafter(1.0, 2.0))]
    points += [(math.nextafter(x, 9.0), y) for x, y in points]
    near, reach = near_and_reach(["here"] * len(points), stands, *np.array(points).T)
    assert near.tolist() == [within(pose, x, y, ROBOT_AT_M, ROBOT_AT_RAD) for x, y in points]
    assert reach.tolist() == [within(pose, x, y, REACH_M, REACH_RAD) for x, y in points]
    assert 0 < near.sum() < len(points) and 0 < reach.sum() < len(points)


def test_worlds_are_reset_one_by_one():
    episodes = by_hand()
    rules = BatchedRules(EpisodeTable(episodes), 3)
    rules.reset([0, 1, 2], [3, 3, 2])
    rules.apply(np.full(3, INDEX[Skill("nav", "sofa")]))
    before = rules.facts[[0, 2]].copy()
    rules.reset([1], [0])
    np.testing.assert_array_equal(rules.facts[[0, 2], : before.shape[1]], before)
    assert rules.number.tolist() == [3, 0, 2] and rules.at.tolist() == [
        sight.STAND["sofa"],
        sight.START,
        sight.STAND["sofa"],
    ]
    single = RuleWorld()
    single.reset(episodes[0])
    assert_same_state(rules, 1, single)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layout": "castle"}, "castle"),
        ({"goal": parse("AND(on_top(nobody, sofa))")}, "nobody"),
        ({"start": (Predicate("not_holding"),)}, "cannot start with"),
        ({"goal": parse(f"NAND({', '.join(['OR(not_holding(), robot_at(sofa))'] * 2)})")}, None),
        ({"goal": parse(f"AND({', '.join(['OR(robot_at(sink), robot_at(sofa))'] * 11)})")}, "too many ways"),
    ],
)
def test_what_makes_no_sense_is_the_users_error(changes, message):
    rules = BatchedRules(EpisodeTable([replace(make_episode(), **changes)]), 1)
    if message is None:
        rules.reset([0], [0])
        return
    with pytest.raises(UserError, match=message):
        rules.reset([0], [0])


def test_a_skill_of_another_kind_is_refused():
    from llarp.sim.batched.rules import _verb

    with pytest.raises(UserError, match="use the single one"):
        _verb(Skill("wave"))
