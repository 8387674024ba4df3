"""Atari: what the console's memory says is what the screen shows."""

import numpy as np
import pytest
from environment_contract import EnvironmentContract

from llarp.config import load_params
from llarp.environments.atari import AtariSimulator
from llarp.environments.atari_games import ACTIONS, BREAKOUT, FREEWAY, GAMES, PONG
from llarp.environments.make import make_environment
from llarp.errors import UserError

pytest.importorskip("ale_py", reason="needs the extra `environments`")

PARAMS = load_params().model_copy(update={"environment": "atari"})


class TestAtari(EnvironmentContract):
    @pytest.fixture(scope="class")
    @classmethod
    def environment(cls):
        return make_environment(PARAMS)

    @pytest.fixture(scope="class")
    @classmethod
    def three(cls, environment):
        return list(environment.generate("train_validation", 3))

    def test_the_games_take_turns(self, three):
        assert {episode.layout.split("-")[0] for episode in three} == set(GAMES)
        assert {episode.family for episode in three} == {game.family for game in GAMES.values()}

    def test_waiting_solves_nothing(self, environment, three):
        simulator = environment.simulator()
        for episode in three:
            simulator.reset(episode)
            for _ in range(environment.horizon):
                simulator.apply("wait")
            assert not simulator.success

    def test_new_modes_and_other_words_are_for_evaluation(self, environment):
        assert all(game.train != game.new for game in GAMES.values())
        assert not {text for game in GAMES.values() for text in game.wordings} & {
            text for game in GAMES.values() for text in game.rephrasings
        }
        (new,) = environment.generate("new_scenes", 1)
        assert new.layout == "pong-0-1"
        (said,) = environment.generate("rephrasing", 1)
        assert said.instruction in PONG.rephrasings


@pytest.fixture
def console():
    return AtariSimulator(112, 112)


def middle_of(screen, colour, rows, columns):
    """(y, x) middle of a colour in a part of the 210 x 160 screen; None where it is not seen."""
    found = np.argwhere((screen[rows, columns] == colour).all(-1))
    return None if not len(found) else found.mean(0) + np.array([rows.start, columns.start])


def test_the_paddle_of_pong_is_where_its_memory_says(console):
    console.begin("pong-0-0", 4)
    pairs = []
    for action in ("up",) * 3 + ("down",) * 4 + ("wait", "up"):
        console.apply(action)
        green = middle_of(console.console.getScreenRGB(), (92, 186, 92), slice(34, 194), slice(130, 160))
        if green is not None:
            pairs.append((green[0], int(console.console.getRAM()[51])))
    screen, memory = np.array(pairs).T
    assert len(pairs) > 4 and np.ptp(memory) > 20
    assert np.corrcoef(screen, memory)[0, 1] > 0.98


def test_up_in_freeway_is_up_on_the_screen(console):
    console.begin("freeway-0-0", 4)
    heights = [int(console.console.getRAM()[14])]
    for _ in range(3):
        console.apply("up")
        heights.append(int(console.console.getRAM()[14]))
    assert FREEWAY.cost(console.console.getRAM()) == 256 - heights[-1] and max(heights) > heights[0]


def test_a_brick_counts_once(console):
    console.begin("breakout-0-0", 2)
    for action in console.expert():
        before = console.success
        console.apply(action)
        if console.success or console.lost:
            break
    assert not before and console.success != console.lost


def test_the_expert_leaves_the_console_as_it_was(console):
    console.begin("freeway-0-0", 1)
    before, key = console.console.getRAM().tobytes(), console.view_key()
    next(console.expert())
    assert console.console.getRAM().tobytes() == before and console.view_key() == key


def test_buttons_are_known_to_the_console_and_to_the_policy():
    from ale_py import Action

    for game in (PONG, BREAKOUT, FREEWAY):
        assert set(game.buttons) <= set(ACTIONS)
        assert all(hasattr(Action, button) for button in game.buttons.values())
        assert {action for tried in game.tries for action in tried} <= {"wait", *game.buttons}


def test_an_unknown_game_is_named(console):
    with pytest.raises(UserError, match="no game is called 'chess'"):
        console.begin("chess-0-0", 1)
