"""Playing one instruction: who judges it, when it stops, what it writes."""

import pytest
from fakes import Corridor, make_episode
from PIL import Image

from llarp.errors import UserError
from llarp.evaluate.play import find_scene, mentioned, play
from llarp.policy.baselines import PlanPolicy
from llarp.tasks.episode import ObjectInstance
from llarp.tasks.skills import Skill


def test_the_episodes_own_instruction_is_judged(tmp_path):
    said = []
    episode = make_episode(plan=(Skill("pick", "apple"), Skill("nav", "chair"), Skill("nav", "sofa")))
    film = play(PlanPolicy(), None, episode, Corridor(), tmp_path / "play.gif", say=said.append)
    assert film.success is True and len(film.shots) == 4
    assert [line.strip() for line in said] == [
        "Walk 2 times", "1. pick apple (invalid)", "2. go to chair", "3. go to sofa", "goal reached",
    ]  # fmt: skip
    with Image.open(tmp_path / "play.gif") as gif:
        assert gif.n_frames == 4


def test_a_goal_that_is_not_reached_is_told(tmp_path):
    said = []
    film = play(
        PlanPolicy(), None, make_episode(steps=9), Corridor(), tmp_path / "play.gif", max_steps=3, say=said.append
    )
    assert film.success is False and said[-1] == "goal not reached" and len(film.shots) == 4


def test_a_free_instruction_is_not_judged_and_runs_to_the_limit(tmp_path):
    said = []
    episode = make_episode()
    film = play(
        PlanPolicy(), None, episode, Corridor(), tmp_path / "play.gif", "Do as you like", max_steps=5, say=said.append
    )
    assert film.success is None and film.title == "Do as you like" and len(film.shots) == 6
    assert said[0] == "Do as you like" and said[-1] == "free instruction: success is not judged"


def test_the_episodes_own_words_count_as_its_own_instruction(tmp_path):
    episode = make_episode()
    film = play(
        PlanPolicy(), None, episode, Corridor(), tmp_path / "play.gif", episode.instruction, say=lambda line: None
    )
    assert film.success is True


@pytest.mark.parametrize(("out", "max_steps", "message"), [
    ("play.mp4", 3, "only GIF is written"), ("play.gif", 0, "0 steps"), ("play.gif", 33, "33 steps"),
])  # fmt: skip
def test_bad_input_writes_nothing(tmp_path, out, max_steps, message):
    with pytest.raises(UserError, match=message):
        play(PlanPolicy(), None, make_episode(), Corridor(), tmp_path / out, max_steps=max_steps)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("instruction", "categories"), [
    ("Move an apple to the sofa", {"apple"}),
    ("put all the PEACHES and boxes away", {"peach", "box"}),
    ("a cube next to the toy", {"rubriks_cube", "toy_airplane"}),
    ("the pineapple is not an a-p-p-l-e", set()),
    ("open the fridge", set()),
])  # fmt: skip
def test_objects_are_recognised_by_name(instruction, categories):
    assert set(mentioned(instruction)) == categories


def stocked(number, *categories):
    objects = tuple(
        ObjectInstance(f"{kind}:{i}", kind, kind, 0, "sofa", (0.0, 0.0, 0.4), (1.0, 0.0, 0.0, 0.0))
        for i, kind in enumerate(categories)
    )
    return make_episode(number, objects=objects)


def test_the_scene_holds_what_the_instruction_names():
    episodes = [stocked(0, "apple"), stocked(1, "ball", "apple"), stocked(2, "ball", "apple", "pear")]
    assert find_scene(iter(episodes), "Swap the ball and the apple") is episodes[1]
    assert find_scene(iter(episodes), "Go to the sofa") is episodes[0]
    with pytest.raises(UserError, match="no scene holds all of: wrench"):
        find_scene(iter(episodes), "Bring me a wrench")
