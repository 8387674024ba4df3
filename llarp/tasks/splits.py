"""The splits of Language Rearrangement: what each changes against training, and what that means for the generator.

Titles, the set that makes up Total, and the paper's figures are facts of arXiv 2310.17722 (success in percent, read off
the authors' figure, +-0.3). As there, every split but `train_validation` stands in layouts that training never sees.
Deviations: their objects also have looks (variants) that training never sees; drawers decide beside the fridge, two
rearrangements stand beside three, and `knowledge` is a further split of ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from llarp.tasks.families import TRAINING

PAPER_SYSTEMS: tuple[str, ...] = ("LLaRP", "LLaRP-scratch", "LSTM-Flan", "ZS-ChatGPT", "ZS-LLaMA")
"""Systems that the paper compares."""

PAPER_TOTAL: Mapping[str, float] = dict(zip(PAPER_SYSTEMS, (42, 17, 25, 22, 12), strict=True))
"""The paper's Total in percent: the mean over the nine splits marked `in_total`."""

HELD_OUT_FREE: frozenset[str] = frozenset({"move_from_to", "move_to", "find"})
"""Families in which training never names a held-out category."""

Novelty = Literal["episode", "layout", "wording", "category", "family"]


@dataclass(frozen=True)
class Split:
    """One set of episodes."""

    title: str
    """The paper's name."""
    changes: str
    """What changes against training, in a few words."""
    novelty: Novelty
    """The part of an episode that training must not contain; `llarp.tasks.data.leaks` checks it."""
    in_total: bool
    """Whether the paper's Total averages over it."""
    paper: Mapping[str, float]
    """System to success in percent; empty for a split that the paper does not have."""
    families: Mapping[str, float]
    """Family to its weight among the episodes."""
    pool: str = "train"
    """The wordings: a key of `llarp.tasks.language.templates.Language.pools`."""
    held_out_categories: bool | None = False
    """True: only held-out categories are asked for. False: they are not, save in training's other families.
    None: all are, where instructions describe objects and never name their category."""
    seen_places: bool = False
    """True: layouts and looks of training; False: others."""


def _split(
    title: str,
    changes: str,
    novelty: Novelty,
    paper: tuple[float, ...],
    families: Mapping[str, float] | tuple[str, ...],
    pool: str = "train",
    in_total: bool = True,
    **more: bool | None,
) -> Split:
    weights = families if isinstance(families, Mapping) else dict.fromkeys(families, 1.0)
    figures = dict(zip(PAPER_SYSTEMS, paper, strict=bool(paper)))
    return Split(title, changes, novelty, in_total, figures, weights, pool, **more)  # type: ignore[arg-type]


TRAINING_MIX: Mapping[str, float] = {
    "move_from_to": 2.0, "move_to": 3.0, "take_off": 1.5, "two_to": 2.0, "swap": 1.5,
    "open_fridge": 0.4, "close_fridge": 0.4, "go_to": 1.0, "find": 1.0,
}  # fmt: skip
"""Weights of the training families: more of those in which things must be looked for, few of the two easiest."""

SPLITS: Mapping[str, Split] = {
    "train": _split(
        "Train", "nothing", "episode", (98.7, 90, 98, 57, 54), TRAINING_MIX, in_total=False, seen_places=True
    ),
    # The paper draws one row "train" for these two.
    "train_validation": _split(
        "Train Validation", "nothing but the episodes", "episode", (98.7, 90, 98, 57, 54), TRAINING_MIX,
        in_total=False, seen_places=True,
    ),
    "new_scenes": _split(
        "New Scenes", "layouts never seen", "layout", (95.7, 90, 95, 52, 41), TRAINING, in_total=False
    ),
    "rephrasing": _split(
        "Instruction Rephrasing", "other wordings of the same tasks", "wording", (92, 59.3, 85.3, 58, 34),
        TRAINING, "rephrasing",
    ),
    "referring": _split(
        "Referring Expressions", "objects named by their looks", "wording", (25.7, 2.7, 6.3, 24, 3),
        ("move_from_to", "move_to", "take_off"), "referring", held_out_categories=None,
    ),
    "spatial": _split(
        "Spatial Relationships", "receptacles named by position", "wording", (8.3, 3.3, 4.3, 0, 0),
        {"move_from_to": 2.0, "move_to": 2.0, "two_to": 2.0, "go_to": 1.0}, "spatial",
    ),
    "context": _split(
        "Context", "object implied by a purpose", "wording", (34, 3.7, 14.7, 10, 5), ("move_to",), "context",
        held_out_categories=None,
    ),
    "irrelevant_text": _split(
        "Irrelevant Instruction Text", "a distracting clause comes first", "wording", (32, 13, 4.7, 11, 6),
        ("move_from_to", "move_to", "take_off", "two_to"), "irrelevant_text",
    ),
    "multiple_rearrangements": _split(
        "Multiple Rearrangements", "two or three objects, each to a place of its own", "family", (0.3, 0, 0, 2, 0),
        {"multiple_rearrangements": 2.0, "two_rearrangements": 1.0}, "multiple_rearrangements",
    ),
    "novel_objects": _split(
        "Novel Objects", "five held-out categories", "category", (95.3, 58, 83, 61, 50),
        ("move_from_to", "move_to", "find"), held_out_categories=True,
    ),
    "multiple_objects": _split(
        "Multiple Objects", "all objects of a kind", "family", (46.7, 14.7, 18.7, 24, 6),
        ("multiple_objects",), "multiple_objects",
    ),
    "conditional": _split(
        "Conditional Instructions", "what to do depends on the fridge or a drawer", "family", (39.3, 0.7, 10, 5, 0),
        ("conditional", "conditional_drawer"), "conditional",
    ),
    "knowledge": _split(
        "Knowledge", "the object is implied by a fact about the world", "wording", (),
        ("move_from_to", "move_to", "take_off", "find"), "knowledge", in_total=False, held_out_categories=None,
    ),
}  # fmt: skip
"""Every split in the paper's order; the order of tables and reports."""
