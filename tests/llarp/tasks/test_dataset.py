"""The report on a data set and its card; the leak rules on data made to break them."""

import re
import shutil
from dataclasses import replace

import pytest

from llarp.config import EpisodesConfig
from llarp.errors import UserError
from llarp.sim.rules import RuleWorld
from llarp.tasks.data import card, store
from llarp.tasks.data.dataset import Report, Similarity, named
from llarp.tasks.generator import generate
from llarp.tasks.splits import SPLITS

CONFIG = EpisodesConfig(train=1, per_split=1, layouts=4, objects=34, workers=1)
SIMILAR = Similarity(0.9, 0.91, 0.8, 1.0, ((0.7, "Find a pear.", "Find a | plum."),), 5, 60)


@pytest.fixture(scope="module")
def made():
    counts = {split: 60 if split == "train" else 5 for split in SPLITS}
    return {split: list(generate(split, count, 3, CONFIG, world=RuleWorld())) for split, count in counts.items()}


def written(folder, made, **changes):
    for split, episodes in {**made, **changes}.items():
        store.write(store.shard_path(folder / split, 0), episodes)
    return Report.of(folder, 3, {"train": 60})


def test_counts_are_those_of_the_episodes(tmp_path, made, monkeypatch):
    monkeypatch.setattr(store, "ROWS_PER_GROUP", 7)
    report = written(tmp_path, made)
    report.refuse_leaks()
    assert [split.split for split in report.splits] == list(SPLITS)
    assert report.episodes == 60 + 5 * (len(SPLITS) - 1)
    train, episodes = report.splits[0], made["train"]
    assert train.steps == sum(len(episode.demonstration) for episode in episodes)
    assert train.instructions == len({episode.instruction for episode in episodes})
    for name, of in (
        ("family", lambda episode: episode.family), ("layout", lambda episode: episode.layout),
        ("plan", lambda episode: str(len(episode.plan))),
        ("words", lambda episode: str(len(episode.instruction.split()))),
    ):  # fmt: skip
        values = [of(episode) for episode in episodes]
        assert train.counts[name] == {value: values.count(value) for value in values}
        assert sum(train.counts[name].values()) == 60
    assert list(map(int, train.counts["words"])) == sorted(map(int, train.counts["words"]))


def test_what_a_goal_names():
    goal = "AND(not_holding(), EXISTS X:apple, Y:mug NAND(on_top(X, sofa), on_top(Y, sink)), robot_at(fridge))"
    assert named(goal) == (("apple", "mug"), ("fridge", "sink", "sofa"))


def test_a_report_is_read_as_it_was_written(tmp_path, made):
    report = written(tmp_path, made).with_similarity({"context": SIMILAR})
    (tmp_path / "report.json").write_text(report.to_json())
    assert Report.read(tmp_path / "report.json") == report
    for text in ("{}", "no", '{"splits": [{}]}'):
        (tmp_path / "report.json").write_text(text)
        with pytest.raises(UserError, match="is no report on episodes"):
            Report.read(tmp_path / "report.json")


def of_training(made, split, **changes):
    """Training episodes as if they were of another split."""
    return [replace(episode, split=split, episode_id=f"leak-{split}", **changes) for episode in made["train"][:1]]


@pytest.mark.parametrize("split", [split for split in SPLITS if split != "train"])
def test_training_in_any_other_split_is_a_leak(tmp_path, made, split):
    report = written(tmp_path, made, **{split: made[split] + of_training(made, split)})
    with pytest.raises(UserError, match=rf"split {split}: 1 episodes break the rule .*leak-{split} is not new"):
        report.refuse_leaks()


def test_a_sentence_of_training_under_another_name_is_a_leak(tmp_path, made):
    same = replace(made["rephrasing"][0], instruction=made["train"][5].instruction)
    with pytest.raises(UserError, match="wording of rephrasing-000000 is not new"):
        written(tmp_path, made, rephrasing=[same]).refuse_leaks()


def test_the_same_episode_twice_is_refused(tmp_path, made):
    again = replace(made["train"][7], episode_id="again")
    with pytest.raises(UserError, match="split train: 1 episodes repeat others, as again"):
        written(tmp_path, made, train=[*made["train"], again]).refuse_leaks()


def test_the_card_tells_counts_rules_and_similarity(tmp_path, made):
    report = written(tmp_path, made).with_similarity(dict.fromkeys(list(SPLITS)[1:], SIMILAR))
    card.write(report, tmp_path / "card")
    text = (tmp_path / "card" / "README.md").read_text()
    for split in report.splits[1:]:
        assert f"| {split.split} | {split.novelty} |" in text
        assert f"| {split.split} | 5 | 0.90 | 0.91 | 0.80 | 1.00 |" in text
    assert "Find a \\| plum." in text and "seed 3" in text
    pictures = re.findall(r"!\[.*\]\((.*)\)", text)
    assert len(pictures) == len(set(pictures)) == 6
    first = {name: (tmp_path / "card" / name).read_bytes() for name in pictures}
    assert all(data.startswith(b"\x89PNG") for data in first.values())
    shutil.rmtree(tmp_path / "card")
    card.write(report, tmp_path / "card")
    assert {name: (tmp_path / "card" / name).read_bytes() for name in pictures} == first
