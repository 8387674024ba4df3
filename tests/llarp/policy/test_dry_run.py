"""The dry run foretells what a real policy is and keeps, without making one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from backbones import INSTRUCTIONS, tiny_llama

from llarp.config import load_params
from llarp.errors import UserError
from llarp.policy.backbones import load_backbone
from llarp.policy.dry_run import Task, dry_run, kept_bytes
from llarp.policy.llarp import LLaRPPolicy, Trajectories
from llarp.policy.shapes import LLAMAS, shape

PRESETS = {path.stem: load_params(path) for path in (Path(__file__).parents[3] / "presets").glob("*.yaml")}
TASK = Task((1, 2048), num_actions=70, horizon=32)


def with_policy(params, **changes):
    return params.model_copy(update={"policy": params.policy.model_copy(update=changes)})


def count(module):
    return sum(weight.numel() for weight in module.parameters())


def test_the_laptops_policy_has_as_many_parameters_as_foretold():
    params = PRESETS["laptop"]
    run = dry_run(params, TASK)
    policy = LLaRPPolicy(load_backbone(params.policy), params.policy, TASK.token_shape)
    assert run.frozen_parameters == count(policy.backbone.model)
    assert run.trained_parameters == {
        "observation": count(policy.adapters.observation), "action": count(policy.adapters.action)
    }  # fmt: skip
    assert run.memory["frozen weights"] == sum(weight.nbytes for weight in policy.backbone.model.parameters())
    assert run.memory["adapters"] == sum(weight.nbytes for weight in policy.adapters.parameters())
    cache = policy.cache(params.ppo.num_envs, TASK.horizon + 1)
    assert run.memory["keys and values of the rollout"] == cache.num_bytes


def test_the_papers_trained_parameters_are_22_6_million():
    """Of them 0.3 M are an embedding of actions, which the release trains and reads only with action inputs."""
    params, task = PRESETS["paper"], Task((1, 768), num_actions=70, horizon=32)
    trained = dry_run(params, task).trained_parameters
    norm, unread = 2 * 4096, 70 * 4096
    assert trained == {"observation": 19_931_136 + norm, "action": 2_398_791}
    assert sum(trained.values()) - norm + unread == 22_616_647
    with_previous = dry_run(with_policy(params, previous_action=True), task).trained_parameters
    assert round(sum(with_previous.values()) / 1e6, 1) == 22.6


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_run_dry(name):
    run = dry_run(PRESETS[name], TASK)
    assert all(figure > 0 for part in (run.memory, run.operations) for figure in part.values())
    assert max(map(len, run.lines)) <= 120 and f"{run.frozen_parameters:,}" in "\n".join(run.lines)


def test_the_large_ones_are_of_their_size():
    assert count(shape(PRESETS["paper"].policy)) == 6_738_415_616 - 32_000 * 4096, "without its head"
    assert count(shape(PRESETS["single-gpu"].policy)) == 1_711_376_384


def test_bits_lora_and_tokens_are_in_the_figures():
    params = PRESETS["paper"]
    plain, small = dry_run(params, TASK), dry_run(with_policy(params, quantize="4bit", lora_rank=8), TASK)
    assert plain.memory["frozen weights"] == 2 * plain.frozen_parameters
    assert 3.3 * 2**30 < small.memory["frozen weights"] < 3.8 * 2**30
    assert small.frozen_parameters == plain.frozen_parameters
    assert small.trained_parameters["lora"] == 2 * 32 * 2 * 4096 * 8, "of two projections in each of 32 layers"
    step = "an environment step of the rollout"
    assert (
        1.98 < dry_run(with_policy(params, previous_action=True), TASK).operations[step] / plain.operations[step] < 2.02
    )


@pytest.mark.parametrize("more", [{}, {"lora_rank": 2}, {"visual_tokens": 2, "previous_action": True}])
def test_activations_are_not_more_than_foretold_and_not_much_less(more, tmp_path):
    tokens, horizon = 20, 8
    config = tiny_llama(tmp_path).model_copy(update={"max_instruction_tokens": tokens, **more})
    params = PRESETS["test"].model_copy(update={"policy": config})
    params = params.model_copy(
        update={"train": params.train.model_copy(update={"algorithm": "bc", "processes": 1, "batch_size": 3})}
    )
    task = Task((4, 6), 70, horizon)
    foretold = dry_run(params, task).memory["activations of a minibatch, at most"]
    backbone = load_backbone(config)
    backbone.fused = None
    policy = LLaRPPolicy(backbone, config, task.token_shape)
    memories = backbone.prefix([[1] * tokens] * 3)
    features = np.zeros((3 * horizon, *task.token_shape), np.float16)
    batch = Trajectories(INSTRUCTIONS, [horizon] * 3, features, np.zeros(len(features), np.int64), memories)
    weights = [*backbone.model.parameters(), *policy.adapters.parameters()]
    real = kept_bytes(lambda: policy.evaluate(batch), weights)
    assert 0.7 * foretold < real < foretold


def test_a_local_folder_says_its_shape_and_an_unknown_name_is_refused(tmp_path):
    config = tiny_llama(tmp_path)
    assert count(shape(config)) == count(load_backbone(config).model)
    assert shape(config).dtype == torch.float32
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json: cannot be read"):
        shape(config)
    with pytest.raises(UserError, match="org/name: nothing here says what shape it has") as caught:
        shape(config.model_copy(update={"backbone": "org/name"}))
    assert "\n" not in str(caught.value) and all(name in str(caught.value) for name in LLAMAS)
