"""Pictures of an episode: a film strip (one image) and an animated GIF, both with the actions as captions.

Nothing is recorded while evaluating: an episode and its actions give the same views again.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from llarp.environments.base import AnyEpisode, Environment
from llarp.environments.rearrangement import Rearrangement
from llarp.evaluate.rows import Row, source
from llarp.files import file_aside
from llarp.sim.base import Playable

_INK, _PALE, _PAPER = "#1f2933", "#7b8794", "#ffffff"
_GOOD, _BAD, _NEUTRAL = "#2f855a", "#c53030", "#52606d"
_GAP = 14  # pixels around everything in a strip
_TILE_WIDTH, _TILES_PER_ROW, _MOST_TILES = 216, 6, 12


@dataclass(frozen=True)
class Shot:
    """One image and the action chosen on seeing it."""

    image: np.ndarray
    """uint8[H, W, 3]."""
    words: str | None
    """The action as one would say it; None after the last."""
    valid: bool = True


@dataclass(frozen=True)
class Film:
    """One episode in pictures."""

    title: str
    """The instruction."""
    shots: tuple[Shot, ...]
    """One per action, and one of what was seen after the last."""
    success: bool | None
    """None when nobody knows the goal."""


@dataclass(frozen=True)
class Strip:
    """A film strip that was written to a file, and what it shows."""

    path: Path
    split: str
    source: str
    """generated or released."""
    episode_id: str
    instruction: str
    success: bool


def record(
    simulator: Playable,
    episode: AnyEpisode,
    actions: Iterable[str],
    success: bool | None,
    family: type[Environment] = Rearrangement,
) -> Film:
    """Plays an episode's actions (by name, as in a row of results) again and keeps every image."""
    by_name = dict(zip(family.names(), family.actions, strict=True))
    simulator.reset(episode)
    shots = []
    for name in actions:
        action, image = by_name[name], simulator.render()
        shots.append(Shot(image, family.words(action), simulator.apply(action)))
    return Film(episode.instruction, (*shots, Shot(simulator.render(), None)), success)


def write_strips(
    rows: Iterable[Row],
    episodes: Iterable[AnyEpisode],
    simulator: Playable,
    per_split: int,
    folder: Path,
    family: type[Environment] = Rearrangement,
) -> list[Strip]:
    """Films one policy's first successes and first failures of every split.

    Args:
        rows: results of that policy, in any order of splits.
        episodes: at least those of the rows.
        simulator: plays them again.
        per_split: at most this many successes, and as many failures, of each split and source.
        folder: where the PNG files go.
        family: the environment that they are from.

    """
    by_id = {(source(episode), episode.episode_id): episode for episode in episodes}
    taken: Counter[tuple[str, str, bool]] = Counter()
    strips = []
    for row in rows:
        kind = (row["source"], row["split"], row["success"])
        if taken[kind] == per_split:
            continue
        taken[kind] += 1
        episode = by_id[row["source"], row["episode_id"]]
        verdict = "success" if row["success"] else "failure"
        path = folder / f"{row['source']}-{row['split']}-{verdict}-{taken[kind]}.png"
        film = record(simulator, episode, row["actions"], row["success"], family)
        write_strip(film, path)
        strips.append(Strip(path, row["split"], row["source"], row["episode_id"], row["instruction"], row["success"]))
    return strips


def write_strip(film: Film, path: str | Path) -> None:
    """Writes the film as one PNG: images side by side, the action under each, framed green or red."""
    with file_aside(path) as aside:
        # 128 colours halve the file and cannot be told from the drawing's few.
        strip(film).quantize(128, dither=Image.Dither.NONE).save(aside, format="PNG", optimize=True)


def strip(film: Film) -> Image.Image:
    """The film as one image; of a long one the middle is left out and said so."""
    shots: list[Shot | None] = list(film.shots)
    numbers = list(range(1, len(shots) + 1))
    if len(shots) > _MOST_TILES:
        shots = [*shots[: _MOST_TILES - 2], None, shots[-1]]
        numbers = [*numbers[: _MOST_TILES - 2], len(film.shots) - _MOST_TILES + 1, numbers[-1]]
    height, width = film.shots[0].image.shape[:2]
    tile_height = round(_TILE_WIDTH * height / width)
    columns = min(len(shots), _TILES_PER_ROW)
    sheet_width = max(columns, 4) * (_TILE_WIDTH + _GAP) + _GAP
    title_font, font = _font(20), _font(15)
    verdict, colour = _verdict(film)
    room = sheet_width - 3 * _GAP - title_font.getlength(verdict)
    title = _wrap(film.title, title_font, room)
    top = _GAP + 26 * len(title) + 8
    row_height = tile_height + 22 + _GAP
    sheet = Image.new("RGB", (sheet_width, top + -(-len(shots) // columns) * row_height + _GAP // 2), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for line, text in enumerate(title):
        draw.text((_GAP, _GAP + 26 * line), text, _INK, title_font)
    draw.text((sheet_width - _GAP, _GAP), verdict, colour, title_font, anchor="ra")
    for place, (shot, number) in enumerate(zip(shots, numbers, strict=True)):
        x = _GAP + place % columns * (_TILE_WIDTH + _GAP)
        y = top + place // columns * row_height
        if shot is None:
            middle = (x + _TILE_WIDTH / 2, y + tile_height / 2)
            draw.text(middle, f"… {number} more steps …", _PALE, font, anchor="mm")
            continue
        sheet.paste(_enlarge(shot.image, _TILE_WIDTH), (x, y))
        draw.text((x, y + tile_height + 4), *_caption(shot, number, film), font)
    draw.rounded_rectangle((1, 1, sheet.width - 2, sheet.height - 2), radius=10, outline=colour, width=4)
    return sheet


def write_gif(film: Film, path: str | Path, width: int = 480, seconds_per_shot: float = 1.0) -> None:
    """Writes the film as an animated GIF that repeats; the last image stays three times as long."""
    frames = _captioned(film, width)
    milliseconds = [round(1000 * seconds_per_shot)] * (len(frames) - 1) + [round(3000 * seconds_per_shot)]
    with file_aside(path) as aside:
        frames[0].save(
            aside, format="GIF", save_all=True, append_images=frames[1:], duration=milliseconds, loop=0, optimize=True
        )


def _captioned(film: Film, width: int) -> list[Image.Image]:
    title_font, font = _font(19), _font(17)
    title = _wrap(film.title, title_font, width - 2 * _GAP)
    bar = 2 * _GAP + 25 * len(title) + 24
    frames = []
    for number, shot in enumerate(film.shots, 1):
        image = _enlarge(shot.image, width)
        frame = Image.new("RGB", (width, image.height + bar), _PAPER)
        frame.paste(image)
        draw = ImageDraw.Draw(frame)
        for line, text in enumerate(title):
            draw.text((_GAP, image.height + _GAP + 25 * line), text, _INK, title_font)
        draw.text((_GAP, frame.height - _GAP - 20), *_caption(shot, number, film), font)
        # A thin bar along the image's lower edge shows how far the episode is.
        done = round(width * number / len(film.shots))
        draw.rectangle((0, image.height - 3, done, image.height), _verdict(film)[1] if shot.words is None else _PALE)
        frames.append(frame.quantize(255, dither=Image.Dither.NONE))
    return frames


def _caption(shot: Shot, number: int, film: Film) -> tuple[str, str]:
    """Text and colour under a shot."""
    if shot.words is None:
        return {True: "goal reached", False: "goal not reached", None: "end"}[film.success], _verdict(film)[1]
    text = f"{number}. {shot.words}"
    return (text, _INK) if shot.valid else (f"{text} (invalid)", _BAD)


def _verdict(film: Film) -> tuple[str, str]:
    """What to say of the whole film, and its colour."""
    steps = len(film.shots) - 1
    count = f"{steps} step{'' if steps == 1 else 's'}"
    if film.success is None:
        return count, _NEUTRAL
    return (f"success, {count}", _GOOD) if film.success else (f"failure, {count}", _BAD)


def _enlarge(image: np.ndarray, width: int) -> Image.Image:
    height = round(width * image.shape[0] / image.shape[1])
    return Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow's wheels always carry FreeType
    return font


def _wrap(text: str, font: ImageFont.FreeTypeFont, room: float) -> list[str]:
    """Breaks text into lines no wider than `room` pixels, at spaces."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
