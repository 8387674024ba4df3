"""Wordings of instructions, and how their slots are filled with words.

They stand in `templates.toml`, whose head says how slots are written; `llarp.tasks.language.reader` reads and checks
it. A pool is a table of the file: the wordings that one or more splits draw from.
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from llarp.scenes.catalog import CATEGORIES, HANDLES, RECEPTACLES
from llarp.scenes.layouts import layout
from llarp.tasks.language.relations import positions

POOLS: tuple[str, ...] = (
    "train", "rephrasing", "referring", "spatial", "multiple_rearrangements", "multiple_objects", "conditional",
    "irrelevant_text", "context", "knowledge",
)  # fmt: skip
"""All pools; the last three are put together from parts."""

SLOT = re.compile(r"\{([^{}]*)\}")
"""A slot in braces."""
WORDS: Mapping[str, str] = {
    **{handle.id: handle.words for handle in HANDLES},
    **{receptacle.id: receptacle.words for receptacle in RECEPTACLES},
    **{category.id: category.words for category in CATEGORIES},
}
"""Identifier of the catalogue to what an instruction calls it."""

Phrases = Mapping[str, tuple[tuple[str, ...], ...]]
"""Identifier to groups of phrases for it: a group is drawn, then one of its phrases."""


@dataclass(frozen=True)
class Wording:
    """One way to say a task of a family."""

    id: str
    """Pool, key and number in the file, as in `train.move_to.3`; parts are joined by `+`."""
    family: str
    text: str
    """The sentence with its slots in braces."""
    allowed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Slot to the identifiers that may fill it, where that is restricted."""
    located: Mapping[str, tuple[str, bool]] = field(default_factory=dict)
    """Object slot to a receptacle slot and whether the object must lie there (True) or anywhere else (False)."""
    place: str = ""
    """File and line."""

    @property
    def slots(self) -> frozenset[str]:
        """Letters of the slots in the text."""
        return frozenset(slot[-1] for slot in SLOT.findall(self.text))

    @property
    def positioned(self) -> frozenset[str]:
        """Letters of the slots that are said by where they are, which depends on the layout."""
        return frozenset(slot[-1] for slot in SLOT.findall(self.text) if slot.startswith("where"))


def tag(wording_id: str) -> str | None:
    """What is to be told apart within a split, by the id of a wording; None where there is nothing.

    `knowledge/origin` (attribute, use): the kind of the fact. `irrelevant_text/true` (false, neutral): what the clause
    says of the episode.
    """
    pool, *rest = wording_id.split("+")[0].split(".")
    if pool == "knowledge":
        return f"{pool}/{rest[0]}"
    if pool == "irrelevant_text":
        return f"{pool}/{rest[2] if len(rest) > 2 else 'neutral'}"
    return None


@dataclass(frozen=True, eq=False)
class Language:
    """Everything that the templates file says."""

    pools: Mapping[str, Mapping[str, tuple[Wording, ...]]]
    """Pool, then family, to its wordings."""
    looks: Mapping[str, tuple[str, ...]]
    """Category to phrases that describe how it looks."""
    facts: Mapping[str, Mapping[str, tuple[str, ...]]]
    """Kind of knowledge, then category, to phrases that a fact about the world makes true of it alone."""
    where: Mapping[str, tuple[str, ...]]
    """Receptacle to phrases that say where it is in every layout."""
    kinds: Mapping[str, tuple[str, ...]]
    """Word to the receptacles that it can mean."""
    relations: Mapping[str, tuple[str, ...]]
    """Relation to phrases with slots `kind`, `one` and `other`."""
    grammar: Mapping[str, Mapping[str, str]]
    """Category to its irregular forms."""

    @lru_cache(maxsize=4096)  # noqa: B019 (there is one language in a process, which lives as long as it)
    def positions(self, layout_name: str) -> Phrases:
        """Receptacle to phrases that say where it is in a layout: true there, and of nothing else."""
        groups: dict[str, dict[str, list[str]]] = {}
        for id, phrases in self.where.items():
            groups.setdefault(id, {})[""] = list(phrases)
        here = layout(layout_name)
        for word, kind in self.kinds.items():
            for position in positions(here, kind):
                names = dict(zip(("one", "other"), (WORDS[id] for id in position.landmarks), strict=False))
                group = groups.setdefault(position.target, {}).setdefault(position.relation, [])
                group += [text.format(kind=word, **names) for text in self.relations.get(position.relation, ())]
        return {id: tuple(tuple(group) for group in mine.values() if group) for id, mine in groups.items()}

    def fill(self, wording: Wording, slots: Mapping[str, str], rng: random.Random, where: Phrases | None = None) -> str:
        """The instruction: slots (letter to identifier) as words.

        Args:
            wording: what to fill.
            slots: letter to identifier of the catalogue.
            rng: chooses among phrases for the same thing.
            where: what `positions` says of the layout; needed for slots that are said by where they are.

        """

        def words(match: re.Match[str]) -> str:
            form, letter = match[1][:-1].strip(), match[1][-1]
            id = slots[letter]
            if form.endswith("looks"):
                phrase = rng.choice(self.looks[id])
                return indefinite(phrase) if form.startswith("an") else phrase
            if form == "where":
                assert where is not None
                return rng.choice(rng.choice(where[id]))
            word = WORDS[id]
            if form == "":
                return word
            return self.grammar.get(id, {}).get(form) or (indefinite(word) if form == "an" else f"{word}s")

        text = SLOT.sub(words, wording.text)
        return _SENTENCE.sub(lambda match: match[1] + match[2].upper(), text)


_SENTENCE = re.compile(r"((?:^|[.?!] ))([a-z])")


_VOWEL_SOUND = re.compile(r"(?!uni|use|ute|eu|one)[aeiou]", re.IGNORECASE)


def indefinite(words: str) -> str:
    """The words after "a" or "an"; an initial u or o that sounds like a consonant is known in a few words only."""
    return f"{'an' if _VOWEL_SOUND.match(words) else 'a'} {words}"


def skeleton(text: str) -> str:
    """A wording without what its slots stand for, articles, case and punctuation; equal ones count as the same."""
    bare = SLOT.sub(lambda match: "object" if match[1][-1:] in "xyz" else "receptacle", text)
    return " ".join(word for word in re.findall(r"[a-z']+", bare.lower()) if word not in ("a", "an", "the"))


def wordings(pool: Mapping[str, Sequence[Wording]]) -> Iterator[Wording]:
    """All wordings of a pool, family after family."""
    for group in pool.values():
        yield from group
