"""The expert's plans against those of a planner that knows nothing of this project."""

import dataclasses

import pytest

from llarp.config import load_params
from llarp.errors import UserError
from llarp.scenes.layouts import layout
from llarp.sim.planning.model import Model, export, read
from llarp.sim.rules import RuleWorld
from llarp.tasks.episode import Episode, ObjectInstance
from llarp.tasks.families import FAMILIES
from llarp.tasks.generator import generate
from llarp.tasks.goals import parse, parse_predicate
from llarp.tasks.skills import parse as parse_skill
from llarp.tasks.splits import SPLITS

LAYOUT = "gen_train_0000"


@pytest.fixture(scope="module")
def planner():
    pytest.importorskip("unified_planning", reason="no unified-planning here")
    pytest.importorskip("up_pyperplan", reason="no pyperplan here")
    from llarp.sim.planning import planner

    return planner


@pytest.fixture(scope="module")
def episodes():
    """One episode of every family that a split has."""
    config, world, found = load_params().episodes, RuleWorld(), {}
    for split in SPLITS:
        families = SPLITS[split].families.keys()
        drawn = generate(split, 100, 3, config, world=world)
        while families - found.keys():
            episode = next(drawn)
            found.setdefault(episode.family, episode)
    return found


def lying(name, receptacle, u=0.0, v=0.0):
    surface = layout(LAYOUT).surfaces[receptacle]
    x, y = surface.to_world(u * surface.half[0], v * surface.half[1])
    asset, category = name.split(":")[0], name.split("_")[1].split(":")[0]
    return ObjectInstance(name, category, asset, 0, receptacle, (x, y, surface.center[2]), (1.0, 0.0, 0.0, 0.0))


def homemade(goal, *objects, start=()):
    return Episode(
        "homemade", "train", "move_to", "none", "Do it.", LAYOUT, objects, tuple(map(parse_predicate, start)),
        parse(goal), (), (), (),
    )  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_expert_is_valid_and_no_longer_than_the_planner(planner, episodes, family):
    verdict = planner.judge(episodes[family])
    assert verdict.valid, "the expert's plan is none of the model"
    assert verdict.reaches, "the planner's plan does not work in our world"
    assert verdict.excess == 0


APPLES = [lying("013_apple:0", "black_table"), lying("013_apple:1", "sofa")]


@pytest.mark.parametrize(
    ("goal", "start"),
    [
        ("EXISTS X:apple AND(holding(X))", ()),
        ("AND(not_holding(), EXISTS X:apple NAND(on_top(X, sofa)))", ()),
        ("FORALL X:apple AND(on_top(X, tv_stand), not_holding())", ()),
        ("OR(AND(robot_at(tv_stand), opened_fridge(fridge_handle)), EXISTS X:apple AND(on_top(X, chair)))", ()),
        ("EXISTS X:apple AND(in(X, fridge_handle), closed_fridge(fridge_handle))", ()),
        ("EXISTS X:apple AND(in(X, left_drawer_handle), not_holding())", ("opened_cab(left_drawer_handle)",)),
        ("NAND(closed_cab(bottom_drawer_handle))", ()),
        ("EXISTS X:apple AND(robot_at(X), robot_at_obj(X), NAND(robot_at(chair)))", ()),
        ("EXISTS X:apple AND(on_top(X, left_counter), holding(X))", ()),
    ],
)
def test_every_predicate_and_operator(planner, goal, start):
    verdict = planner.judge(homemade(goal, *APPLES, start=start))
    assert verdict.valid
    assert verdict.reaches
    assert verdict.excess == 0


def test_a_wrong_plan_is_found_out():
    model = Model(homemade("EXISTS X:apple AND(on_top(X, tv_stand), not_holding())", *APPLES))
    with pytest.raises(ValueError, match="no way of meeting the goal"):
        model.write([parse_skill("nav(black_table)"), parse_skill("pick(apple)")])
    with pytest.raises(ValueError, match="invalid after 1 steps"):
        model.write([parse_skill("nav(black_table)"), parse_skill("pick(plum)")])


def test_nothing_is_ever_behind_a_drawer_that_holds_nothing():
    episode = homemade("EXISTS X:apple AND(in(X, bottom_drawer_handle))", *APPLES)
    assert not any(action.name.startswith("meet") for action in Model(episode).task.actions)


def test_the_first_instance_is_in_the_way_of_the_second():
    two = [lying("013_apple:0", "sofa", v=0.2), lying("013_apple:1", "sofa", v=-0.2)]
    model = Model(homemade("FORALL X:apple AND(on_top(X, tv_stand))", *two))
    (second,) = (action for action in model.task.actions if action.name == "pick_2")
    assert ("reaches_not", "?p", "?s1") in second.conditions
    assert ("reaches", "before_sofa", "spot_apple_1") in model.task.init


def test_plans_translate_both_ways(episodes):
    for episode in episodes.values():
        assert read(Model(episode).write(episode.plan)) == episode.plan


def test_export_writes_all_or_nothing(tmp_path, episodes):
    chosen = list(episodes.values())[:2]
    export(tmp_path / "pddl", chosen)
    for episode in chosen:
        files = {path.name for path in (tmp_path / "pddl" / episode.episode_id).iterdir()}
        assert files == {"domain.pddl", "problem.pddl", "expert.plan"}
    with pytest.raises(UserError, match="there already"):
        export(tmp_path / "pddl", chosen)
    absent = dataclasses.replace(chosen[0], goal=parse("EXISTS X:unicorn AND(holding(X))"))
    with pytest.raises(UserError, match="not there"):
        export(tmp_path / "other", [*chosen, absent])
    assert {path.name for path in tmp_path.iterdir()} == {"pddl"}


def test_a_planner_that_is_not_installed_says_how_to_get_it(monkeypatch):
    import sys

    from llarp.sim.planning import planner

    planner._tools.cache_clear()
    monkeypatch.setitem(sys.modules, "up_pyperplan", None)
    with pytest.raises(UserError, match="pip install"):
        planner.judge(homemade("EXISTS X:apple AND(holding(X))", *APPLES))
    planner._tools.cache_clear()
