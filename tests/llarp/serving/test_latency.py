"""What is measured of a step, and for how long."""

import math
import time

import numpy as np
import pytest
from agents import ROOT

from llarp.config import load_params
from llarp.environments.make import make_environment
from llarp.errors import UserError
from llarp.policy.llarp import LLaRPPolicy
from llarp.serving import Agent
from llarp.serving.latency import FEWEST_STEPS, Latency, measure
from llarp.vision.base import Encoder

PARAMS = load_params(ROOT / "presets" / "test.yaml")


@pytest.fixture(scope="module")
def environment():
    return make_environment(PARAMS)


@pytest.fixture(scope="module")
def episodes(environment):
    return list(environment.generate("train_validation", 2))


def test_percentiles_are_in_milliseconds():
    latency = Latency.of([0.001 * number for number in range(1, 102)])
    assert (latency.steps, latency.p50_ms, latency.mean_ms) == (101, pytest.approx(51), pytest.approx(51))
    assert latency.p99_ms == pytest.approx(100)
    assert math.isnan(Latency.of([]).p50_ms)


def test_as_many_steps_as_asked_for_are_measured(agent, environment, episodes):
    latency = measure(agent, episodes, environment.simulator(), environment.actions, most_steps=70)
    assert latency.steps == 70, "two episodes of 32 steps, and the first again"
    assert 0 < latency.p50_ms <= latency.p99_ms
    assert set(latency.metrics()) == {"serve/latency_p50_ms", "serve/latency_p99_ms"}


def test_time_ends_it_but_not_before_the_fewest_steps(agent, environment, episodes):
    latency = measure(agent, episodes, environment.simulator(), environment.actions, budget_s=0.0)
    assert latency.steps == FEWEST_STEPS


def test_drawing_is_no_part_of_a_step(agent, environment, episodes):
    simulator = environment.simulator()
    draw, drawn = simulator.render, []

    def slowly():
        time.sleep(0.3)
        drawn.append(1)
        return draw()

    simulator.render = slowly
    latency = measure(agent, episodes, simulator, environment.actions, most_steps=5)
    assert len(drawn) == 5 and latency.mean_ms < 300


class Colours(Encoder):
    """Mean colours as features of images of any size."""

    num_tokens, dim = 1, 3

    def encode(self, images):
        return images.mean((1, 2), dtype=np.float32)[:, None]


@pytest.mark.parametrize(("name", "split", "edge"), [("babyai", "new_scenes", 28), ("atari", "rephrasing", 32)])
def test_games_are_played_on_after_their_end(agent, name, split, edge):
    camera = PARAMS.camera.model_copy(update={"width": edge, "height": edge})
    environment = make_environment(PARAMS.model_copy(update={"environment": name, "camera": camera}))
    try:
        simulator, episodes = environment.simulator(), list(environment.generate(split, 3))
    except UserError as error:
        pytest.skip(str(error))
    policy = LLaRPPolicy(agent.policy.backbone, PARAMS.policy, (1, 3), actions=environment.names())
    latency = measure(Agent(policy, Colours(), camera), episodes, simulator, environment.actions, most_steps=100)
    assert latency.steps == 100
