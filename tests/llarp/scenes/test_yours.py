"""What a lab adds, as docs/yours.md shows it, without touching the package."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from llarp.environments.recorded import Recording, WithRecordings, recordings
from llarp.errors import UserError
from llarp.scenes.extension import VARIABLE, extension
from llarp.sim.base import Playable
from llarp.tasks.own_skills import own_skills
from llarp.tasks.skills import SKILLS

SCENE = {
    "sofa": [4.0, 0.5, 1.57], "black_table": [6.0, 3.0, 0.0], "brown_table": [6.0, 6.0, 0.0],
    "tv_stand": [3.5, 7.5, -1.57], "chair": [3.6, 4.4, 0.0], "left_counter": [0.4, 2.24, 0.0], "sink": [0.4, 3.0, 0.0],
    "right_counter": [0.4, 4.04, 0.0], "fridge": [0.4, 5.3, 0.0],
}  # fmt: skip

PROGRAM = """
import json
import numpy as np
from llarp.config import load_params
from llarp.sim.batched.vector_env import RearrangementVectorEnv
from llarp.sim.embedded import EmbeddedSimulator
from llarp.sim.env import RearrangementEnv
from llarp.sim.rules import RuleWorld
from llarp.errors import UserError
from llarp.scenes.layouts import layout, released
from llarp.tasks.generator import generate, layout_names
from llarp.tasks.goals import satisfied
from llarp.tasks.skills import SKILLS
from llarp.tasks.language.load import language

params, world = load_params(PARAMS), RuleWorld()
episodes = [*generate("train", 120, 7, params.episodes, world=world),
            *generate("new_scenes", 20, 7, params.episodes, world=world)]
asked = [e for e in episodes if "candle" in str(e.goal) and "bookshelf" in str(e.goal)] \\
    or [e for e in episodes if "bookshelf" in str(e.goal)]
proved = 0
for episode in asked:
    world.reset(episode)
    proved += all(map(world.apply, episode.demonstration)) and satisfied(episode.goal, world)
simulator = EmbeddedSimulator(params.camera)
with_candle = next(e for e in episodes if any(o.category == "candle" for o in e.objects))
candle = next(o for o in with_candle.objects if o.category == "candle")
simulator.reset(with_candle)
simulator.apply(next(s for s in SKILLS if str(s) == f"nav({candle.receptacle})"))
before = simulator.render()
picked = simulator.apply(next(s for s in SKILLS if str(s) == "pick(candle)"))
env = RearrangementEnv([with_candle], params.camera, params.reward)
env.reset(seed=0)
steps = [env.step(n)[4]["num_invalid"] for n in range(len(SKILLS)) if SKILLS[n].target in ("bookshelf", "candle")]
batched = None
try:
    vector = RearrangementVectorEnv(episodes[:4], params.camera, params.reward, 2)
    vector.reset(seed=0)
    vector.step(np.array([SKILLS.index(s) for s in SKILLS if str(s) in ("pick(candle)", "nav(bookshelf)")]))
except UserError as error:
    batched = str(error)
print(json.dumps({
    "actions": [str(s) for s in SKILLS], "asked": len(asked), "proved": proved, "picked": bool(picked),
    "changed": int((before != simulator.render()).any(-1).sum()), "steps": len(steps), "batched": batched,
    "candles": sum(o.category == "candle" for e in episodes for o in e.objects),
    "on_shelf": sum(o.receptacle == "bookshelf" for e in episodes for o in e.objects),
    "released": all("bookshelf" in layout(name).surfaces for name in released()),
    "own_scene": "own_train_lab" in layout_names("train", params.episodes),
    "wordings": [w.text for w in language().pools["train"]["move_to"]],
    "context": [w.text for w in language().pools["context"]["move_to"] if w.allowed["x"] == ("candle",)],
}))
"""


def written(folder, root, *names):
    """The files of docs/yours.md."""
    folder.mkdir(exist_ok=True)
    for block in re.findall(r"```\w+\n# (\S+)\n(.*?)```", (root / "docs" / "yours.md").read_text(), re.DOTALL):
        if block[0] in names:
            (folder / block[0]).write_text(block[1])
    assert {path.name for path in folder.iterdir()} >= set(names)
    return folder


def run(folder, root, tmp_path):
    program = PROGRAM.replace("PARAMS", repr(str(root / "params.yaml")))
    variables = {**os.environ, VARIABLE: str(folder), "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_a_category_a_receptacle_wordings_and_a_scene_join_the_benchmark(tmp_path, request):
    root = request.config.rootpath
    folder = written(tmp_path / "lab", root, "catalog.toml", "templates.toml")
    (folder / "layouts.json").write_text(json.dumps({"layouts": {"own_train_lab": {"places": SCENE}}}))
    found = run(folder, root, tmp_path)
    assert {"nav(bookshelf)", "place(bookshelf)", "pick(candle)"} <= set(found["actions"])
    assert len(found["actions"]) == len(SKILLS) + 3
    assert found["asked"] > 0
    assert found["proved"] == found["asked"]
    assert found["candles"] > 50
    assert found["on_shelf"] > 50
    assert found["picked"]
    assert found["changed"] > 30, "the picture shows that the candle was taken"
    assert found["steps"] == 3
    assert found["batched"] is None
    assert found["released"]
    assert found["own_scene"]
    assert "Kindly see to it that the {x} ends up on the {b}." in found["wordings"]
    assert len(found["context"]) == 1


def test_another_colour_is_another_view(tmp_path, request):
    root, keys = request.config.rootpath, set()
    folder = written(tmp_path / "lab", root, "catalog.toml")
    program = """
from llarp.config import load_params
from llarp.sim.sight import scene_words
print(scene_words(load_params(PARAMS).camera, "gen_train_0000").tobytes().hex())
""".replace("PARAMS", repr(str(root / "params.yaml")))
    variables = {**os.environ, VARIABLE: str(folder), "PYTHONPATH": str(root)}
    for colour in ("6e4424", "2e9c56"):
        text = re.sub(r'colour = "\w+"', f'colour = "{colour}"', (folder / "catalog.toml").read_text())
        (folder / "catalog.toml").write_text(text)
        keys.add(subprocess.check_output([sys.executable, "-c", program], env=variables))
    assert len(keys) == 2


def test_a_skill_is_an_action(tmp_path, request):
    root = request.config.rootpath
    folder = written(tmp_path / "lab", root, "catalog.toml", "skills.py")
    program = """
from llarp.sim.rules import RuleWorld
from llarp.config import load_params
from llarp.errors import UserError
from llarp.tasks.generator import generate
from llarp.tasks.skills import parse
params = load_params(PARAMS)
world = RuleWorld()
(episode,) = generate("train", 1, 7, params.episodes, world=world)
thing = episode.objects[0]
world.reset(episode)
print(world.apply(parse("deliver(sofa)")))
world.apply(parse(f"nav({thing.receptacle})")), world.apply(parse(f"pick({thing.category})"))
held = world.held
print(world.apply(parse("deliver(sofa)")), world.where[held], world.held)
try:
    import llarp.sim.batched.vector_env
except UserError as error:
    print(error)
""".replace("PARAMS", repr(str(root / "params.yaml")))
    variables = {**os.environ, VARIABLE: str(folder), "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert lines[:2] == ["False", "True sofa None"], done.stderr
    assert "no arrays for the skill deliver(sofa)" in lines[2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[category]\n", r"catalog.toml:1: is no TOML"),
        ('[[category]]\nid = "candle"\nwords = "candle"\nasset = []\n', r"key category.0.asset"),
        ('[[receptacle]]\nid = "Shelf"\n', r"key receptacle.0.id"),
        ('[[table]]\nid = "shelf"\n', r"key table: Extra"),
        (
            '[[receptacle]]\nid = "shelf"\nwords = "shelf"\nsurface_m = [1, 1]\nrest_m = 0.8\nbody_m = [0.5, 1]\n',
            "larger than its body",
        ),
    ],
)
def test_mistakes_in_the_catalogue_name_file_and_key(tmp_path, monkeypatch, text, message):
    (tmp_path / "catalog.toml").write_text(text)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(UserError, match=message) as error:
        extension.__wrapped__()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('id = "candle"\nwords = "candle"', 'id = "apple"\nwords = "candle"'), "name 'apple' is there twice"),
        (('form = "can"', 'form = "cone"'), "no form is called 'cone'"),
        (('["b0203a", "f5f1e6"]', '["b0203a"]'), "its form has 2 paints"),
        (("body_m = [0.22, 0.50]", "body_m = [2.9, 2.9]"), "no room for 'bookshelf'"),
    ],
)
def test_mistakes_that_only_the_whole_shows(tmp_path, request, change, message):
    folder = written(tmp_path / "lab", request.config.rootpath, "catalog.toml")
    text = (folder / "catalog.toml").read_text()
    assert change[0] in text
    (folder / "catalog.toml").write_text(text.replace(*change))
    program = "import llarp.sim.embedded; from llarp.scenes.layouts import released; released()"
    variables = {**os.environ, VARIABLE: str(folder), "PYTHONPATH": str(request.config.rootpath)}
    done = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SKILLS = [", "SyntaxError"),
        ("pass", "must define SKILLS"),
        (
            "from llarp.tasks.own_skills import OwnSkill\nSKILLS = [OwnSkill('pick', ('a',), None, None)]",
            "'pick' is no verb",
        ),
    ],
)
def test_mistakes_in_skills(tmp_path, monkeypatch, text, message):
    (tmp_path / "skills.py").write_text(text)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(UserError, match=message):
        own_skills.__wrapped__()


def test_a_folder_that_is_not_there_is_said_so(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "no"))
    with pytest.raises(UserError, match="is no folder"):
        extension.__wrapped__()


class Grey(Playable):
    """Sees grey."""

    image_shape = (24, 24, 3)

    def reset(self, episode):
        self.episode = episode

    def apply(self, action):
        return True

    def view_key(self):
        return bytes(16)

    def render(self):
        return np.full(self.image_shape, 128, np.uint8)


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """Two recorded frames of two steps."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    (tmp_path / "frames").mkdir()
    for name, colour in (("0.png", (200, 0, 0)), ("1.png", (0, 0, 200))):
        Image.new("RGB", (64, 48), colour).save(tmp_path / "frames" / name)

    def write(**changes):
        line = {"id": "a", "instruction": "Go.", "frames": ["0.png", "1.png"], "skills": ["nav(sofa)", "pick(ball)"]}
        (tmp_path / "frames" / "episodes.jsonl").write_text(json.dumps({**line, **changes}) + "\n")

    write()
    return write


def test_recorded_frames_are_seen_before_what_was_done(lab):
    (recording,) = recordings(SKILLS)
    assert [str(skill) for skill in recording.demonstration] == ["nav(sofa)", "pick(ball)"]
    player = WithRecordings(Grey())
    player.reset(recording)
    assert player.render().shape == (24, 24, 3)
    assert player.render()[12, 12].tolist() == [200, 0, 0]
    first = player.view_key()
    assert not player.apply(recording.demonstration[1])
    assert player.view_key() == first
    assert player.apply(recording.demonstration[0])
    assert player.render()[12, 12].tolist() == [0, 0, 200]
    assert player.view_key() != first
    player.reset("something else")
    assert player.render()[12, 12].tolist() == [128] * 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"skills": ["nav(sofa)"]}, "2 frames for 1 skills"),
        ({"skills": ["nav(sofa)", "pick(unicorn)"]}, r"no skill is called 'pick\(unicorn\)'"),
        ({"frames": ["0.png", "2.png"]}, "2.png is not there"),
        ({"frames": 3}, "is no recording"),
    ],
)
def test_mistakes_in_recordings_name_the_line(lab, changes, message):
    lab(**changes)
    with pytest.raises(UserError, match=message) as error:
        recordings(SKILLS)
    assert "episodes.jsonl:1" in str(error.value)


def test_no_recordings_without_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert recordings(SKILLS) == []
    assert Recording("a", "b", (), ()).plan == ()
