"""Probes find what features tell, and nothing where they tell nothing."""

import numpy as np
import pytest
from seen_episodes import CAMERA, make_episode

from llarp.scenes.catalog import CATEGORIES
from llarp.sim.embedded import EmbeddedSimulator
from llarp.tasks.skills import Skill
from llarp.vision.probe import (
    PLACES,
    Labelled,
    Probe,
    average_precision,
    class_token_suffices,
    probe,
    sample_labelled,
)
from llarp.vision.warm import replay


def made_up(count=400, seed=0):
    """Truths without frames."""
    rng = np.random.default_rng(seed)
    return Labelled(
        frames=np.zeros((count, 1, 1, 3), np.uint8),
        in_view=rng.random((count, 33)) < 0.2,
        receptacle=rng.integers(0, len(PLACES), count),
        held=rng.integers(0, 34, count),
        fridge_open=rng.random(count) < 0.3,
    )


def test_average_precision_by_hand():
    scores, truth = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
    assert average_precision(scores, truth) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(scores, ~truth) == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert np.isnan(average_precision(scores, np.zeros(4, bool)))


def test_features_that_hold_the_truth_are_read():
    sample = made_up()
    held = sample.held[:, None] == np.arange(34)
    places = sample.receptacle[:, None] == np.arange(len(PLACES))
    truth = np.concatenate([sample.in_view, places, held, sample.fridge_open[:, None]], 1).astype(np.float32)
    mixed = truth @ np.random.default_rng(1).normal(size=(85, 100)).astype(np.float32)
    found = probe("truth", mixed, sample)
    assert found.width == 100
    assert min(found.in_view, found.receptacle, found.held, found.fridge_open) > 0.95


def test_features_of_noise_tell_no_more_than_chance():
    sample = made_up()
    found = probe("noise", np.random.default_rng(1).normal(size=(400, 50)).astype(np.float32), sample)
    assert found.in_view < 0.4 and found.receptacle < 0.2 and found.held < 0.2 and found.fridge_open < 0.5


def test_what_no_test_frame_shows_is_nan():
    sample = made_up()
    nowhere, empty = np.zeros(400, int), np.full(400, 33)
    never = Labelled(sample.frames, np.zeros_like(sample.in_view), nowhere, empty, np.zeros(400, bool))
    found = probe("noise", np.random.default_rng(1).normal(size=(400, 5)).astype(np.float32), never)
    assert np.isnan([found.in_view, found.receptacle, found.held, found.fridge_open]).all()


def test_the_class_token_must_match_the_patches_everywhere():
    patches = Probe("patches", 10, 0.6, 0.9, 0.9, float("nan"))
    assert class_token_suffices([Probe("cls", 1, 0.595, 0.9, 0.95, 0.1), patches])
    assert not class_token_suffices([Probe("cls", 1, 0.7, 0.9, 0.8, 0.1), patches])
    assert not class_token_suffices([Probe("cls", 1, 0.5, 0.9, 0.9, 0.1), patches])


def test_labels_are_what_the_simulator_shows():
    episode = make_episode(0)
    simulator = EmbeddedSimulator(CAMERA)
    open_views = [simulator.view_key() for _ in replay(simulator, episode) if "fridge_handle" in simulator.opened]
    sample = sample_labelled([episode], EmbeddedSimulator(CAMERA), CAMERA, 100, seed=0)
    assert sample.frames.shape == (len(sample.held), 32, 32, 3) and sample.in_view.shape == (len(sample.held), 33)
    assert 0 < sample.fridge_open.sum() <= len(open_views)
    assert (sample.held == len(CATEGORIES)).all()  # nothing is ever picked up
    assert sample.in_view.any() and not sample.in_view.all()
    seen = {PLACES[number] for number in sample.receptacle}
    assert {None, "fridge_handle"} <= seen <= {None, *(skill.target for skill in episode.demonstration)}


def test_the_frames_to_fit_on_may_be_counted_by_the_caller():
    sample = made_up()
    truth = sample.in_view.astype(np.float32)
    truth[300:] = ~sample.in_view[300:]
    assert probe("turned", truth, sample, 300).in_view < 0.3


def test_the_held_category_is_told():
    import dataclasses

    episode = make_episode(0)
    apple = next(entry for entry in episode.objects if entry.category == "apple")
    steps = (Skill("nav", apple.receptacle), Skill("pick", "apple"), Skill("nav", "chair"))
    simulator = EmbeddedSimulator(CAMERA)
    sample = sample_labelled([dataclasses.replace(episode, demonstration=steps)], simulator, CAMERA, 100, seed=0)
    number = [entry.id for entry in CATEGORIES].index("apple")
    assert sample.held.tolist() == [33, 33, number]
