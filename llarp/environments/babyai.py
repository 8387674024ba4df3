"""BabyAI (arXiv 1810.08272) as an environment family: grid worlds of `minigrid`, with its missions as instructions.

The view is the agent's own: 7 x 7 cells before it, walls hide what is behind them. Demonstrations are those of
minigrid's bot, which knows no more than what it has seen.
"""

import contextlib
import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from llarp.config import EnvironmentName
from llarp.environments.babyai_words import REPHRASINGS, parse
from llarp.environments.base import OwnSplit, SplitFacts
from llarp.environments.extra import require
from llarp.environments.games import Game, GameEnvironment, GameEpisode, name, solve
from llarp.errors import UserError

CELLS = 7
"""Cells of the view, along each edge."""
ACTIONS = ("turn left", "turn right", "go forward", "pick up", "drop", "toggle")
"""In the order of minigrid's `Actions`; its last one, `done`, is of no use in these missions."""
VERSION = 1
"""Of the drawing: part of every view key."""


@dataclass(frozen=True)
class Level:
    """A kind of mission and the rooms it is set in; names as in `BabyAI-<name>-v0`."""

    train: str
    new: str
    """The same in a room of another size, with another number of things."""
    weight: float
    """Share of the episodes."""


LEVELS = (
    Level("GoToLocal", "GoToLocalS6N4", 0.4),
    Level("PickupLoc", "PickupDist", 0.3),
    Level("PutNextLocalS5N3", "PutNextLocalS6N4", 0.3),
)
HELD_OUT = frozenset({("green", "ball"), ("purple", "box"), ("yellow", "key")})
"""Combinations that no mission names in training, though the things lie about."""


class BabyAI(GameEnvironment):
    """Go to things, pick them up, put them next to others."""

    name: ClassVar[EnvironmentName] = "babyai"
    title: ClassVar[str] = "BabyAI"
    actions: ClassVar[tuple[str, ...]] = ACTIONS
    horizon: ClassVar[int] = 32
    splits: ClassVar[Mapping[str, SplitFacts]] = {
        "train": OwnSplit("Train", "nothing"),
        "train_validation": OwnSplit("Train Validation", "nothing but the episodes"),
        "new_scenes": OwnSplit("New Rooms", "rooms of other sizes, other numbers of things"),
        "rephrasing": OwnSplit("Instruction Rephrasing", "other wordings of the same missions"),
        "novel_objects": OwnSplit("Novel Objects", "combinations of colour and kind that training never names"),
    }

    def simulator(self) -> "BabyAISimulator":
        """UserError when minigrid is missing or the image is no square of whole cells."""
        camera = self.params.camera
        if camera.width != camera.height or camera.width % CELLS:
            raise UserError(
                f"{camera.width} x {camera.height} pixels for a view of {CELLS} x {CELLS} cells",
                "camera",
                f"choose equal width and height, a multiple of {CELLS}",
            )
        return BabyAISimulator(camera.width)

    def attempt(
        self, game: "BabyAISimulator", split: str, number: int, seed: int, rng: np.random.Generator
    ) -> GameEpisode | None:
        """See `GameEnvironment.attempt`."""
        weights = np.array([level.weight for level in LEVELS])
        level = LEVELS[rng.choice(len(LEVELS), p=weights / weights.sum())]
        layout = f"BabyAI-{level.new if split == 'new_scenes' else level.train}-v0"
        text = game.begin(layout, seed)
        mission = parse(text)
        if bool(mission.combinations() & HELD_OUT) != (split == "novel_objects") or not self.may_have(split, game):
            return None
        template = f"mission.{mission.family}"
        if split == "rephrasing":
            wording = int(rng.integers(len(REPHRASINGS[mission.family])))
            template, text = f"rephrasing.{mission.family}.{wording}", mission.rephrased(wording)
        plan = solve(game, game.bot(), self.horizon)
        if plan is None:
            return None
        return GameEpisode(name(split, number), split, mission.family, template, text, layout, seed, plan)


class BabyAISimulator(Game):
    """One agent in a grid world, seen by itself."""

    def __init__(self, pixels: int) -> None:
        """Args:
        pixels: width and height of the image, a multiple of CELLS.
        """
        require("minigrid", "minigrid", "babyai")
        self.pixels = pixels
        self._worlds: dict[str, Any] = {}

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, 3)."""
        return self.pixels, self.pixels, 3

    def reset(self, episode: GameEpisode) -> None:
        """Sets the room up; UserError when there is no such level."""
        self.begin(episode.layout, episode.seed)

    def begin(self, level: str, seed: int) -> str:
        """Sets the room of a level up; returns the mission."""
        self.world = self._world(level)
        with contextlib.redirect_stdout(io.StringIO()):  # it tells of every room that it throws away
            self.world.reset(seed=seed)
        self.success, self.fraction = False, 0.0
        return str(self.world.mission)

    def apply(self, action: str) -> bool:
        """One move; invalid when it changes nothing, as walking into a wall does."""
        before = self._state()
        _, reward, ended, _, _ = self.world.step(ACTIONS.index(action))
        if ended and reward > 0:
            self.success, self.fraction = True, 1.0
        return bool(self.success or self._state() != before)

    def view_key(self) -> bytes:
        """Digest of the cells in view with what is known of them, and of the carried thing, which stands among them."""
        cells = self.world.gen_obs()["image"]
        return hashlib.blake2b(repr((VERSION, self.pixels)).encode() + cells.tobytes(), digest_size=16).digest()

    def render(self) -> np.ndarray:
        """uint8[H, W, 3]: the agent at the middle of the lower edge, looking up."""
        image = self.world.get_frame(highlight=True, tile_size=self.pixels // CELLS, agent_pov=True)
        return np.array(image, np.uint8)

    def bot(self) -> Iterator[str]:
        """What minigrid's bot does in the room that was just set up; ends when it knows no way."""
        from minigrid.utils.baby_ai_bot import BabyAIBot

        bot, done = BabyAIBot(self.world), None
        while True:
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    done = int(bot.replan(done))
            except Exception:  # it asserts what does not hold in some rooms, which are then not used
                return
            if done >= len(ACTIONS):
                return
            yield ACTIONS[done]

    def _state(self) -> tuple[Any, ...]:
        """All that an action can change: the agent, its hand and the cell before it."""
        world = self.world
        before = world.grid.get(*world.front_pos)
        return tuple(world.agent_pos), world.agent_dir, id(world.carrying), before and before.encode()

    def _world(self, level: str) -> Any:
        if level not in self._worlds:
            import gymnasium

            try:
                self._worlds[level] = gymnasium.make(level).unwrapped
            except gymnasium.error.Error as error:
                raise UserError(
                    f"no level is called {level!r}", "environment: babyai", "see minigrid's list"
                ) from error
        return self._worlds[level]
