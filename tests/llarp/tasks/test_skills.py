"""The action space and the catalogue behind it."""

from collections import Counter

import pytest

from llarp.scenes import catalog
from llarp.tasks.skills import INDEX, SKILLS, parse


def test_seventy_skills_in_the_papers_numbers():
    assert len(SKILLS) == len(set(SKILLS)) == 70
    assert Counter(skill.verb for skill in SKILLS) == {
        "nav": 16, "pick": 33, "place": 11, "open_fridge": 1, "close_fridge": 1, "open_cab": 4, "close_cab": 4,
    }  # fmt: skip


def test_text_and_index_are_inverses():
    for index, skill in enumerate(SKILLS):
        assert parse(str(skill)) == skill and INDEX[skill] == index
    with pytest.raises(ValueError, match="fly"):
        parse("fly(sofa)")


def test_the_catalogue_has_the_papers_numbers():
    assert len(catalog.CATEGORIES) == 33
    assert [entry.id for entry in catalog.CATEGORIES if entry.held_out] == [
        "mug", "orange", "lid", "toy_airplane", "wrench",
    ]  # fmt: skip
    assert len(catalog.RECEPTACLES) == 11 and len(catalog.OPEN_RECEPTACLES) == 7
    assets = [asset for entry in catalog.CATEGORIES for asset in entry.assets]
    assert len(assets) == len(set(assets)) == 81
    assert catalog.category_of_asset("013_apple") == "apple"


def test_what_closes_a_receptacle_leads_back_to_it():
    for entry in catalog.HANDLES:
        if entry.receptacle is not None:
            assert catalog.receptacle(entry.receptacle).handle == entry.id
