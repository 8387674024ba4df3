"""What phrases claim: looks against the paints that are drawn, facts against what training says."""

import colorsys
import re

import pytest

from llarp.scenes.catalog import CATEGORIES, HANDLES, RECEPTACLES, category
from llarp.scenes.variants import NUM_VARIANTS
from llarp.sim.drawing.looks import look
from llarp.tasks.families import TRAINING
from llarp.tasks.language.checks import FUNCTION_WORDS
from llarp.tasks.language.load import language
from llarp.tasks.language.templates import SLOT, tag, wordings

ALL = [entry.id for entry in CATEGORIES]


def colour(rgb):
    """The names that people give to a colour (RGB in [0, 1])."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*rgb)
    hue *= 360
    names = set()
    if lightness < 0.3:
        names |= {"dark", "black"} if saturation < 0.35 else {"dark"}
    if lightness > 0.65:
        names |= {"pale", "light", "bright", "cream"}
    if saturation > 0.5 and 0.25 < lightness < 0.75:
        names.add("bright")
    if lightness > 0.85:
        names.add("white")
    if (saturation < 0.3 and 0.3 < lightness < 0.9) or saturation < 0.15:
        names |= {"grey", "silver", "steel", "slate"}
    if saturation < 0.35 and lightness < 0.5 and 180 < hue < 260:
        names |= {"grey", "slate"}
    if saturation > 0.25 and lightness > 0.08:
        ranges = {
            "red": (340, 15), "reddish": (340, 25), "pink": (340, 20), "orange": (12, 42), "amber": (20, 45),
            "brown": (10, 45), "wooden": (10, 45), "golden": (30, 55), "yellow": (40, 68), "yellowish": (40, 90),
            "green": (60, 165), "turquoise": (165, 200), "blue": (180, 250), "purple": (250, 320),
        }  # fmt: skip
        names |= {name for name, (low, high) in ranges.items() if (hue - low) % 360 <= (high - low) % 360}
    return names


NAMES = {
    "dark", "black", "pale", "light", "bright", "cream", "white", "grey", "silver", "steel", "slate", "red", "reddish",
    "pink", "orange", "amber", "brown", "wooden", "golden", "yellow", "yellowish", "green", "turquoise", "blue",
    "purple",
}  # fmt: skip


@pytest.mark.parametrize("kind", language().looks)
def test_every_colour_that_is_named_is_painted_on_every_variant(kind):
    for phrase in language().looks[kind]:
        named = {word for word in re.findall(r"[a-z]+", phrase) if word in NAMES}
        for asset in category(kind).assets:
            if named == {"wooden"} and asset != category(kind).assets[0]:
                continue  # painted wood
            for variant in range(NUM_VARIANTS):
                seen = set().union(*map(colour, look(asset, variant).colours))
                assert named <= seen, f"{asset}/{variant} is not a {phrase}: {seen}"


def test_colours_have_names():
    assert colour((0.9, 0.1, 0.1)) >= {"red"} and "red" not in colour((0.1, 0.2, 0.9))
    assert colour((0.95, 0.85, 0.1)) >= {"yellow"} and "white" in colour((0.97, 0.97, 0.95))


def test_a_phrase_means_one_category_only():
    for part in (language().looks, *language().facts.values()):
        phrases = [phrase for texts in part.values() for phrase in texts]
        assert len(phrases) == len(set(phrases))
    everything = [phrase for part in language().facts.values() for texts in part.values() for phrase in texts]
    assert len(everything) == len(set(everything))


def test_every_category_can_be_described_in_every_way():
    purposes = [wording.allowed["x"][0] for wording in wordings(language().pools["context"])]
    for kind in ALL:
        assert len(language().looks[kind]) >= 3
        assert purposes.count(kind) >= 3
        assert sum(len(part.get(kind, ())) for part in language().facts.values()) >= 3


def test_facts_come_in_all_kinds():
    assert set(language().facts) == {"attribute", "use", "origin"}
    assert all(len(part) > len(ALL) / 2 for part in language().facts.values())


def words(text):
    return re.findall(r"[a-z']+", text.lower())


def test_no_training_instruction_says_what_a_fact_says():
    """Not even one content word: those of wordings, and of every name that can stand in their slots."""
    texts = [SLOT.sub(" ", wording.text) for wording in wordings(language().pools["train"])]
    names = [entry.words for group in (CATEGORIES, RECEPTACLES, HANDLES) for entry in group]
    names += [forms[form] for forms in language().grammar.values() for form in forms]
    said = {word for text in (*texts, *names) for word in words(text)}
    said |= {f"{word}s" for word in said}
    for part in language().facts.values():
        for phrases in part.values():
            for phrase in phrases:
                assert not {word for word in words(phrase) if word in said and word not in FUNCTION_WORDS}, phrase


def test_function_words_hide_no_fact():
    names = {word for entry in (*CATEGORIES, *RECEPTACLES) for word in words(entry.words)} - {"can"}
    assert not FUNCTION_WORDS & (names | {"fruit", "tool", "red", "round", "sour", "metal", "open", "drink", "eat"})


def test_wordings_of_knowledge_say_which_fact_they_need():
    pool = language().pools["knowledge"]
    for wording in wordings(pool):
        _, kind, about, number = wording.id.split("+")[0].split(".")
        assert language().facts[kind][about][int(number)] in wording.text
        assert wording.allowed == {"x": (about,)} and "{x}" not in wording.text
        assert tag(wording.id) == f"knowledge/{kind}"
    assert set(pool) <= set(TRAINING)


def test_tags():
    assert tag("irrelevant_text.claims.0.true+train.move_to.3") == "irrelevant_text/true"
    assert tag("irrelevant_text.remarks.0+train.move_to.3") == "irrelevant_text/neutral"
    assert tag("train.move_to.3") is None and tag("released_7") is None
