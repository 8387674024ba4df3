"""Film strips and GIFs show every step."""

import numpy as np
import pytest
from evaluation_rows import make_row
from fakes import Corridor, make_episode
from PIL import Image

from llarp.evaluate.film import Film, Shot, record, strip, write_gif, write_strip, write_strips
from llarp.tasks.skills import SKILLS, parse, words

GREEN, RED = (47, 133, 90), (197, 48, 48)


def film(num_skills: int, success: bool | None = True) -> Film:
    image = np.full((24, 32, 3), 120, np.uint8)
    shots = [Shot(image, "go to sofa", valid=number != 1) for number in range(num_skills)]
    return Film("Walk to the sofa", (*shots, Shot(image, None)), success)


def test_every_skill_has_words_of_its_own():
    said = [words(skill) for skill in SKILLS]
    assert len(set(said)) == len(SKILLS)
    assert all(text and "_" not in text for text in said)
    assert words(parse("nav(left_drawer_handle)")) == "go to left drawer handle"
    assert words(parse("place(fridge)")) == "put into fridge"
    assert words(parse("open_cab(middle_drawer_handle)")) == "open middle drawer"


def test_replay_gives_what_was_seen_before_each_action_and_after_the_last():
    shown = record(Corridor(), make_episode(), ["nav(sofa)", "pick(apple)", "nav(chair)"], True)
    assert [shot.valid for shot in shown.shots] == [True, False, True, True]
    assert [int(shot.image[0, 0, 0]) for shot in shown.shots] == [210, 0, 0, 21]  # nowhere, sofa twice, chair
    assert [shot.words for shot in shown.shots[:3]] == ["go to sofa", "pick apple", "go to chair"]
    assert shown.shots[3].words is None and shown.success is True


@pytest.mark.parametrize(("success", "colour"), [(True, GREEN), (False, RED)])
def test_the_frame_tells_success_from_failure(success, colour):
    sheet = strip(film(3, success))
    assert sheet.getpixel((sheet.width // 2, 2)) == colour
    other = strip(film(3, not success))
    assert colour not in {other.getpixel((x, 2)) for x in range(other.width)}


def test_a_longer_film_takes_more_rows_and_a_very_long_one_is_cut():
    heights = [strip(film(skills)).height for skills in (2, 5, 6, 11, 12, 32)]
    assert heights[0] == heights[1] < heights[2] == heights[3] == heights[4] == heights[5]


def test_an_invalid_skill_is_red():
    colours = {colour for _, colour in strip(film(3)).getcolors(1 << 16)}
    valid = Film("Walk", tuple(Shot(shot.image, shot.words) for shot in film(3).shots), True)
    assert RED in colours
    assert RED not in {colour for _, colour in strip(valid).getcolors(1 << 16)}


def test_a_long_instruction_is_wrapped_not_cut():
    short, long = film(3), Film("walk " * 60, film(3).shots, True)
    assert strip(long).width == strip(short).width
    assert strip(long).height > strip(short).height


def test_strip_files_are_pictures(tmp_path):
    write_strip(film(3), tmp_path / "strip.png")
    with Image.open(tmp_path / "strip.png") as picture:
        assert picture.format == "PNG" and picture.size == strip(film(3)).size
    assert [path.name for path in tmp_path.iterdir()] == ["strip.png"]


def test_gif_has_a_frame_per_step_and_rests_on_the_last(tmp_path):
    shown = record(Corridor(), make_episode(), ["nav(sofa)", "nav(chair)", "nav(sofa)"], None)
    write_gif(shown, tmp_path / "play.gif", width=320, seconds_per_shot=0.5)
    with Image.open(tmp_path / "play.gif") as gif:
        durations = []
        for frame in range(gif.n_frames):
            gif.seek(frame)
            durations.append(gif.info["duration"])
        assert durations == [500, 500, 500, 1500]
        assert gif.width == 320 and gif.height > 240
        assert gif.info["loop"] == 0


def test_strips_are_the_first_successes_and_failures_of_each_split(tmp_path):
    episodes = [make_episode(number, split=split) for split in ("train", "context") for number in range(4)]
    episodes = [make_episode(n, split=e.split, episode_id=f"{e.split}-{n}") for n, e in enumerate(episodes)]
    rows = [
        make_row(split=e.split, episode_id=e.episode_id, actions=list(map(str, e.plan)), success=n % 4 != 3)
        for n, e in enumerate(episodes)
    ]
    strips = write_strips(rows, episodes, Corridor(), 2, tmp_path)
    assert [(s.episode_id, s.success) for s in strips] == [
        ("train-0", True), ("train-1", True), ("train-3", False),
        ("context-4", True), ("context-5", True), ("context-7", False),
    ]  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(s.path.name for s in strips)
    assert write_strips(rows, episodes, Corridor(), 0, tmp_path) == []
