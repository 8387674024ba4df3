"""What makes a text a sentence or a phrase, and which words a fact may not share with training."""

import re
from collections.abc import Iterable, Iterator

from llarp.tasks.language.templates import SLOT, WORDS, indefinite

_FUNCTION = """
a an the this that these those some any all every each no not only both either of to in on at by for from with
without into onto over under up down out off as than and or but so if when where while which who whom whose what how
it its itself they them their he she his her him you your i my me we our us is are was were be been being am do does
did done has have had having can could will would may might must should let there here then very more most much many
one ones s t too well thing things something
"""
FUNCTION_WORDS: frozenset[str] = frozenset(_FUNCTION.split())
"""Words that carry grammar and no fact."""

_PREPOSITIONS = frozenset(["after", "at", "by", "for", "from", "in", "like", "of", "off", "on", "to", "with"])

Finding = tuple[str, str]
"""What is wrong, and what to do about it."""


def sentence(text: str) -> Iterator[Finding]:
    """What is wrong with a wording as a sentence."""
    if not (text[0].isupper() or text.startswith("{")):
        yield "does not begin with a capital letter", "begin as a sentence does"
    if text[-1] not in ".?!":
        yield "does not end as a sentence", "end it with . ? or !"
    yield from _spacing(text)
    if found := re.search(r"\b(a|an) (\{(?!an )[^{}]*[a-z]\})", text, re.IGNORECASE):
        slot = found[2].replace("{", "{an ", 1)
        yield f"article before a slot: {found[0]!r}", f"write {slot}, which chooses between a and an"
    if found := re.search(r"\b(a|an|the|all|every|both) \{an [^{}]*\}", text, re.IGNORECASE):
        yield f"two articles: {found[0]!r}", "leave one of them out"
    if wrong := _wrong_article(SLOT.sub("{}", text)):
        yield f"article: {wrong!r}", "write a before consonants and an before vowels"


def phrase(text: str) -> Iterator[Finding]:
    """What is wrong with a phrase that stands behind "the" or "a"."""
    if text[0].isupper() and not text.startswith("TV"):
        yield "begins with a capital letter", "it stands within a sentence"
    if not text[-1].isalnum():
        yield "ends with a mark", "it stands within a sentence"
    if text.split()[0].lower() in ("a", "an", "the"):
        yield "begins with an article", "the wording brings it"
    if (last := text.split()[-1]) in _PREPOSITIONS:
        yield f"ends with {last!r}, and a wording may go on with another", "turn it round: ... with which ..."
    if set("{}") & set(text):
        yield "has a slot", "only wordings and relations have slots"
    yield from _spacing(text)
    if found := _wrong_article(text):
        yield f"article: {found!r}", "write a before consonants and an before vowels"


def content_words(text: str) -> frozenset[str]:
    """The words of a text that carry meaning, in small letters and without a plural's or a verb's final s."""
    return frozenset(_stem(word) for word in re.findall(r"[a-z]+", text.lower()) if word not in FUNCTION_WORDS)


def training_words(texts: Iterable[str]) -> frozenset[str]:
    """All content words that training instructions can have: those of wordings and of every name in their slots."""
    return content_words(" ".join((*(SLOT.sub(" ", text) for text in texts), *WORDS.values())))


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _spacing(text: str) -> Iterator[Finding]:
    if text != text.strip() or "  " in text or re.search(r" [.,;:?!]", text):
        yield "has a space too many", "leave single spaces between words alone"


def _wrong_article(text: str) -> str | None:
    """The first article that contradicts the next word; none before what is no small letter, or a silent h."""
    for found in re.finditer(r"\b(?:a|an) ((?!hour|honest|heir)[a-z]+)", text, re.IGNORECASE):
        if found[0].lower() != indefinite(found[1].lower()):
            return found[0]
    return None
