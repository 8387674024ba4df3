"""What every simulator must do: inherit and give a `simulator` fixture that plays the layouts used here."""

import numpy as np
import pytest
from sim_episodes import inside, make_episode

from llarp.errors import UserError
from llarp.scenes.catalog import NAV_TARGETS
from llarp.tasks.goals import Predicate
from llarp.tasks.skills import SKILLS, Skill


def snapshot(simulator):
    """Every state that a skill could change, as the simulator tells it."""
    atoms = [Predicate("not_holding"), Predicate("opened_fridge", ("fridge_handle",))]
    atoms += [Predicate("opened_cab", (name,)) for name in NAV_TARGETS if "drawer_handle" in name]
    atoms += [Predicate("robot_at", (name,)) for name in NAV_TARGETS]
    for entry in simulator.episode.objects:
        atoms += [Predicate("holding", (entry.name,)), Predicate("on_top", (entry.name, entry.receptacle))]
        atoms += [Predicate("robot_at_obj", (entry.name,))]
    return [simulator.holds(atom) for atom in atoms], [simulator.is_valid(skill) for skill in SKILLS]


def wander(simulator, seed, steps=24):
    """Random skills, every other one valid; yields after each."""
    rng = np.random.default_rng(seed)
    for step in range(steps):
        choice = [skill for skill in SKILLS if simulator.is_valid(skill)] if step % 2 else SKILLS
        skill = choice[rng.integers(len(choice))]
        yield skill, simulator.apply(skill)


def look_at(simulator, *skills):
    """Applies valid skills; returns key and image."""
    for skill in skills:
        assert simulator.apply(skill), skill
    return simulator.view_key(), simulator.render()


class SimulatorContract:
    def test_images_and_keys_have_the_shape_they_say(self, simulator):
        simulator.reset(make_episode())
        image, key = simulator.render(), simulator.view_key()
        assert image.shape == simulator.image_shape and image.dtype == np.uint8
        assert isinstance(key, bytes) and len(key) == 16

    def test_an_invalid_skill_changes_nothing(self, simulator):
        simulator.reset(make_episode(2))
        kinds = set()
        for target in ("sofa", "left_counter", "fridge"):
            simulator.apply(Skill("nav", target))
            before, key = snapshot(simulator), simulator.view_key()
            for skill in SKILLS:
                if not simulator.is_valid(skill):
                    assert simulator.apply(skill) is False
                    kinds.add(skill.verb)
            assert snapshot(simulator) == before and simulator.view_key() == key
        assert kinds >= {"pick", "place", "close_fridge", "close_cab"}

    def test_apply_tells_what_is_valid_told(self, simulator):
        simulator.reset(make_episode(3))
        rng = np.random.default_rng(0)
        for _ in range(40):
            skill = SKILLS[rng.integers(len(SKILLS))]
            assert simulator.is_valid(skill) == simulator.apply(skill)

    def test_the_same_skills_give_the_same_views(self, simulator):
        runs = []
        for _ in range(2):
            simulator.reset(make_episode(4))
            runs.append([(simulator.view_key(), simulator.render().tobytes()) for _ in wander(simulator, 1)])
        assert runs[0] == runs[1]

    def test_reset_leaves_nothing_behind(self, simulator):
        simulator.reset(make_episode(5))
        first, key, image = snapshot(simulator), simulator.view_key(), simulator.render()
        for _ in wander(simulator, 2):
            pass
        simulator.reset(make_episode(5))
        assert snapshot(simulator) == first and simulator.view_key() == key
        np.testing.assert_array_equal(simulator.render(), image)

    def test_equal_keys_mean_equal_images(self, simulator):
        seen, repeated = {}, 0
        for seed in (6, 6, 7):
            simulator.reset(make_episode(seed, "gen_train_0002"))
            for _ in wander(simulator, seed, 40):
                key, image = simulator.view_key(), simulator.render().tobytes()
                repeated += key in seen
                assert seen.setdefault(key, image) == image
        assert repeated > 20 and len(set(seen.values())) > 20

    def test_an_image_is_a_copy(self, simulator):
        simulator.reset(make_episode())
        image = simulator.render()
        kept = image.copy()
        image[:] = 0
        np.testing.assert_array_equal(simulator.render(), kept)

    def test_a_held_object_is_seen_wherever_the_robot_goes(self, simulator):
        simulator.reset(make_episode(8))
        category = next(entry.category for entry in simulator.episode.objects if entry.receptacle == "brown_table")
        empty_key, empty = look_at(simulator, Skill("nav", "sofa"))
        held_key, held = look_at(simulator, Skill("nav", "brown_table"), Skill("pick", category), Skill("nav", "sofa"))
        assert held_key != empty_key
        changed = (held != empty).any(-1)
        assert changed.mean() > 0.005
        assert changed[: changed.shape[0] // 2].sum() == 0, "it is held low"

    def test_a_picked_object_leaves_its_place(self, simulator):
        apple = inside("sink")
        simulator.reset(make_episode(9, extra=[apple]))
        before_key, before = look_at(simulator, Skill("nav", "sink"))
        category = simulator.pickable("apple") and "apple"
        after_key, after = look_at(simulator, Skill("pick", category))
        upper = slice(0, before.shape[0] * 3 // 5)  # the hand is below
        assert before_key != after_key and (before[upper] != after[upper]).any(-1).sum() > 10

    @pytest.mark.parametrize(
        ("handle", "verb"),
        [("fridge_handle", "fridge"), *((name, "cab") for name in NAV_TARGETS if name.endswith("drawer_handle"))],
    )
    def test_what_is_open_is_seen(self, simulator, handle, verb):
        target = None if verb == "fridge" else handle
        simulator.reset(make_episode(10))
        shut_key, shut = look_at(simulator, Skill("nav", handle))
        open_key, opened = look_at(simulator, Skill(f"open_{verb}", target))
        assert open_key != shut_key and (opened != shut).any(-1).mean() > 0.01
        key, image = look_at(simulator, Skill(f"close_{verb}", target))
        assert key == shut_key
        np.testing.assert_array_equal(image, shut)

    @pytest.mark.parametrize(
        ("receptacle", "open_it"),
        [
            ("fridge", Skill("open_fridge")),
            ("left_drawer", Skill("open_cab", "left_drawer_handle")),
            ("right_drawer", Skill("open_cab", "right_drawer_handle")),
        ],
    )
    def test_what_is_inside_is_seen_when_it_is_open_only(self, simulator, receptacle, open_it):
        full, empty = make_episode(11, extra=[inside(receptacle)]), make_episode(11)
        views = {}
        for name, episode in (("full", full), ("empty", empty)):
            simulator.reset(episode)
            views[name, "shut"] = look_at(simulator, Skill("nav", receptacle))
            views[name, "open"] = look_at(simulator, open_it)
        assert views["full", "shut"][0] == views["empty", "shut"][0]
        assert views["full", "open"][0] != views["empty", "open"][0]
        assert (views["full", "open"][1] != views["empty", "open"][1]).any(-1).sum() >= 10

    def test_an_unknown_layout_is_the_users_error(self, simulator):
        from dataclasses import replace

        with pytest.raises(UserError, match="castle"):
            simulator.reset(replace(make_episode(), layout="castle"))
