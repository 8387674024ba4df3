from dataclasses import replace

import pytest

from llarp.config import EpisodesConfig
from llarp.errors import UserError
from llarp.sim.rules import RuleWorld
from llarp.tasks.data import store
from llarp.tasks.data.additions import additions
from llarp.tasks.data.columns import content
from llarp.tasks.generator import generate
from llarp.tasks.goals import parse
from llarp.tasks.skills import Skill

CONFIG = EpisodesConfig(train=1, per_split=1, layouts=2, objects=34, workers=1)


@pytest.fixture(scope="module")
def made():
    return list(generate("train", 8, 11, CONFIG, world=RuleWorld()))


def test_new_episodes_come_once_and_are_named_after_their_content(tmp_path, made):
    store.write(tmp_path / "b.parquet", made[4:])
    store.write(tmp_path / "a.parquet", made[:5])
    (tmp_path / "README.md").write_text("no episodes")
    seen = {content(made[0])}
    found = list(additions(tmp_path, seen, RuleWorld()))
    assert [replace(entry, episode_id="") for entry in found] == [replace(entry, episode_id="") for entry in made[1:]]
    assert [entry.episode_id for entry in found] == [f"extra-{content(entry).hex()}" for entry in made[1:]]
    assert list(additions(tmp_path, seen, RuleWorld())) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"split": "new_scenes"}, "is of split new_scenes, and only `train` is added to"),
        ({"instruction": " "}, "has no instruction"),
        ({"layout": "attic"}, "no layout is called 'attic'"),
        ({"plan": ()}, "its plan has 0 steps, not 1 to 32"),
        ({"plan": (Skill("nav", "sofa"),) * 33}, "its plan has 33 steps, not 1 to 32"),
        ({"demonstration": (Skill("place", "sofa"),)}, "takes place(sofa), which is invalid after 0 steps"),
        ({"plan": (Skill("nav", "left_drawer"),)}, "its plan does not reach the goal"),
        ({"goal": parse("EXISTS X:unicorn AND(holding(X))")}, "names 'unicorn', which there is not"),
        ({"goal": parse("AND(not_holding())")}, "has reached the goal after 0 steps already"),
    ],
)
def test_what_could_not_be_trained_on_is_refused_by_name(tmp_path, made, change, says):
    store.write(tmp_path / "a.parquet", [replace(made[1], **change)])
    with pytest.raises(UserError) as caught:
        list(additions(tmp_path, set(), RuleWorld()))
    assert f"a.parquet, episode {made[1].episode_id}: " in str(caught.value) and says in str(caught.value)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere: is no folder"):
        list(additions(tmp_path / "nowhere", set(), RuleWorld()))
