"""Recorded frames as demonstrations: what a lab's own camera saw, and what was done.

`frames/episodes.jsonl` in the folder of `llarp.scenes.extension` has one JSON object per line: `id`, `instruction`,
`frames` (image files, paths within `frames/`) and `skills` (names of actions); frame t was seen before skill t.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llarp.errors import UserError
from llarp.scenes.extension import file
from llarp.sim.base import Playable

INDEX = "frames/episodes.jsonl"


@dataclass(frozen=True)
class Recording:
    """One recorded episode of T steps, as much of an episode as demonstrations need."""

    episode_id: str
    instruction: str
    frames: tuple[Path, ...]
    """T image files."""
    demonstration: tuple[Any, ...]
    """T actions."""
    split: str = "train"
    family: str = "recorded"
    template: str = "recorded"
    layout: str = "recorded"
    recorded: tuple[Any, ...] = ()

    @property
    def plan(self) -> tuple[Any, ...]:
        """The same actions."""
        return self.demonstration


def recordings(actions: Sequence[Any]) -> list[Recording]:
    """All recorded episodes; none without the file.

    Args:
        actions: the action space.

    Raises:
        UserError: a line is no recording, or names what is not there.

    """
    path = file(INDEX)
    if path is None:
        return []
    by_name = {str(action): action for action in actions}
    lines = [(number, line) for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if line]
    found = [_recording(line, f"{path}:{number}", path.parent, by_name) for number, line in lines]
    ids = [entry.episode_id for entry in found]
    for (number, _), id in zip(lines, ids, strict=True):
        if ids.count(id) > 1:
            raise UserError(f"id {id!r} is there twice", f"{path}:{number}", "choose another")
    return found


def _recording(line: str, where: str, folder: Path, actions: Mapping[str, Any]) -> Recording:
    try:
        entry = json.loads(line)
        id, instruction = str(entry["id"]), str(entry["instruction"])
        frames, names = [folder / str(name) for name in entry["frames"]], [str(name) for name in entry["skills"]]
    except (ValueError, KeyError, TypeError) as error:
        keys = "write a JSON object with id, instruction, frames and skills"
        raise UserError(f"is no recording ({type(error).__name__}: {error})", where, keys) from None
    if not names or len(frames) != len(names):
        raise UserError(f"has {len(frames)} frames for {len(names)} skills", where, "name one frame before each skill")
    for name in names:
        if name not in actions:
            raise UserError(f"no skill is called {name!r}", where, f"write it as in {next(iter(actions))}")
    for frame in frames:
        if not frame.is_file():
            raise UserError(f"frame {frame.name} is not there", where, "mend its path")
    return Recording(f"recorded-{id}", instruction, tuple(frames), tuple(actions[name] for name in names))


class WithRecordings(Playable):
    """A simulator that plays recordings too: a frame is cut to the camera's shape around its middle and resized."""

    def __init__(self, simulator: Playable) -> None:
        self.simulator = simulator
        self.recording: Recording | None = None
        self.step = 0

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The simulator's."""
        return self.simulator.image_shape

    def reset(self, episode: Any) -> None:
        """Plays an episode of the simulator, or a recording from its first frame."""
        self.recording, self.step = (episode, 0) if isinstance(episode, Recording) else (None, 0)
        if self.recording is None:
            self.simulator.reset(episode)

    def apply(self, action: Any) -> bool:
        """In a recording only what was done then is valid."""
        if self.recording is None:
            return self.simulator.apply(action)
        done = self.recording.demonstration
        valid = self.step < len(done) and done[self.step] == action
        self.step += valid
        return valid

    def view_key(self) -> bytes:
        """Of the image itself, in a recording."""
        if self.recording is None:
            return self.simulator.view_key()
        return hashlib.blake2b(self.render().tobytes(), digest_size=16).digest()

    def render(self) -> np.ndarray:
        """The frame before the next action; UserError when it is no image."""
        if self.recording is None:
            return self.simulator.render()
        from PIL import Image, ImageOps

        path = self.recording.frames[min(self.step, len(self.recording.frames) - 1)]
        height, width, _ = self.image_shape
        try:
            with Image.open(path) as image:
                return np.asarray(ImageOps.fit(image.convert("RGB"), (width, height), Image.Resampling.BICUBIC))
        except OSError as error:
            raise UserError(f"is no image ({error})", path, "save the frame again") from None


@dataclass(frozen=True)
class WithRecordingsOf:
    """Makes a simulator that plays recordings too; can be sent to other processes."""

    make: Callable[[], Playable]

    def __call__(self) -> WithRecordings:
        """A fresh one."""
        return WithRecordings(self.make())
