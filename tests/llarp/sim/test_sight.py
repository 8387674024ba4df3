"""What could be in the picture, and keys of views."""

import numpy as np
from sim_episodes import make_episode

from llarp.config import load_params
from llarp.scenes.catalog import NAV_TARGETS
from llarp.sim import sight
from llarp.sim.drawing.painter import Placement
from llarp.sim.embedded import EmbeddedSimulator, open_joints
from llarp.sim.sight import Things
from llarp.tasks.skills import Skill

CAMERA = load_params().camera


def test_what_is_not_in_the_picture_leaves_no_pixel_there():
    """And nothing counts as in the picture that a camera behind a keyhole would not see either: half is left out."""
    simulator, left_out, all_of_them = EmbeddedSimulator(CAMERA), 0, 0
    for seed, name in enumerate(("gen_train_0000", "gen_new_0001", "v3_sc0_staging_00")):
        simulator.reset(make_episode(seed, name))
        doors = open_joints(np.ones(5, bool))
        for target in NAV_TARGETS:
            simulator.apply(Skill("nav", target))
            everything = sorted(simulator._placement(name) for name in simulator.objects)
            shown = simulator.view().placements
            draw, here = simulator.painter.draw, (simulator.layout, simulator.pose)
            np.testing.assert_array_equal(draw(*here, (), everything), draw(*here, (), shown))
            stand = sight.STAND[target]
            some = open_joints(sight.doors_in_picture(simulator.painter.camera, name)[:, stand])
            np.testing.assert_array_equal(draw(*here, doors, ()), draw(*here, some, ()))
            left_out += len(everything) - len(shown)
            all_of_them += len(everything)
    assert 0.4 < left_out / all_of_them < 0.95


def test_words_are_the_same_alone_and_together():
    rng = np.random.default_rng(0)
    things = Things(rng.integers(900, size=50), rng.uniform(-5, 5, (50, 4)))
    words = sight.object_words(things)
    alone = [sight.object_words(Things(look[None], place[None]))[0] for look, place in zip(*things, strict=True)]
    np.testing.assert_array_equal(words, alone)
    assert len(np.unique(words)) == 100


def test_words_depend_on_every_bit():
    """Flipping any bit of any number flips about half of the bits of the word."""
    place = np.array([[1.25, -3.5, 0.87, 2.0]])
    base = sight.object_words(Things(np.array([7]), place))[0]
    flips = []
    for number in range(4):
        for bit in range(64):
            other = place.copy()
            other.view(np.uint64)[0, number] ^= np.uint64(1) << np.uint64(bit)
            word = sight.object_words(Things(np.array([7]), other))[0]
            flips.append([bin(int(a) ^ int(b)).count("1") for a, b in zip(base, word, strict=True)])
    assert np.min(flips) > 10 and 28 < np.mean(flips) < 36


def test_the_order_of_objects_does_not_matter():
    episode = make_episode(1)
    keys = set()
    for objects in (episode.objects, episode.objects[::-1]):
        from dataclasses import replace

        simulator = EmbeddedSimulator(CAMERA)
        simulator.reset(replace(episode, objects=objects))
        simulator.apply(Skill("nav", "sofa"))
        keys.add(simulator.view_key())
    assert len(keys) == 1


def test_a_placement_prints_its_look_and_place():
    """The painter and the keys are given the same numbers."""
    simulator = EmbeddedSimulator(CAMERA)
    simulator.reset(make_episode(1))
    first = simulator.episode.objects[0]
    placement = simulator._placement(first.name)
    assert placement == Placement(
        first.asset, first.variant, *first.position[:2],
        simulator.layout.surfaces[first.receptacle].center[2], sight.yaw(first.quaternion),
    )  # fmt: skip
