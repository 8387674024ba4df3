"""Two simulators in lockstep: they agree, or the report says where they do not."""

import re
from dataclasses import replace

import pytest
from PIL import Image
from sim_episodes import make_episode

from llarp.config import SimulatorConfig, load_params
from llarp.sim.compare import atoms, compare
from llarp.sim.embedded import EmbeddedSimulator
from llarp.sim.habitat.simulator import HabitatSimulator
from llarp.sim.rules import RuleWorld
from llarp.tasks.goals import ARITY, parse
from llarp.tasks.skills import Skill

CAMERA = load_params().camera.model_copy(update={"width": 32, "height": 32})


def episode(seed=0):
    """Opens the fridge."""
    skills = (Skill("nav", "fridge_handle"), Skill("open_fridge"))
    return replace(make_episode(seed), goal=parse("AND(opened_fridge(fridge_handle))"), plan=skills)


def test_atoms_are_all_of_them_once():
    found = list(atoms(make_episode()))
    assert len(set(found)) == len(found) and {atom.name for atom in found} == set(ARITY)
    assert len(found) == 1 + (16 + 33) + 10 + 33 * (1 + 1 + 11 + 5)


def test_the_rules_are_the_same_in_both_simulators(habitat, scenes, tmp_path):
    config = SimulatorConfig(name="habitat", scenes=str(scenes), objects=None)
    worlds = EmbeddedSimulator(CAMERA), HabitatSimulator(CAMERA, config)
    report = compare(worlds, ("embedded", "habitat"), [episode(0), episode(1)], 8, seed=0, pictures=tmp_path)
    assert report.agree and not report.examples and report.plans == {"embedded": 2, "habitat": 2}
    assert report.steps == 2 * (3 + 9) and report.compared["valid nav"] == 16 * report.steps
    for number in (0, 1):
        with Image.open(tmp_path / f"hand-made-{number}.png") as picture:
            assert picture.size == (3 * 32, 2 * 32)


def test_an_episode_without_a_plan_gets_the_experts():
    report = compare((RuleWorld(), RuleWorld()), ("a", "b"), [replace(episode(), plan=())], 0, seed=0)
    assert report.plans == {"a": 1, "b": 1} and report.steps > 2


def test_standing_points_that_differ_are_told(habitat, scenes, monkeypatch):
    monkeypatch.setattr(habitat.PathFinder, "nudge", staticmethod(lambda x, y, z: (x + 0.6, 0.1, z + 0.6)))
    config = SimulatorConfig(name="habitat", scenes=str(scenes), objects=None)
    worlds = EmbeddedSimulator(CAMERA), HabitatSimulator(CAMERA, config)
    report = compare(worlds, ("embedded", "habitat"), [episode()], 20, seed=0)
    assert report.different["holds robot_at"] > 0 and not report.agree
    assert re.match(
        r"hand-made-0, (plan|random), after \d+ skills: \w+ .*: embedded \w+, habitat \w+", report.examples[0]
    )
    assert not report.different["valid nav"]


def test_a_run_ends_where_the_next_skill_is_valid_in_one_world_only():
    class Stiff(RuleWorld):
        def is_valid(self, skill):
            return skill.verb != "open_fridge" and super().is_valid(skill)

    report = compare((RuleWorld(), Stiff()), ("free", "stiff"), [episode()], 0, seed=0)
    assert report.parted == 1 and report.plans == {"free": 0, "stiff": 0} and report.different["valid open_fridge"]
    assert "1 runs ended early" in str(report)
    same = compare((RuleWorld(), RuleWorld()), ("a", "b"), [episode()], 5, seed=0)
    assert same.agree and "100.00%" in str(same)


@pytest.mark.parametrize("seed", [0, 1])
def test_random_skills_depend_on_the_seed_alone(seed):
    def steps():
        world, played = RuleWorld(), []
        apply = world.apply
        world.apply = lambda skill: played.append(skill) or apply(skill)
        compare((world, RuleWorld()), ("a", "b"), [episode()], 10, seed=seed)
        return played

    assert steps() == steps()
