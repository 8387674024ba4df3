"""All of the evaluation with real parts: generated episodes, drawn views, an untrained policy, two processes."""

import numpy as np
import pytest
import torch

from llarp.config import CameraConfig, EpisodesConfig, VisionConfig, load_params
from llarp.environments.make import make_environment
from llarp.evaluate import rows as results
from llarp.evaluate.film import write_strips
from llarp.evaluate.play import find_scene, play
from llarp.evaluate.report import write_report
from llarp.evaluate.runner import POLICIES, Setup, evaluate_all
from llarp.evaluate.statistics import summarise
from llarp.policy.backbones import load_backbone
from llarp.policy.llarp import LLaRPPolicy
from llarp.sim.embedded import EmbeddedSimulator
from llarp.sim.rules import RuleWorld
from llarp.tasks.generator import generate
from llarp.vision.encoder import load_encoder
from llarp.vision.mae import train_mae

CAMERA = CameraConfig(width=32, height=32, fov_deg=60.0, tilt_deg=30.0, elevation_m=1.2)
ENCODER = VisionConfig(
    encoder="mae-tiny", weights=None, output="patches", frames=16, epochs=1, batch_size=8, lr=1e-3, mask_ratio=0.75,
    patch=16, dim=8, depth=1, heads=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    """A policy that has learnt nothing and an encoder that has learnt hardly anything."""
    folder = tmp_path_factory.mktemp("evaluation")
    params = load_params()
    torch.manual_seed(0)
    frames = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), np.uint8)
    train_mae(frames, ENCODER, 0, folder / "encoder", lambda step, metrics: None)
    encoder = load_encoder(folder / "encoder")
    config = params.policy.model_copy(update={"hidden": 16})
    LLaRPPolicy(load_backbone(config), config, (encoder.num_tokens, encoder.dim)).save(folder / "policy")
    environment = make_environment(params.model_copy(update={"camera": CAMERA, "seed": 3}))
    return Setup(environment, 2, policy=folder / "policy", encoder=folder / "encoder")


@pytest.fixture(scope="module")
def episodes():
    config = EpisodesConfig(train=1, per_split=3, layouts=2, objects=34, workers=1)
    wanted = (("new_scenes", 2), ("multiple_objects", 1))
    return [episode for split, count in wanted for episode in generate(split, count, 7, config, world=RuleWorld())]


def test_the_whole_line(setup, episodes, tmp_path):
    rows = evaluate_all(POLICIES, episodes, setup, workers=2)
    assert rows == evaluate_all(POLICIES, episodes, setup, workers=1)
    assert [(row["policy"], row["episode_id"]) for row in rows] == [
        (policy, episode.episode_id) for policy in POLICIES for episode in episodes
    ]
    assert all(row["success"] and row["invalid_actions"] == 0 for row in rows if row["policy"] == "expert")

    results.write(tmp_path / "episodes.parquet", rows)
    assert results.read(tmp_path / "episodes.parquet") == rows
    summary = summarise(rows)
    assert summary.find("expert", "generated", "multiple_objects").success == 1.0
    simulator = EmbeddedSimulator(CAMERA)
    chosen = [row for row in rows if row["policy"] in ("policy", "expert")]
    strips = write_strips(chosen, episodes, simulator, 1, tmp_path)
    assert any(strip.success for strip in strips)
    write_report(tmp_path / "report.html", summary, strips)
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_playing_a_free_instruction(setup, episodes, tmp_path):
    policy, views = setup.load("policy")
    said = []
    scene = find_scene(episodes, "Move an apple to the sofa")
    film = play(
        policy,
        views,
        scene,
        EmbeddedSimulator(CAMERA),
        tmp_path / "play.gif",
        "Move an apple to the sofa",
        3,
        said.append,
    )
    assert film.success is None and len(film.shots) == 4 and len(said) == 5
    assert film.shots[0].image.shape == (32, 32, 3)
