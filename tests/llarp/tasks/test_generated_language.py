"""What generated instructions say of their episodes: clauses, positions, descriptions, doors."""

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from llarp.config import EpisodesConfig, load_params
from llarp.errors import UserError
from llarp.scenes.catalog import CATEGORIES, HANDLES, category
from llarp.scenes.layout import Surface
from llarp.scenes.layouts import layout
from llarp.sim.embedded import EmbeddedSimulator
from llarp.sim.rules import RuleWorld
from llarp.tasks import generator
from llarp.tasks.data.leaks import asked
from llarp.tasks.expert import prove
from llarp.tasks.families import FAMILIES, Case, doors
from llarp.tasks.generator import generate
from llarp.tasks.goals import Predicate
from llarp.tasks.language.load import language
from llarp.tasks.language.templates import WORDS, Wording, tag, wordings
from llarp.tasks.skills import Skill

CONFIG = EpisodesConfig(train=1, per_split=1, layouts=10, objects=34, workers=1)
ID_OF = {words: id for id, words in WORDS.items() if not id.endswith("handle")}


def episodes(split, count=150, seed=3):
    return list(generate(split, count, seed, CONFIG, world=RuleWorld()))


def test_clauses_are_true_or_false_as_their_tag_says():
    """The clause is read back with the words of the template, and judged by where the episode's objects lie."""
    texts = {}
    for wording in wordings(language().pools["irrelevant_text"]):
        clause, _, base = wording.id.partition("+")
        train = next(entry for entry in language().pools["train"][wording.family] if entry.id == base)
        texts[wording.id] = clause, wording.text.removesuffix(train.text).strip()
    counts = Counter()
    for episode in episodes("irrelevant_text"):
        clause, text = texts[episode.template]
        kind = tag(clause)
        counts[kind, clause.split(".")[1]] += 1
        if kind == "irrelevant_text/neutral":
            continue
        pattern = re.escape(text).replace(r"\{an\ z\}", r"(?:an?|a pair of) (?P<z>.+?)")
        pattern = pattern.replace(r"\{z\}", "(?P<z>.+?)").replace(r"\{c\}", "(?P<c>.+?)")
        found = re.match(pattern, episode.instruction, re.IGNORECASE)
        z, c = ID_OF[found["z"].removeprefix("pair of ")], ID_OF[found["c"]]
        places = [entry.receptacle for entry in episode.objects if entry.category == z]
        assert len(places) == 1
        says_so = clause.split(".")[1] == "claims"
        assert ((places == [c]) == says_so) == (kind == "irrelevant_text/true"), episode.instruction
        assert z not in asked(episode.goal) and f", {c})" not in str(episode.goal)
    assert set(counts) == {
        ("irrelevant_text/neutral", "remarks"),
        *((f"irrelevant_text/{truth}", part) for truth in ("true", "false") for part in ("claims", "denials")),
    }


def test_positions_are_said_of_the_goals_receptacle():
    relations = Counter()
    for episode in episodes("spatial"):
        goal = str(episode.goal)
        target = re.search(r"robot_at\((\w+)\)|on_top\(\w+, (\w+)\)", goal)
        target = target[1] or target[2]
        phrases = [phrase for group in language().positions(episode.layout)[target] for phrase in group]
        assert sum(phrase in episode.instruction for phrase in phrases) >= 1, episode.instruction
        relations[target] += 1
    assert len(relations) >= 8


@pytest.mark.parametrize("split", ["context", "referring", "knowledge"])
def test_descriptions_are_of_all_categories_and_name_none(split):
    about = Counter()
    for episode in episodes(split, 400):
        (kind,) = asked(episode.goal)
        about[kind] += 1
        words = re.findall(r"[a-z]+", episode.instruction.lower())
        assert category(kind).words not in words and f"{category(kind).words}s" not in words
        if split != "referring":
            assert f".{kind}." in episode.template
        else:
            assert any(phrase in episode.instruction for phrase in language().looks[kind])
    assert set(about) == {entry.id for entry in CATEGORIES}


def test_conditions_name_the_door_that_decides():
    for episode in episodes("conditional"):
        (door,) = set(doors(episode.goal))
        assert WORDS[door] in episode.instruction
        is_open = bool(episode.start)
        assert [atom.args[0] for atom in episode.start] == [door] * is_open
        assert str(episode.demonstration[0]) == f"nav({door})"
        (kind,) = asked(episode.goal)
        other = next(
            entry for entry in CATEGORIES if entry.id != kind and re.search(rf"\b{entry.words}\b", episode.instruction)
        )
        assert other.id != kind


def test_the_robot_sees_whether_the_door_is_open():
    simulator = EmbeddedSimulator(load_params().camera)
    (episode,) = episodes("conditional", 1)
    for entry in HANDLES:
        kind = "fridge" if entry.id == "fridge_handle" else "cab"
        images = []
        for start in ((), (Predicate(f"opened_{kind}", (entry.id,)),)):
            simulator.reset(replace(episode, start=start))
            simulator.apply(Skill("nav", entry.id))
            images.append(simulator.render().astype(int))
        changed = np.abs(images[0] - images[1]).max(-1) > 20
        assert changed.mean() > 0.05, entry.id


def test_two_and_three_objects_go_to_as_many_places():
    counts = Counter()
    for episode in episodes("multiple_rearrangements", 60):
        places = re.findall(r"on_top\(\w, (\w+)\)", str(episode.goal))
        assert len(set(places)) == len(places) == len(list(asked(episode.goal)))
        counts[len(places)] += 1
    assert set(counts) == {2, 3}


def test_a_goal_that_no_plan_reaches_is_told_with_the_wording_and_its_line(monkeypatch):
    impossible = replace(
        FAMILIES["move_to"], cases=(Case("EXISTS X:{x} AND(on_top(X, {b}), on_top(X, sofa), not_holding())"),)
    )
    monkeypatch.setitem(generator.FAMILIES, "move_to", impossible)
    monkeypatch.setattr(generator, "MAX_ATTEMPTS", 3)
    with pytest.raises(UserError) as caught:
        episodes("context", 1)
    assert re.match(
        r"episode 0 of split context, wording context\.\w+\.\d \(templates\.toml:\d+\): "
        r"3 draws were all unsolvable, the last because .+ — mend the wording",
        str(caught.value),
    )


def test_a_slot_that_nothing_can_fill_is_told_with_the_wordings_line(monkeypatch):
    wording = Wording("context.lid.0", "move_to", "Cover the {b}.", {"x": ()}, place="words.toml:7")
    words = replace(language(), pools={"context": {"move_to": (wording,)}})
    monkeypatch.setattr(generator, "language", lambda: words)
    with pytest.raises(UserError, match=r"context\.lid\.0 \(words\.toml:7\).*nothing is left to fill slot x"):
        episodes("context", 1)


def test_a_scene_without_room_is_told_with_its_name(monkeypatch):
    def tiny(name):
        here = layout(name)
        return replace(
            here, surfaces={id: Surface(rect.center, (0.02, 0.02), rect.yaw) for id, rect in here.surfaces.items()}
        )

    monkeypatch.setattr(generator, "layout", tiny)
    with pytest.raises(UserError, match=r"episode 0 of split train.*layout \w+ has no room for one more object on"):
        episodes("train", 1)


def test_proving_changes_nothing_that_was_drawn():
    (episode,) = episodes("knowledge", 1)
    again = prove(RuleWorld(), replace(episode, plan=(), demonstration=(), subgoals=()))
    assert again == episode
