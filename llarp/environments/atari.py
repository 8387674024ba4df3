"""Atari (arXiv 1207.4708) as an environment family: three games of `ale-py`, the goal as instruction.

One action is held for FRAMES_PER_ACTION frames of the console, so that 32 actions are a good 4 seconds: enough to
return a ball, to break a brick or to cross a road. An episode begins in the middle of a game that chance has played for
a while, where waiting would not do; nothing is random after that. The expert reads the console's memory and tries its
actions out before it takes one.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from itertools import repeat
from typing import Any, ClassVar

import numpy as np

from llarp.config import EnvironmentName
from llarp.environments.atari_games import ACTIONS, GAMES, AtariGame, Memory
from llarp.environments.base import OwnSplit, SplitFacts
from llarp.environments.extra import require
from llarp.environments.games import Game, GameEnvironment, GameEpisode, name, solve
from llarp.errors import UserError

FRAMES_PER_ACTION = 8
"""Of the 60 per second."""
ROWS = slice(15, 195)
"""Of the screen's 210: the playing field, without score and frame."""
WARM_UP = (64, 512)
"""Fewest and most frames before an episode begins."""
LONGEST_HOLD = 16
"""Most frames that chance holds an action."""
VERSION = 1
"""Of cropping and scaling: part of every view key."""


class Atari(GameEnvironment):
    """Pong, Breakout and Freeway."""

    name: ClassVar[EnvironmentName] = "atari"
    title: ClassVar[str] = "Atari"
    actions: ClassVar[tuple[str, ...]] = ACTIONS
    horizon: ClassVar[int] = 32
    splits: ClassVar[Mapping[str, SplitFacts]] = {
        "train": OwnSplit("Train", "nothing"),
        "train_validation": OwnSplit("Train Validation", "nothing but the episodes"),
        "new_scenes": OwnSplit("New Game Modes", "switches of the console that training never sees"),
        "rephrasing": OwnSplit("Instruction Rephrasing", "other wordings of the same goals"),
    }

    def simulator(self) -> "AtariSimulator":
        """UserError when ale-py is missing."""
        return AtariSimulator(self.params.camera.width, self.params.camera.height)

    def attempt(
        self, game: "AtariSimulator", split: str, number: int, seed: int, rng: np.random.Generator
    ) -> GameEpisode | None:
        """See `GameEnvironment.attempt`; the games take turns."""
        played = list(GAMES.values())[number % len(GAMES)]
        mode, difficulty = played.new if split == "new_scenes" else played.train
        layout = f"{played.rom}-{mode}-{difficulty}"
        pool = "rephrasings" if split == "rephrasing" else "wordings"
        wording = int(rng.integers(len(getattr(played, pool))))
        template, text = f"{pool}.{played.family}.{wording}", getattr(played, pool)[wording]
        game.begin(layout, seed)
        if not self.may_have(split, game) or solve(game, repeat("wait"), self.horizon):
            return None  # or it succeeds by itself
        game.begin(layout, seed)
        plan = solve(game, game.expert(), self.horizon)
        if plan is None:
            return None
        return GameEpisode(name(split, number), split, played.family, template, text, layout, seed, plan)


class AtariSimulator(Game):
    """A console and its screen."""

    def __init__(self, width: int, height: int) -> None:
        """Args:
        width: of the image, pixels.
        height: of the image, pixels.
        """
        self._ale = require("ale_py", "ale-py", "atari")
        self._ale.ALEInterface.setLoggerMode(self._ale.LoggerMode.Error)
        self.width, self.height = width, height
        self._consoles: dict[str, tuple[Any, Any]] = {}
        self._image: np.ndarray | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, 3)."""
        return self.height, self.width, 3

    def reset(self, episode: GameEpisode) -> None:
        """Plays the game's beginning; UserError when there is no such game."""
        self.begin(episode.layout, episode.seed)

    def begin(self, layout: str, seed: int) -> None:
        """Switches the console on and lets chance play as long as the seed says.

        Args:
            layout: `<rom>-<mode>-<difficulty>`.
            seed: of the beginning.

        """
        self.game, self.console = self._insert(layout)
        self._press = [getattr(self._ale.Action, self.game.buttons.get(action, "NOOP")) for action in ACTIONS]
        rng = np.random.default_rng(seed)
        self._start()
        frames = int(rng.integers(*WARM_UP))
        while frames > 0:
            action, hold = ACTIONS[rng.integers(len(ACTIONS))], int(rng.integers(1, LONGEST_HOLD + 1))
            for _ in range(min(hold, frames)):
                self.console.act(self._press[ACTIONS.index(action)])
            frames -= hold
        self._start()

    def apply(self, action: str) -> bool:
        """Holds an action; always valid, for time passes whatever one does."""
        self._image = None
        for _ in range(FRAMES_PER_ACTION):
            memory = self._frame(action)
            self.lost = self.lost or self.game.lost(memory)
            self._events += not self.lost and self.game.event(memory)
        self.fraction = min(1.0, self._events / self.game.wanted)
        self.success = self._events >= self.game.wanted
        return True

    def _frame(self, action: str) -> Memory:
        before = self.console.getRAM()
        points = self.console.act(self._press[ACTIONS.index(action)])
        return Memory(before, self.console.getRAM(), points)

    def view_key(self) -> bytes:
        """Digest of the image itself."""
        content = repr((VERSION, self.image_shape)).encode() + self._draw().tobytes()
        return hashlib.blake2b(content, digest_size=16).digest()

    def render(self) -> np.ndarray:
        """uint8[H, W, 3]: the playing field now."""
        return self._draw().copy()

    def expert(self) -> Iterator[str]:
        """The beginning of what costs least among `AtariGame.tries`, again and again."""
        while True:
            if self.game.cost(self.console.getRAM()) == 0.0:
                yield "fire"  # there is nothing to do until the ball comes
                continue
            yield from min(self.game.tries, key=self._cost_after)[: self.game.keep]

    def _cost_after(self, actions: tuple[str, ...]) -> float:
        """What the console is worth after some actions; it is left as it was."""
        now = self.console.cloneState()
        try:
            for action in actions:
                for _ in range(FRAMES_PER_ACTION):
                    if self.game.event(self._frame(action)):
                        return -math.inf
            return self.game.cost(self.console.getRAM())
        finally:
            self.console.restoreState(now)

    def _start(self) -> None:
        self.success, self.fraction = False, 0.0
        self._events, self.lost = 0, False
        self._image = None

    def _draw(self) -> np.ndarray:
        if self._image is None:
            from PIL import Image

            field = Image.fromarray(self.console.getScreenRGB()[ROWS])
            self._image = np.asarray(field.resize((self.width, self.height), Image.Resampling.BOX))
        return self._image

    def _insert(self, layout: str) -> tuple[AtariGame, Any]:
        """The game of a layout and its console, just switched on."""
        rom, _, switches = layout.partition("-")
        if rom not in GAMES:
            raise UserError(f"no game is called {rom!r}", "environment: atari", f"choose one of: {', '.join(GAMES)}")
        if layout not in self._consoles:
            mode, difficulty = map(int, switches.split("-"))
            console = self._ale.ALEInterface()
            console.setInt("random_seed", 0)
            console.setFloat("repeat_action_probability", 0.0)
            console.loadROM(self._ale.roms.get_rom_path(rom))
            console.setMode(mode)
            console.setDifficulty(difficulty)
            console.reset_game()
            self._consoles[layout] = console, console.cloneState()
        console, beginning = self._consoles[layout]
        console.restoreState(beginning)
        return GAMES[rom], console
