"""Properties of generated episodes, on many of every split: each is proved again by execution here."""

import itertools
import math
from collections import Counter
from dataclasses import replace

import pytest

from llarp.config import EpisodesConfig
from llarp.errors import UserError
from llarp.scenes.catalog import CATEGORIES, HANDLES, OPEN_RECEPTACLES, category, receptacle
from llarp.scenes.layouts import layout
from llarp.scenes.variants import held_out_variants, training_variants
from llarp.sim.rules import RuleWorld
from llarp.tasks import generator
from llarp.tasks.data.leaks import Facts, Seen, asked
from llarp.tasks.episode import HORIZON
from llarp.tasks.expert import Unsolvable
from llarp.tasks.families import FAMILIES, doors
from llarp.tasks.generator import generate, layout_names
from llarp.tasks.goals import parse, satisfied
from llarp.tasks.robot import SEARCH_ORDER
from llarp.tasks.skills import parse as parse_skill
from llarp.tasks.splits import HELD_OUT_FREE, PAPER_TOTAL, SPLITS

CONFIG = EpisodesConfig(train=1, per_split=1, layouts=20, objects=34, workers=1)
COUNT = 200
_made = {}


def episodes(split):
    if split not in _made:
        _made[split] = list(generate(split, COUNT, 7, CONFIG, world=RuleWorld()))
    return _made[split]


every_split = pytest.mark.parametrize("split", SPLITS)


@every_split
def test_plan_and_demonstration_reach_the_goal_at_their_last_step_and_all_subgoals(split):
    world = RuleWorld()
    for episode in episodes(split):
        for skills in (episode.plan, episode.demonstration):
            world.reset(episode)
            assert not any(satisfied(goal, world) for goal in (episode.goal, *episode.subgoals))
            assert 0 < len(skills) <= HORIZON
            reached = set()
            for number, skill in enumerate(skills, start=1):
                assert world.apply(skill), f"{episode.episode_id}: {skill}"
                reached.update(goal for goal in episode.subgoals if satisfied(goal, world))
                assert satisfied(episode.goal, world) == (number == len(skills))
            assert episode.subgoals and reached == set(episode.subgoals)
        assert len(episode.plan) <= len(episode.demonstration)


@every_split
def test_an_episode_depends_on_seed_split_and_number_only(split):
    world = RuleWorld()
    world.reset(episodes("train")[0])
    assert list(generate(split, 5, 7, CONFIG, start=20, world=world)) == episodes(split)[20:25]
    other = list(generate(split, 5, 8, CONFIG, start=20, world=world))
    assert all(a.objects != b.objects for a, b in zip(other, episodes(split)[20:25], strict=True))


@every_split
def test_objects(split):
    looks = training_variants() if SPLITS[split].seen_places else held_out_variants()
    for episode in episodes(split):
        assert len(episode.objects) == CONFIG.objects == len({entry.name for entry in episode.objects})
        kinds = Counter(entry.category for entry in episode.objects)
        few = CONFIG.objects - len(CATEGORIES) + 1 if split == "multiple_objects" else 1
        assert len(kinds) >= len(CATEGORIES) - few + 1
        for kind in asked(episode.goal):
            assert kinds[kind] in FAMILIES[episode.family].quantity
        surfaces = layout(episode.layout).surfaces
        for entry in episode.objects:
            surface = surfaces[entry.receptacle]
            u, v = surface.to_local(*entry.position[:2])
            assert abs(u) <= surface.half[0] and abs(v) <= surface.half[1] and entry.position[2] == surface.center[2]
            assert entry.receptacle in OPEN_RECEPTACLES and entry.asset in category(entry.category).assets
            assert entry.variant in looks
            assert math.isclose(math.hypot(*entry.quaternion), 1.0, abs_tol=1e-5)


@every_split
def test_objects_keep_their_distance(split):
    gaps = []
    for episode in episodes(split)[:50]:
        for a, b in itertools.combinations(episode.objects, 2):
            if a.receptacle == b.receptacle:
                gaps.append(math.dist(a.position, b.position))
    assert min(gaps) > 0.1
    assert sum(gap < generator.SPACING_M - 0.001 for gap in gaps) < 0.02 * len(gaps)


@every_split
def test_text_forms_round_trip(split):
    for episode in episodes(split):
        for goal in (episode.goal, *episode.subgoals):
            assert parse(str(goal)) == goal
        for skill in (*episode.plan, *episode.demonstration):
            assert parse_skill(str(skill)) == skill


@every_split
def test_instructions_name_what_the_goal_is_about(split):
    for episode in episodes(split):
        text = episode.instruction
        assert text[0].isupper() and text[-1] in ".?" and not set("{}") & set(text)
        if SPLITS[split].pool in ("train", "rephrasing", "irrelevant_text", "conditional", "multiple_rearrangements"):
            for kind in asked(episode.goal):
                assert category(kind).words in text
        if SPLITS[split].pool != "spatial":
            for skill in episode.demonstration:
                aside = skill.target == SEARCH_ORDER[-1] and episode.family == "multiple_objects"  # out of pick's way
                if skill.verb == "place" and episode.family != "take_off" and not aside:
                    assert receptacle(str(skill.target)).words in text


@every_split
def test_nothing_leaks_from_training(split):
    if split == "train":
        return
    seen = Seen.of(map(Facts.of, episodes("train")))
    assert [leak for episode in episodes(split) if (leak := seen.leak(Facts.of(episode)))] == []


@every_split
def test_what_training_contains_counts_as_a_leak(split):
    """The rules themselves: the same episodes taken as training are reported, every one."""
    seen = Seen.of(map(Facts.of, episodes(split)))
    assert all(seen.leak(Facts.of(episode)) for episode in episodes(split)[:20])


def test_a_seen_category_is_no_novel_one():
    trained = next(episode for episode in episodes("train") if episode.family == "move_to")
    assert Seen().leak(Facts.of(replace(trained, split="novel_objects")))


def test_training_names_held_out_categories_only_in_the_other_families():
    named = {(episode.family, kind) for episode in episodes("train") for kind in asked(episode.goal)}
    held_out = {family for family, kind in named if category(kind).held_out}
    assert held_out == {"take_off", "two_to", "swap"}
    assert held_out.isdisjoint(HELD_OUT_FREE)


def test_training_layouts_are_not_those_of_evaluation():
    train = set(layout_names("train", CONFIG))
    assert {name.split("_")[1] for name in train} == {"sc0", "train"}
    assert len(train) == CONFIG.layouts + 15
    for split in SPLITS:
        assert train.isdisjoint(layout_names(split, CONFIG)) or SPLITS[split].seen_places
    assert SPLITS["train"].seen_places and SPLITS["train_validation"].seen_places


@every_split
def test_families_come_as_often_as_their_weights_say(split):
    weights = SPLITS[split].families
    counts = Counter(episode.family for episode in episodes(split))
    assert set(counts) <= set(weights)
    for family, weight in weights.items():
        expected = COUNT * weight / sum(weights.values())
        assert abs(counts[family] - expected) <= 5 * math.sqrt(expected)


def test_conditionals_have_both_branches_and_several_objects_are_several():
    starts = Counter((episode.family, bool(episode.start)) for episode in episodes("conditional"))
    assert len(starts) == 4 and min(starts.values()) > COUNT / 8
    doors_seen = {door for episode in episodes("conditional") for door in doors(episode.goal)}
    assert doors_seen == {entry.id for entry in HANDLES}
    instances = Counter(
        sum(entry.category in asked(episode.goal) for entry in episode.objects)
        for episode in episodes("multiple_objects")
    )
    assert set(instances) == {1, 2, 3} and min(instances.values()) > COUNT / 6


def test_demonstrations_search_every_receptacle():
    """Some search of training ends at each of the seven, so that none is always passed by."""
    found = {
        str(episode.demonstration[number - 1].target)
        for episode in episodes("train")
        if episode.family == "move_to"
        for number, skill in enumerate(episode.demonstration)
        if skill.verb == "pick"
    }
    assert found == set(SEARCH_ORDER)


def test_fewer_objects_than_the_task_needs_gives_just_those():
    few = CONFIG.model_copy(update={"objects": 1})
    for episode in generate("multiple_rearrangements", 3, 7, few, world=RuleWorld()):
        assert len(episode.objects) == len(FAMILIES[episode.family].sources)


def test_an_unknown_split_is_refused():
    with pytest.raises(UserError, match="no split is called 'trian'"):
        next(generate("trian", 1, 7, CONFIG, world=RuleWorld()))


def test_gives_up_with_one_clear_line(monkeypatch):
    def never(world, episode):
        raise Unsolvable("the door is locked")

    monkeypatch.setattr(generator, "prove", never)
    with pytest.raises(UserError, match="100 draws were all unsolvable, the last because the door is locked"):
        next(generate("train", 1, 7, CONFIG, world=RuleWorld()))


def test_the_papers_total_is_the_mean_of_nine_splits():
    rated = [split for split in SPLITS.values() if split.in_total]
    assert len(rated) == 9 and len(SPLITS) == 13
    for system, total in PAPER_TOTAL.items():
        assert abs(sum(split.paper[system] for split in rated) / 9 - total) < 1.2
