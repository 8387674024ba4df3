import itertools

import pytest

from llarp.config import EpisodesConfig
from llarp.errors import UserError
from llarp.sim.rules import RuleWorld
from llarp.tasks.data.capacity import count_tasks, refuse_too_many, ways_to_fill
from llarp.tasks.families import FAMILIES
from llarp.tasks.generator import generate, layout_names, slot_choices
from llarp.tasks.language.load import language
from llarp.tasks.splits import SPLITS

FEW = EpisodesConfig(train=1, per_split=1, layouts=1, objects=34, workers=1)


@pytest.mark.parametrize(
    "choices", [(), ("a",), ("ab", "bc"), ("ab", "ab", "xy"), ("abcd", "bcd", "de", "xyz"), ("a", "a")]
)
def test_ways_to_fill_are_those_without_repetition(choices):
    expected = sum(len(set(some)) == len(some) for some in itertools.product(*choices))
    assert ways_to_fill(tuple(map(tuple, choices))) == expected


@pytest.mark.parametrize("split", ["context", "novel_objects", "spatial"])
def test_the_number_is_that_of_an_enumeration(split):
    tasks = set()
    for place in layout_names(split, FEW)[-3:]:
        for id in SPLITS[split].families:
            for wording in language().pools[SPLITS[split].pool][id]:
                where = language().positions(place) if wording.positioned else {}
                choices = slot_choices(SPLITS[split], FAMILIES[id], wording, where)
                for some in itertools.product(*choices.values()):
                    if len(set(some)) == len(some):
                        tasks |= {(place, wording.id, number, *some) for number in range(len(FAMILIES[id].cases))}
    assert len(tasks) == sum(count_of(split, place) for place in layout_names(split, FEW)[-3:])


def count_of(split, place):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llarp.tasks.data.capacity.layout_names", lambda split, config: (place,))
        return count_tasks(split, FEW)


def test_more_episodes_than_tasks_are_refused_with_their_number():
    tasks = min(count_tasks(split, FEW) for split in ("context", "multiple_objects", "novel_objects"))
    refuse_too_many(FEW.model_copy(update={"per_split": tasks}))
    with pytest.raises(
        UserError, match=rf"episodes.per_split: {tasks + 1:,} episodes .* only {tasks:,} distinct tasks"
    ):
        refuse_too_many(FEW.model_copy(update={"per_split": tasks + 1}))


def test_every_episode_is_one_of_the_tasks():
    """Wordings and scenes that are drawn are among those that are counted."""
    for split in SPLITS:
        wordings = {wording.id for id in SPLITS[split].families for wording in language().pools[SPLITS[split].pool][id]}
        for episode in generate(split, 20, 1, FEW, world=RuleWorld()):
            assert episode.template.split("@")[0] in wordings and episode.layout in layout_names(split, FEW)
