"""The simulators' contract on the real habitat-sim: `python -m llarp.sim.habitat.selftest` runs this where it is."""

import os

import pytest
from sim_episodes import make_episode
from simulator_contract import SimulatorContract

from llarp.config import SimulatorConfig, load_params
from llarp.sim.compare import compare
from llarp.sim.embedded import EmbeddedSimulator
from llarp.sim.habitat.selftest import SCENES
from llarp.sim.habitat.simulator import HabitatSimulator
from llarp.tasks.goals import parse
from llarp.tasks.skills import Skill

pytestmark = pytest.mark.skipif(SCENES not in os.environ, reason="habitat-sim runs in llarp.sim.habitat.selftest only")
CAMERA = load_params().camera


@pytest.fixture(scope="module")
def real():
    config = SimulatorConfig(name="habitat", scenes=os.environ[SCENES], objects=None)
    simulator = HabitatSimulator(CAMERA, config)
    yield simulator
    simulator.apartment.close()


class TestRealHabitat(SimulatorContract):
    @pytest.fixture
    def simulator(self, real):
        return real


@pytest.mark.parametrize("layout", ["gen_train_0001", "v3_sc0_staging_00", "v3_sc3_staging_00"])
def test_pictures_have_content_and_the_plan_succeeds(real, layout):
    from dataclasses import replace

    goal = parse("AND(opened_fridge(fridge_handle))")
    episode = replace(make_episode(0, layout), goal=goal, plan=(Skill("nav", "fridge_handle"), Skill("open_fridge")))
    worlds = EmbeddedSimulator(CAMERA), real
    report = compare(worlds, ("embedded", "habitat"), [episode], random_steps=10, seed=0)
    print(report)
    assert report.plans == {"embedded": 1, "habitat": 1}
    real.reset(episode)
    real.apply(Skill("nav", "sofa"))
    image = real.render()
    assert image.std() > 10 and len({tuple(pixel) for pixel in image.reshape(-1, 3)}) > 20
