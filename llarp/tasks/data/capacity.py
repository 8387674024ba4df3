"""How many distinct tasks a split has: a start, a wording, what stands in its slots, and a scene.

Where objects lie is no part of a task, so one task makes many episodes.
"""

from functools import lru_cache

from llarp.config import EpisodesConfig
from llarp.errors import UserError
from llarp.tasks.families import FAMILIES
from llarp.tasks.generator import layout_names, slot_choices
from llarp.tasks.language.load import language
from llarp.tasks.splits import SPLITS


def refuse_too_many(config: EpisodesConfig) -> None:
    """UserError when more episodes of a split are asked for than it has distinct tasks."""
    for split in SPLITS:
        key = "train" if split == "train" else "per_split"
        asked = getattr(config, key)
        if (tasks := count_tasks(split, config, enough=asked)) < asked:
            raise UserError(
                f"{asked:,} episodes are asked for, but split {split} has only {tasks:,} distinct tasks "
                f"in {len(layout_names(split, config)):,} scenes",
                f"episodes.{key}",
                "ask for fewer, raise episodes.layouts or add wordings",
            )


def count_tasks(split: str, config: EpisodesConfig, enough: int | None = None) -> int:
    """Number of distinct tasks of a split.

    Args:
        split: a key of SPLITS.
        config: says how many layouts there are.
        enough: stop counting here; None counts all.

    """
    here, words = SPLITS[split], language()
    total = 0
    for place in layout_names(split, config):
        where = words.positions(place)
        for id in here.families:
            for wording in words.pools[here.pool][id]:
                choices = slot_choices(here, FAMILIES[id], wording, where if wording.positioned else {})
                total += len(FAMILIES[id].cases) * ways_to_fill(tuple(sorted(choices.values())))
        if enough is not None and total >= enough:
            return total
    return total


@lru_cache(maxsize=10_000)
def ways_to_fill(choices: tuple[tuple[str, ...], ...]) -> int:
    """Ways to take one of each, all different."""
    if not choices:
        return 1
    first, *rest = choices
    others = [set(other) for other in rest]
    if not any(other.intersection(first) for other in others):
        return len(first) * ways_to_fill(tuple(rest))
    return sum(ways_to_fill(tuple(tuple(sorted(other - {id})) for other in others)) for id in first)
