"""Wordings of instructions: reads `templates.toml`, checks it, and fills slots with words.

The file says how slots are written. A pool is a table of the file: the wordings that one or more splits draw from.
"""

import random
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from llarp.errors import UserError
from llarp.scenes.catalog import CATEGORIES, OPEN_RECEPTACLES, RECEPTACLES
from llarp.tasks.families import FAMILIES

POOLS: tuple[str, ...] = (
    "train", "rephrasing", "referring", "spatial", "multiple_rearrangements", "multiple_objects", "conditional",
    "irrelevant_text", "context",
)  # fmt: skip
"""All tables with wordings; the last two have a shape of their own."""

_SLOT = re.compile(r"\{([^{}]*)\}")
_FORMS = {"": "abcxyz", "an": "xyz", "plural": "xyz", "looks": "xyz", "an looks": "xyz", "where": "abc"}
"""How a slot may be written before its letter, and the letters that may follow."""
_CATEGORIES = {entry.id: entry.words for entry in CATEGORIES}
_RECEPTACLES = {entry.id: entry.words for entry in RECEPTACLES}


@dataclass(frozen=True)
class Wording:
    """One way to say a task of a family."""

    id: str
    """Pool, key and number in the file, as in `train.move_to.3`."""
    family: str
    text: str
    """The sentence with its slots in braces."""
    allowed: Mapping[str, tuple[str, ...]]
    """Slot to the identifiers that may fill it, where that is restricted."""

    @property
    def slots(self) -> frozenset[str]:
        """Letters of the slots in the text."""
        return frozenset(slot[-1] for slot in _SLOT.findall(self.text))


@dataclass(frozen=True)
class Language:
    """Everything that the templates file says."""

    pools: Mapping[str, Mapping[str, tuple[Wording, ...]]]
    """Pool, then family, to its wordings."""
    looks: Mapping[str, tuple[str, ...]]
    """Category to phrases that describe how it looks."""
    where: Mapping[str, tuple[str, ...]]
    """Receptacle to phrases that say where it is."""
    grammar: Mapping[str, Mapping[str, str]]
    """Category to its irregular forms."""

    def fill(self, wording: Wording, slots: Mapping[str, str], rng: random.Random) -> str:
        """The instruction: slots (letter to identifier) as words; `rng` chooses among phrases for the same thing."""

        def words(match: re.Match[str]) -> str:
            form, letter = match[1][:-1].strip(), match[1][-1]
            id = slots[letter]
            if form.endswith("looks"):
                phrase = rng.choice(self.looks[id])
                return indefinite(phrase) if form.startswith("an") else phrase
            if form == "where":
                return rng.choice(self.where[id])
            word = _CATEGORIES.get(id) or _RECEPTACLES[id]
            if form == "":
                return word
            regular = indefinite(word) if form == "an" else f"{word}s"
            return self.grammar.get(id, {}).get(form, regular)

        text = _SLOT.sub(words, wording.text)
        return text[0].upper() + text[1:]


def indefinite(words: str) -> str:
    """The words after "a" or "an"."""
    return f"{'an' if words[0].lower() in 'aeiou' else 'a'} {words}"


def skeleton(text: str) -> str:
    """A wording without what its slots stand for, articles, case and punctuation; equal ones count as the same."""
    bare = _SLOT.sub(lambda match: "object" if match[1][-1:] in "xyz" else "receptacle", text)
    return " ".join(word for word in re.findall(r"[a-z']+", bare.lower()) if word not in ("a", "an", "the"))


@cache
def language() -> Language:
    """The templates that come with the project."""
    return load(Path(str(files("llarp.tasks").joinpath("templates.toml"))))


def load(path: Path) -> Language:
    """Reads and checks a templates file; UserError names the file and the key that is wrong."""
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", path) from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"is no TOML: {error}", path, "mend the line named") from error
    return _Reader(path, content).language()


class _Reader:
    """Turns a parsed templates file into a Language, complaining about the first thing that is wrong."""

    def __init__(self, path: Path, content: dict) -> None:
        self.path, self.content = path, content

    def language(self) -> Language:
        known = {*POOLS, "looks", "where", "grammar"}
        for key in self.content.keys() ^ known:
            raise self.wrong(key, "unknown table" if key not in known else "missing table", f"have {sorted(known)}")
        self.looks = {key: self.texts("looks", key, _CATEGORIES) for key in self.content["looks"]}
        self.where = {key: self.texts("where", key, OPEN_RECEPTACLES) for key in self.content["where"]}
        grammar = {key: self.forms(key) for key in self.content["grammar"]}
        pools = {pool: self.by_family(self.plain(pool)) for pool in POOLS[:-2]}
        pools["irrelevant_text"] = self.by_family(self.irrelevant(pools["train"]))
        pools["context"] = self.by_family(self.context())
        self.check_apart(pools)
        return Language(pools, self.looks, self.where, grammar)

    def plain(self, pool: str) -> Iterator[Wording]:
        for family in self.content[pool]:
            for number, text in enumerate(self.texts(pool, family, FAMILIES)):
                yield self.wording(pool, family, number, family, text, FAMILIES[family].slots)

    def irrelevant(self, train: Mapping[str, tuple[Wording, ...]]) -> Iterator[Wording]:
        """Every clause before every wording of training of the families named."""
        keys = ("clauses", "before")
        clauses = self.texts("irrelevant_text", "clauses", keys)
        families = self.texts("irrelevant_text", "before", keys)
        for number, text in enumerate(clauses):
            clause = self.wording("irrelevant_text", "clauses", number, "move_to", text, frozenset())
            for family in families:
                if family not in train:
                    raise self.wrong("irrelevant_text.before", f"no family of training is called {family!r}")
                for base in train[family]:
                    if shared := sorted(clause.slots & base.slots):
                        raise self.wrong(clause.id, f"slot {shared[0]} is used by {base.id} too", "use z and c")
                    yield Wording(f"{clause.id}+{base.id}", family, f"{text} {base.text}", base.allowed)

    def context(self) -> Iterator[Wording]:
        for category in self.content["context"]:
            for number, text in enumerate(self.texts("context", category, _CATEGORIES)):
                wording = self.wording("context", category, number, "move_to", text, frozenset("b"))
                yield Wording(wording.id, "move_to", text, {"x": (category,)})

    def wording(self, pool: str, key: str, number: int, family: str, text: str, needed: frozenset[str]) -> Wording:
        id = f"{pool}.{key}.{number}"
        allowed: dict[str, tuple[str, ...]] = {}
        for slot in _SLOT.findall(text):
            form, letter = slot[:-1].strip(), slot[-1:]
            if not letter or letter not in _FORMS.get(form, ""):
                raise self.wrong(id, f"unknown slot {{{slot}}}", "the head of the file lists how slots are written")
            if form.endswith("looks"):
                allowed[letter] = tuple(self.looks)
            elif form == "where":
                allowed[letter] = tuple(self.where)
        if "{" in _SLOT.sub("", text) or "}" in _SLOT.sub("", text):
            raise self.wrong(id, "a brace is not closed", "write slots as {x}")
        wording = Wording(id, family, text, allowed)
        if missing := sorted(needed - wording.slots):
            raise self.wrong(id, f"slot {missing[0]} is missing", f"family {family} needs it")
        if needed and (extra := sorted(wording.slots - needed)):
            raise self.wrong(id, f"slot {extra[0]} has no meaning here", f"family {family} has {sorted(needed)}")
        return wording

    def texts(self, table: str, key: str, keys: Iterable[str]) -> tuple[str, ...]:
        """The list at a key, checked to be of unempty texts."""
        if key not in keys:
            raise self.wrong(f"{table}.{key}", "unknown name", "see `llarp.scenes.catalog` and `llarp.tasks.families`")
        values = self.content[table].get(key)
        if not isinstance(values, list) or not values:
            raise self.wrong(f"{table}.{key}", "not a list of texts, or an empty one")
        for number, value in enumerate(values):
            if not isinstance(value, str) or not value.strip():
                raise self.wrong(f"{table}.{key}.{number}", "not a text, or an empty one")
        return tuple(values)

    def forms(self, category: str) -> dict[str, str]:
        forms = self.content["grammar"][category]
        if category not in _CATEGORIES or not isinstance(forms, dict) or forms.keys() - {"an", "plural"}:
            raise self.wrong(f"grammar.{category}", "not a category with forms `an` and `plural`")
        return forms

    @staticmethod
    def by_family(wordings: Iterable[Wording]) -> dict[str, tuple[Wording, ...]]:
        grouped: dict[str, list[Wording]] = {}
        for wording in wordings:
            grouped.setdefault(wording.family, []).append(wording)
        return {family: tuple(group) for family, group in grouped.items()}

    def check_apart(self, pools: Mapping[str, Mapping[str, tuple[Wording, ...]]]) -> None:
        """No wording twice in one pool, none of training in the pools that test wordings."""
        seen: dict[str, dict[str, str]] = {}
        for pool, families in pools.items():
            for wording in (entry for group in families.values() for entry in group):
                other = seen.setdefault(pool, {}).setdefault(skeleton(wording.text), wording.id)
                if other != wording.id:
                    raise self.wrong(wording.id, f"says the same as {other}", "reword one of them")
        for text, id in seen["rephrasing"].items():
            if text in seen["train"]:
                raise self.wrong(id, f"says the same as {seen['train'][text]}", "rephrasing must not repeat training")

    def wrong(self, key: str, what: str, do: str | None = None) -> UserError:
        return UserError(f"key {key}: {what}", self.path, do)
