"""The vector environment is N single ones, and keeps gymnasium's customs."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from sim_episodes import make_episode

from llarp.config import CameraConfig, RewardConfig
from llarp.errors import UserError
from llarp.sim.batched.vector_env import RearrangementVectorEnv
from llarp.sim.embedded import EmbeddedSimulator
from llarp.sim.env import ID, Deck, RearrangementEnv
from llarp.tasks.episode import HORIZON
from llarp.tasks.skills import INDEX, SKILLS, Skill

CAMERA = CameraConfig(width=32, height=32, fov_deg=84, tilt_deg=43, elevation_m=1.55)
REWARD = RewardConfig(success=10, subgoal=5, invalid=-0.05, slack=-0.01)
SUBGOALS = ("AND(robot_at(fridge_handle))", "AND(opened_fridge(fridge_handle))", "AND(robot_at(sofa))")
GOALS = ("AND(opened_fridge(fridge_handle))", "EXISTS X:apple AND(holding(X))", "AND(robot_at(sofa))")


def episodes(count=6):
    """Tasks that random skills solve now and then; the last without subgoals."""
    return [
        make_episode(
            seed, f"gen_train_000{seed % 2}", goal=GOALS[seed % 3], subgoals=SUBGOALS if seed < count - 1 else ()
        )
        for seed in range(count)
    ]


def make(num_envs=4, count=6, **options):
    return RearrangementVectorEnv(episodes(count), CAMERA, REWARD, num_envs, **options)


def act(env, *skills):
    return env.step(np.array([INDEX[skill] for skill in skills]))


class Seen:
    """Features that are the mean colour of a view; counts what was drawn."""

    shape = (1, 3)

    def __init__(self):
        self.known, self.drawn = {}, 0

    def lookup(self, keys, draw):
        new = [place for place, key in enumerate(keys) if key.tobytes() not in self.known]
        if new:
            self.drawn += len(new)
            for place, image in zip(new, draw(np.array(new)), strict=True):
                self.known[keys[place].tobytes()] = image.mean((0, 1))[None].astype(np.float16)
        return np.stack([self.known[key.tobytes()] for key in keys])


def test_it_is_so_many_single_environments():
    """Rewards, ends, images and infos of 70 steps over several episodes each, equal to the last bit."""
    envs, num_ended = make(5, obs="image", render_mode="rgb_array"), np.zeros(2, int)
    singles = [RearrangementEnv(episodes(), CAMERA, REWARD) for _ in range(5)]
    observation, _ = envs.reset(seed=3)
    for single, number in zip(singles, observation["instruction"], strict=True):
        single.reset(options={"episode": single.episodes[number]})
    rng = np.random.default_rng(0)
    for _ in range(70):
        useful = INDEX[Skill("nav", "sofa")], INDEX[Skill("nav", "fridge")], INDEX[Skill("open_fridge")]
        actions = np.where(rng.random(5) < 0.1, rng.choice(useful, 5), rng.integers(len(SKILLS), size=5))
        observation, rewards, terminations, truncations, infos = envs.step(actions)
        for world, single in enumerate(singles):
            seen, reward, terminated, truncated, info = single.step(actions[world])
            assert (rewards[world], terminations[world], truncations[world]) == (reward, terminated, truncated)
            if terminated or truncated:
                num_ended += terminated, truncated
                last, told = infos["final_obs"][world], infos["final_info"]
                assert infos["_final_obs"][world] and infos["_final_info"][world]
                assert single.episodes[last["instruction"]].episode_id == info["episode_id"]
                np.testing.assert_array_equal(last["image"], seen["image"])
                assert all(told[name][world] == info[name] for name in ("success", "progress", "num_invalid"))
                number = observation["instruction"][world]
                seen, info = single.reset(options={"episode": single.episodes[number]})
            elif "final_obs" in infos:
                assert infos["final_obs"][world] is None and not infos["_final_info"][world]
            np.testing.assert_array_equal(observation["image"][world], seen["image"])
            assert envs.instructions[world] == seen["instruction"]
            assert envs.episode_ids[world] == info["episode_id"]
            assert all(infos[name][world] == info[name] for name in ("success", "progress", "num_invalid"))
            np.testing.assert_array_equal(envs.valid_actions()[world], info["valid_actions"])
    np.testing.assert_array_equal(envs.render(), observation["image"])
    assert num_ended.min() >= 3, "some succeed, some run out of steps"


@pytest.mark.filterwarnings("error")
def test_gymnasium_makes_it():
    envs = gymnasium.make_vec(
        ID, 3, "vector_entry_point", episodes=episodes(), camera=CAMERA, reward=REWARD, obs="image"
    )
    assert isinstance(envs.unwrapped, RearrangementVectorEnv) and envs.spec.id == ID
    assert envs.metadata["autoreset_mode"] == gymnasium.vector.AutoresetMode.SAME_STEP
    assert envs.observation_space == batch_space(envs.single_observation_space, 3)
    assert envs.action_space == batch_space(envs.single_action_space, 3)
    observation, infos = envs.reset(seed=0)
    for _ in range(HORIZON + 1):
        assert observation in envs.observation_space
        assert all(infos[f"_{name}"].shape == (3,) for name in infos if name[0] != "_")
        observation, rewards, terminations, truncations, infos = envs.step(envs.action_space.sample())
        assert rewards.shape == terminations.shape == truncations.shape == (3,)
        assert (rewards.dtype, terminations.dtype, truncations.dtype) == (np.float64, bool, bool)
        for world in np.flatnonzero(terminations | truncations):
            assert infos["final_obs"][world] in envs.single_observation_space
    envs.close()


def test_gymnasiums_wrappers_take_it():
    envs = RecordEpisodeStatistics(make(2))
    envs.reset(seed=0)
    for step in range(HORIZON):
        *_, infos = envs.step(np.full(2, INDEX[Skill("close_fridge")]))
        assert ("episode" in infos) == (step == HORIZON - 1)
    np.testing.assert_allclose(infos["episode"]["r"], HORIZON * -0.06, rtol=1e-5)


def test_it_truncates_at_the_horizon_and_begins_anew_in_the_same_step():
    envs = make(2)
    envs.reset(options={"episodes": [0, 1]})
    for step in range(1, HORIZON):
        *_, terminations, truncations, infos = act(envs, Skill("close_fridge"), Skill("close_fridge"))
        assert not (terminations | truncations).any() and infos["num_invalid"].tolist() == [step, step]
    *_, terminations, truncations, infos = act(envs, Skill("close_fridge"), Skill("nav", "sofa"))
    assert truncations.all() and not terminations.any()
    assert infos["final_info"]["num_invalid"].tolist() == [HORIZON, HORIZON - 1]
    assert infos["num_invalid"].tolist() == [0, 0] and envs.num_steps.tolist() == [0, 0]
    np.testing.assert_allclose(infos["final_info"]["progress"], [0, 1 / 3])


def test_one_ends_the_others_go_on():
    envs = make(3)
    envs.reset(options={"episodes": [0, 0, 2]})
    act(envs, Skill("nav", "fridge_handle"), Skill("nav", "fridge_handle"), Skill("nav", "sink"))
    _, rewards, terminations, _, infos = act(envs, Skill("open_fridge"), Skill("nav", "sink"), Skill("nav", "sofa"))
    assert terminations.tolist() == [True, False, True] == infos["_final_info"].tolist()
    np.testing.assert_allclose(rewards, [10 + 5 * 2 / 3 - 0.01, -0.01, 15 - 0.01])
    assert envs.num_steps.tolist() == [0, 2, 0] and infos["episode_index"][1] == 0


def test_a_seed_decides_everything():
    def run(seed):
        envs = make(3)
        observation, _ = envs.reset(seed=seed)
        seen = [observation["instruction"]]
        for step in range(60):
            observation, rewards, *_ = envs.step((np.arange(3) * 17 + 5 * step) % len(SKILLS))
            seen += [observation["instruction"], rewards]
        return np.concatenate(seen)

    np.testing.assert_array_equal(run(1), run(1))
    assert not np.array_equal(run(1), run(2))


def test_a_reset_without_seed_goes_on_with_the_order():
    envs = make(3)
    first = envs.reset(seed=0)[0]["instruction"]
    second = envs.reset()[0]["instruction"]
    assert sorted([*first, *second]) == list(range(6))


def test_a_deck_is_dealt_whole_before_it_is_shuffled_again():
    deck = Deck(5, [0])
    dealt = [number for size in (3, 4, 8) for number in deck.deal(size)]
    rounds = [dealt[start : start + 5] for start in (0, 5, 10)]
    assert all(sorted(entry) == list(range(5)) for entry in rounds) and rounds[0] != rounds[1]
    assert deck.dealt == 15 and deck.deal(0) == []


def test_a_deck_goes_on_from_the_number_dealt():
    whole = Deck(5, [7, 1]).deal(23)
    for dealt in (0, 4, 5, 17):
        deck = Deck(5, [7, 1])
        deck.dealt = dealt
        assert deck.deal(6) == whole[dealt : dealt + 6]
    assert Deck(5, [7, 2]).deal(23) != whole


def test_features_are_looked_up_by_the_keys_of_the_embedded_simulator():
    """What single simulators have seen is not drawn again, and their keys name the same views."""
    features, single = Seen(), EmbeddedSimulator(CAMERA)
    endless = [make_episode(seed, f"gen_train_000{seed % 2}", goal="OR()") for seed in range(4)]
    plans = np.random.default_rng(0).integers(len(SKILLS), size=(4, HORIZON - 1))
    for episode, plan in zip(endless, plans, strict=True):
        single.reset(episode)
        for action in (None, *plan):
            if action is not None:
                single.apply(SKILLS[action])
            features.known[single.view_key()] = single.render().mean((0, 1))[None].astype(np.float16)

    envs = RearrangementVectorEnv(endless, CAMERA, REWARD, 4, "features", features)
    observation, _ = envs.reset(options={"episodes": range(4)})
    for actions in plans.T:
        assert observation in envs.observation_space
        drawn = envs.draw(np.arange(4)).mean((1, 2))[:, None].astype(np.float16)
        np.testing.assert_array_equal(observation["features"], drawn)
        observation, *_ = envs.step(actions)
    assert features.drawn == 0 and len(features.known) > 20
    last = observation["features"]
    *_, truncations, infos = envs.step(np.full(4, INDEX[Skill("close_fridge")]))
    assert truncations.all()
    np.testing.assert_array_equal([final["features"] for final in infos["final_obs"]], last)


def test_nothing_is_looked_at_unless_asked_for(monkeypatch):
    from llarp.sim import sight

    monkeypatch.setattr(sight, "object_words", lambda things: pytest.fail("looked"))
    envs = make(2)
    envs.reset(seed=0)
    act(envs, Skill("nav", "sofa"), Skill("nav", "sink"))
    assert envs.render() is None


def test_no_episodes_is_the_users_error():
    with pytest.raises(UserError, match="no episodes"):
        RearrangementVectorEnv((), CAMERA, REWARD, 2)
