"""Turns templates files into a Language, collecting everything that is wrong with them, line by line."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from llarp.scenes.catalog import CATEGORIES, RECEPTACLES
from llarp.scenes.furniture import FREESTANDING
from llarp.tasks.families import FAMILIES, TRAINING
from llarp.tasks.language import checks
from llarp.tasks.language.relations import RELATIONS
from llarp.tasks.language.templates import POOLS, SLOT, Language, Wording, indefinite, skeleton, wordings
from llarp.tasks.language.texts import Text, Texts
from llarp.tasks.language.toml_lines import Problem, merged
from llarp.tasks.language.toml_lines import read as read_tables
from llarp.tasks.splits import SPLITS

FACT_KINDS: tuple[str, ...] = ("attribute", "use", "origin")
"""Kinds of knowledge, each a table `facts.KIND`."""

_PLAIN: tuple[str, ...] = POOLS[:-3]
_TABLES = (
    *POOLS, *(f"facts.{kind}" for kind in FACT_KINDS), "looks", "where", "kinds", "relations", "grammar",
)  # fmt: skip
_PARTS = ("claims", "denials", "remarks", "before")
_FORMS = {
    "": "abcdxyz", "an": "xyz", "plural": "xyz", "looks": "xyz", "an looks": "xyz", "where": "abc",
    "fact": "x", "an fact": "x",
}  # fmt: skip
"""How a slot may be written before its letter, and the letters that may follow."""
_CATEGORIES = {entry.id: entry.words for entry in CATEGORIES}


def read(*paths: Path) -> tuple[Language | None, list[Problem]]:
    """The language of a templates file, with others that add to it, and all problems in order of their lines.

    The language is None when a file is no TOML at all; with other problems it lacks what they are about.
    """
    files, problems = [], []
    for path in paths:
        tables, found = read_tables(path)
        files.append(tables)
        problems += found
    if problems:
        return None, problems
    reader = _Reader(paths[0], merged(files))
    found_language = reader.language()
    return found_language, sorted(set(reader.problems), key=lambda problem: (str(problem.path), problem.line))


class _Reader(Texts):
    """Puts a Language together."""

    def language(self) -> Language:
        """The language, without what has a problem."""
        for name in self.tables.keys() - set(_TABLES):
            self.missing(name, name, "unknown table", f"have {', '.join(_TABLES)}")
        for name in _TABLES:
            if name not in self.tables:
                self.missing("", name, "table is missing", f"add [{name}]")
        looks = self.phrases("looks", _CATEGORIES)
        facts = {kind: self.phrases(f"facts.{kind}", _CATEGORIES) for kind in FACT_KINDS}
        where = self.phrases("where", [entry.id for entry in RECEPTACLES])
        self.looks, self.facts = {key: tuple(text.text for text in texts) for key, texts in looks.items()}, facts
        self.check_phrases([looks, *facts.values()], where)
        pools = {pool: _by_family(self.plain(pool)) for pool in _PLAIN}
        pools["irrelevant_text"] = _by_family(self.irrelevant(pools["train"]))
        pools["context"] = _by_family(self.context())
        pools["knowledge"] = _by_family(self.knowledge())
        self.check_pools(pools)
        self.check_facts(pools["train"])
        return Language(
            pools,
            self.looks,
            {
                kind: {key: tuple(text.text for text in texts) for key, texts in part.items()}
                for kind, part in facts.items()
            },
            {key: tuple(text.text for text in texts) for key, texts in where.items()},
            self.kinds(),
            self.relations(),
            self.grammar(),
        )

    # -- pools

    def plain(self, pool: str) -> Iterator[Wording]:
        """Wordings listed by family."""
        for family, texts in self.lists(pool, FAMILIES):
            for text in texts:
                wording = self.wording(text, family, FAMILIES[family].slots)
                if wording is not None:
                    yield wording

    def irrelevant(self, train: Mapping[str, tuple[Wording, ...]]) -> Iterator[Wording]:
        """Every clause before every wording of training of the families named; claims and denials true and false."""
        parts = dict(self.lists("irrelevant_text", _PARTS))
        for name in _PARTS:
            if name not in parts and "irrelevant_text" in self.tables:
                self.missing("irrelevant_text", f"irrelevant_text.{name}", "is missing", "add a list of this name")
        clauses: list[tuple[Wording, dict[str, tuple[str, bool]], str]] = []
        for part in _PARTS[:3]:
            needed = frozenset("zc") if part != "remarks" else None
            for text in parts.get(part, ()):
                clause = self.wording(text, "", needed)
                if clause is None:
                    continue
                if shared := sorted(clause.slots - frozenset("zc")):
                    self.wrong(text, f"slot {shared[0]} may be the task's", "use z and c in clauses")
                elif part == "remarks":
                    clauses.append((clause, {}, ""))
                else:
                    clauses += [
                        (clause, {"z": ("c", (part == "claims") == truth)}, f".{str(truth).lower()}")
                        for truth in (True, False)
                    ]
        for family in parts.get("before", ()):
            if family.text not in TRAINING:
                self.wrong(family, f"no family of training is called {family.text!r}", f"have {', '.join(TRAINING)}")
            for base in train.get(family.text, ()):
                if base.slots & frozenset("zc"):
                    self.wrong(family, f"{base.id} uses z or c, as the clauses do", "leave out this family")
                    continue
                for clause, located, truth in clauses:
                    yield Wording(
                        f"{clause.id}{truth}+{base.id}",
                        base.family,
                        f"{clause.text} {base.text}",
                        base.allowed,
                        located,
                        clause.place,
                    )

    def context(self) -> Iterator[Wording]:
        """Wordings of `move_to` that do not name the object, listed by category."""
        for category, texts in self.lists("context", _CATEGORIES):
            for text in texts:
                self.check_silent(text, category)
                wording = self.wording(text, "move_to", frozenset("b"))
                if wording is not None:
                    yield replace(wording, allowed={"x": (category,)})

    def knowledge(self) -> Iterator[Wording]:
        """Every fact in every frame of the pool."""
        for family, texts in self.lists("knowledge", FAMILIES):
            for text in texts:
                frame = self.wording(text, family, FAMILIES[family].slots)
                if frame is None:
                    continue
                if not re.search(r"\{(an )?fact x\}", frame.text):
                    self.wrong(text, "asks for no fact", "write the object as {fact x} or {an fact x}")
                    continue
                _, _, number = frame.id.rpartition(".")
                for part in self.facts.values():
                    for category, phrases in part.items():
                        for phrase in phrases:
                            id = f"knowledge.{phrase.id.removeprefix('facts.')}+{family}.{number}"
                            said = frame.text.replace("{fact x}", phrase.text)
                            said = said.replace("{an fact x}", indefinite(phrase.text))
                            yield Wording(id, family, said, {"x": (category,)}, place=phrase.place)

    def wording(self, text: Text, family: str, needed: frozenset[str] | None) -> Wording | None:
        """A wording whose slots are right: just those needed, any if None."""
        before = len(self.problems)
        allowed: dict[str, tuple[str, ...]] = {}
        for slot in SLOT.findall(text.text):
            form, letter = slot[:-1].strip(), slot[-1:]
            if not letter or letter not in _FORMS.get(form, ""):
                self.wrong(text, f"unknown slot {{{slot}}}", "the head of the file lists how slots are written")
            elif form.endswith("looks"):
                allowed[letter] = tuple(self.looks)
        if set("{}") & set(SLOT.sub("", text.text)):
            self.wrong(text, "a brace is not closed", "write slots as {x}")
        wording = Wording(text.id, family, text.text, allowed, place=text.place)
        if len(self.problems) > before:
            return None
        if needed is not None:
            for letter in sorted(needed - wording.slots):
                self.wrong(text, f"slot {letter} is missing", f"write all of {_braced(needed)}")
            for letter in sorted(wording.slots - needed):
                self.wrong(
                    text, f"slot {letter} has no meaning here", f"have {_braced(needed)}" if needed else "use none"
                )
        self.say(text, checks.sentence(text.text))
        return wording if len(self.problems) == before else None

    # -- phrases

    def phrases(self, table: str, keys: Collection[str]) -> dict[str, tuple[Text, ...]]:
        """Phrases listed by what they are for."""
        found = dict(self.lists(table, keys))
        for text in (text for texts in found.values() for text in texts):
            self.say(text, checks.phrase(text.text))
        return found

    def kinds(self) -> dict[str, tuple[str, ...]]:
        """Words for receptacles that share them."""
        kinds = {}
        for word in self.tables.get("kinds", {}):
            ids = self.texts("kinds", word)
            for id in ids:
                if id.text not in FREESTANDING:
                    self.wrong(
                        id,
                        f"no receptacle with a place of its own is called {id.text!r}",
                        f"have {', '.join(FREESTANDING)}",
                    )
            kinds[word] = tuple(id.text for id in ids if id.text in FREESTANDING)
        return kinds

    def relations(self) -> dict[str, tuple[str, ...]]:
        """Phrases for each relation."""
        relations = {}
        for relation, texts in self.lists("relations", RELATIONS):
            needed = {"kind", "one", "other"} if relation == "between" else {"kind", "one"}
            for text in texts:
                if (found := set(SLOT.findall(text.text))) != needed or set("{}") & set(SLOT.sub("", text.text)):
                    what = f"has slots {_braced(found) or 'none'}" if found != needed else "a brace is not closed"
                    self.wrong(text, what, f"a phrase for {relation} has {_braced(needed)}")
            relations[relation] = tuple(text.text for text in texts)
        return relations

    def grammar(self) -> dict[str, dict[str, str]]:
        """Irregular forms of words."""
        grammar = {}
        for category, entry in self.tables.get("grammar", {}).items():
            forms = entry.value
            if category not in _CATEGORIES:
                self.unknown("grammar", category, entry, _CATEGORIES)
            elif not isinstance(forms, dict) or not forms or forms.keys() - {"an", "plural"}:
                self.problems.append(
                    Problem(
                        entry.path,
                        entry.line,
                        f"grammar.{category}",
                        "has other forms than `an` and `plural`",
                        'write { plural = "..." }',
                    )
                )
            else:
                grammar[category] = forms
        return grammar

    # -- checks of texts against each other

    def check_phrases(self, named: list[dict[str, tuple[Text, ...]]], where: dict[str, tuple[Text, ...]]) -> None:
        """A phrase must mean one thing only, and may not name it."""
        seen: dict[str, Text] = {}
        for part in (*named, where):
            for key, texts in part.items():
                for text in texts:
                    if part is not where:
                        self.check_silent(text, key)
                    other = seen.setdefault(skeleton(text.text), text)
                    if other is not text:
                        self.wrong(text, f"says the same as {other.id} (line {other.line})", "reword one of them")

    def check_silent(self, text: Text, category: str) -> None:
        """A text that describes an object may not say its name."""
        words = re.findall(r"[a-z]+", text.text.lower())
        for name in {_CATEGORIES[category], category}:
            if name in words or f"{name}s" in words:
                self.wrong(text, f"names the {name} that it should only describe", "say it in other words")

    def check_pools(self, pools: Mapping[str, Mapping[str, tuple[Wording, ...]]]) -> None:
        """Every split finds wordings; none occurs twice in a pool; two pools repeat none of training."""
        needed: dict[tuple[str, str], str] = {}
        for split in SPLITS.values():
            for family in split.families:
                needed.setdefault((split.pool, family), split.title)
        for (pool, family), title in needed.items():
            if pool in (*_PLAIN, "knowledge") and pool in self.tables and family not in self.tables[pool]:
                self.missing(pool, f"{pool}.{family}", "has no wordings", f"the split {title} needs some")
        seen: dict[str, dict[str, Wording]] = {}
        for pool in (*_PLAIN, "context"):
            for wording in wordings(pools[pool]):
                other = seen.setdefault(pool, {}).setdefault(skeleton(wording.text), wording)
                if other is not wording:
                    self.wrong(
                        self.text_of[wording.id], f"says the same as {other.id} ({other.place})", "reword one of them"
                    )
        for pool in ("rephrasing", "context"):
            for text, wording in seen.get(pool, {}).items():
                if (repeated := seen.get("train", {}).get(text)) is not None:
                    self.wrong(
                        self.text_of[wording.id],
                        f"says the same as {repeated.id} ({repeated.place})",
                        f"{pool} must not repeat training",
                    )

    def check_facts(self, train: Mapping[str, tuple[Wording, ...]]) -> None:
        """What a fact says must be news: none of its content words may occur in training."""
        known = checks.training_words(wording.text for wording in wordings(train))
        for part in self.facts.values():
            for text in (text for texts in part.values() for text in texts):
                if common := sorted(checks.content_words(text.text) & known):
                    self.wrong(text, f"training says {common[0]!r} too", "say it in words that training does not have")


def _by_family(found: Iterable[Wording]) -> dict[str, tuple[Wording, ...]]:
    grouped: dict[str, list[Wording]] = {}
    for wording in found:
        grouped.setdefault(wording.family, []).append(wording)
    return {family: tuple(group) for family, group in grouped.items()}


def _braced(letters: Iterable[str]) -> str:
    return ", ".join(f"{{{letter}}}" for letter in sorted(letters))
