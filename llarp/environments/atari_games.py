"""The Atari games: what is asked for, how it is counted, and where the console's memory keeps what an expert needs.

Addresses are those of the 128 bytes of RAM that `ale-py` shows. A count is made frame by frame.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

ACTIONS = ("wait", "fire", "up", "down", "left", "right")
"""What a player can do with stick and button; a game that has no use for one takes it as `wait`."""


@dataclass(frozen=True)
class Memory:
    """The RAM before and after one frame, and the points that the frame brought."""

    before: np.ndarray
    """uint8[128]"""
    after: np.ndarray
    """uint8[128]"""
    points: float


@dataclass(frozen=True)
class AtariGame:
    """A game with one goal."""

    rom: str
    """Name in `ale_py.roms`."""
    family: str
    """Kind of task."""
    wordings: tuple[str, ...]
    """Instructions of training."""
    rephrasings: tuple[str, ...]
    """Instructions that training never shows."""
    train: tuple[int, int]
    """Mode and difficulty of the console's switches in training."""
    new: tuple[int, int]
    """Those that training never shows."""
    buttons: Mapping[str, str]
    """Action to the name that `ale_py.Action` has for it in this game."""
    wanted: int
    """Events that make success."""
    event: Callable[[Memory], bool]
    """Whether a frame brought an event."""
    lost: Callable[[Memory], bool]
    """Whether a frame ended all hope of success."""
    cost: Callable[[np.ndarray], float]
    """What the expert makes small, from the RAM; exactly 0 before the ball is in play."""
    tries: tuple[tuple[str, ...], ...]
    """What the expert tries out, of equal length; it takes the beginning of what costs least, or of the first such."""
    keep: int = 1
    """Actions that it takes before it tries again."""


_PONG_BALL_X, _PONG_BALL_Y, _PONG_PADDLE_Y, _PONG_ENEMY_POINTS = 49, 54, 51, 13
_PONG_PADDLE_X = 180
"""Nearest that the ball comes from the left to our paddle."""
_PONG_PADDLE_HALF = 6
"""Half of the paddle's height, in the RAM's units."""


def _returned(memory: Memory) -> bool:
    """The ball was before our paddle and now flies away."""
    before, after = int(memory.before[_PONG_BALL_X]), int(memory.after[_PONG_BALL_X])
    return after < before and after >= _PONG_PADDLE_X and before - after < 20


def _pong_cost(ram: np.ndarray) -> float:
    if ram[_PONG_BALL_X] == 0:  # no ball yet
        return 0.0
    return 1 + abs(int(ram[_PONG_PADDLE_Y]) + _PONG_PADDLE_HALF - int(ram[_PONG_BALL_Y]))


_BREAKOUT_BALL_X, _BREAKOUT_BALL_Y, _BREAKOUT_PADDLE_X, _BREAKOUT_LIVES = 99, 101, 72, 57
_BREAKOUT_PADDLE_HALF = 8


def _breakout_cost(ram: np.ndarray) -> float:
    if ram[_BREAKOUT_BALL_Y] == 0:  # no ball yet
        return 0.0
    return 1 + abs(int(ram[_BREAKOUT_PADDLE_X]) + _BREAKOUT_PADDLE_HALF - int(ram[_BREAKOUT_BALL_X]))


_FREEWAY_CHICKEN_Y = 14
"""Grows on the way across."""


PONG = AtariGame(
    rom="pong",
    family="return_ball",
    wordings=(
        "Play pong and return the ball",
        "Hit the ball back with the green paddle",
        "Do not let the ball pass the right paddle",
        "Move the right paddle to where the ball arrives",
        "Send the ball back to the other player",
    ),
    rephrasings=(
        "Bounce the ball back to your opponent",
        "Keep the ball in play on your side",
        "Block the shot with your bat",
    ),
    train=(0, 0),
    new=(0, 1),
    buttons={"up": "RIGHT", "down": "LEFT", "fire": "FIRE"},
    wanted=1,
    event=_returned,
    lost=lambda memory: memory.after[_PONG_ENEMY_POINTS] != memory.before[_PONG_ENEMY_POINTS],
    cost=_pong_cost,
    tries=(("wait",), ("up",), ("down",)),
)
BREAKOUT = AtariGame(
    rom="breakout",
    family="break_brick",
    wordings=(
        "Play breakout and break a brick",
        "Break a brick with the ball",
        "Knock a brick out of the wall",
        "Use the paddle to hit the ball into the bricks",
        "Remove one brick from the coloured wall",
    ),
    rephrasings=(
        "Smash one of the bricks",
        "Make a coloured block disappear",
        "Bat the ball upwards until the wall is smaller",
    ),
    train=(0, 0),
    new=(0, 1),
    buttons={"left": "LEFT", "right": "RIGHT", "fire": "FIRE"},
    wanted=1,
    event=lambda memory: memory.points > 0,
    lost=lambda memory: memory.after[_BREAKOUT_LIVES] != memory.before[_BREAKOUT_LIVES],
    cost=_breakout_cost,
    tries=(("wait",), ("left",), ("right",)),
)
FREEWAY = AtariGame(
    rom="freeway",
    family="cross_road",
    wordings=(
        "Play freeway and cross the road",
        "Get the chicken to the other side of the road",
        "Bring the chicken across all ten lanes",
        "Walk the chicken to the top without being hit",
        "Cross the freeway",
    ),
    rephrasings=(
        "Help the bird reach the far pavement",
        "Take the hen over the motorway",
        "Make it past the traffic to the upper edge",
    ),
    train=(0, 0),
    new=(4, 0),
    buttons={"up": "UP", "down": "DOWN"},
    wanted=1,
    event=lambda memory: memory.points > 0,
    lost=lambda memory: False,
    cost=lambda ram: 256.0 - ram[_FREEWAY_CHICKEN_Y],
    tries=tuple(("wait",) * waits + ("up",) * (9 - waits) for waits in range(5)),
    keep=4,
)
GAMES: Mapping[str, AtariGame] = {game.rom: game for game in (PONG, BREAKOUT, FREEWAY)}
"""Every game by name."""
