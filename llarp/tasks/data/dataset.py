"""A data set of all splits in one folder, and the report on it: counts per split and the proof that nothing leaks.

Everything here is read from a few columns, row group by row group, so that a set of any size takes little memory.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

import llarp
from llarp.errors import UserError
from llarp.scenes.catalog import RECEPTACLES
from llarp.tasks.data import leaks
from llarp.tasks.data.columns import SCHEMA_VERSION
from llarp.tasks.data.leaks import Facts, Seen
from llarp.tasks.data.store import Episodes
from llarp.tasks.goals import Goal, parse
from llarp.tasks.splits import SPLITS

REPORT = "report.json"
"""Name of the report in the folder of a data set."""
_RECEPTACLES = frozenset(entry.id for entry in RECEPTACLES)

Counts = Mapping[str, int]


@dataclass(frozen=True)
class Similarity:
    """How like training a split's instructions are: cosine of each distinct one to its nearest in training."""

    mean: float
    median: float
    low: float
    """Fifth percentile."""
    high: float
    """95th percentile."""
    least: tuple[tuple[float, str, str], ...]
    """(cosine, instruction, nearest training instruction) of the least similar ones."""
    distinct: int
    """Instructions compared."""
    training: int
    """Distinct training instructions that they were compared with."""


@dataclass(frozen=True)
class SplitReport:
    """What is known of one split."""

    split: str
    episodes: int
    steps: int
    """Actions of all demonstrations."""
    novelty: str
    """A key of `leaks.RULES`."""
    leaks: tuple[str, ...]
    """What training should not have contained, in words; empty when all is well."""
    repeated: tuple[str, ...]
    """Episodes with the content of an earlier one; empty when all is well."""
    instructions: int
    """Distinct ones."""
    counts: Mapping[str, Counts]
    """Episodes by `family`, `layout`, `category` and `receptacle` that the goal names, `words` of the instruction,
    `plan` and `demonstration` length."""
    similarity: Similarity | None = None


@dataclass(frozen=True)
class Report:
    """What is known of a data set."""

    seed: int
    config: Mapping[str, Any]
    """The parameters that decide which episodes there are."""
    version: str
    """Of llarp."""
    schema: int
    splits: tuple[SplitReport, ...]

    @classmethod
    def of(cls, folder: Path, seed: int, config: Mapping[str, Any]) -> "Report":
        """Counts and proves the splits in a folder; similarities are left open."""
        seen = Seen.of(leaks.facts(Episodes.open(folder / "train")))
        splits = tuple(_split(split, Episodes.open(folder / split), seen) for split in SPLITS)
        return cls(seed, dict(config), llarp.__version__, SCHEMA_VERSION, splits)

    @classmethod
    def read(cls, path: Path) -> "Report":
        """Reads what `write` wrote; UserError when it is missing or something else."""
        try:
            return cls.from_json(path.read_text())
        except OSError as error:
            raise UserError(f"cannot be read ({error.strerror})", path, "run the stage `episodes`") from None
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"is no report on episodes ({error})", path, "run the stage `episodes`") from None

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """The inverse of `to_json`; ValueError, TypeError or KeyError when the text is something else."""
        values = json.loads(text)
        splits = []
        for entry in values.pop("splits"):
            near = entry.pop("similarity")
            if near is not None:
                near = Similarity(**{**near, "least": tuple(map(tuple, near["least"]))})
            entry |= {name: tuple(entry[name]) for name in ("leaks", "repeated")}
            splits.append(SplitReport(**entry, similarity=near))
        return cls(**values, splits=tuple(splits))

    def to_json(self) -> str:
        """As text that another program can read."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @property
    def episodes(self) -> int:
        """Of all splits."""
        return sum(split.episodes for split in self.splits)

    @property
    def steps(self) -> int:
        """Actions of all demonstrations."""
        return sum(split.steps for split in self.splits)

    def refuse_leaks(self) -> None:
        """UserError when a split shares with training what it must not, or holds the same episode twice."""
        for split in self.splits:
            if split.leaks:
                rule = leaks.RULES[split.novelty]
                raise UserError(
                    f"{len(split.leaks)} episodes break the rule that {rule}; {split.leaks[0]}",
                    f"split {split.split}",
                    "change the wordings or the new episodes that brought it in",
                )
            if split.repeated:
                raise UserError(
                    f"{len(split.repeated)} episodes repeat others, as {split.repeated[0]}",
                    f"split {split.split}",
                    "ask for fewer episodes, or for more layouts or objects",
                )

    def with_similarity(self, similarities: Mapping[str, Similarity]) -> "Report":
        """The report with the similarity of the splits named."""
        splits = (replace(split, similarity=similarities.get(split.split)) for split in self.splits)
        return replace(self, splits=tuple(splits))


def _split(split: str, episodes: Episodes, seen: Seen) -> SplitReport:
    counts: dict[str, Counter[str]] = {}
    instructions: set[str] = set()
    rows: list[Facts] = []
    steps = 0
    for table in episodes.tables((*Facts._fields, "plan", "demonstration")):
        part = list(map(Facts, *(table.column(name).to_pylist() for name in Facts._fields)))
        lengths = {name: pc.list_value_length(table.column(name)).to_pylist() for name in ("plan", "demonstration")}
        steps += sum(lengths["demonstration"])
        instructions.update(row.instruction for row in part)
        for name, values in (*_counted(part), *lengths.items()):
            counts.setdefault(name, Counter()).update(map(str, values))
        rows += part
    return SplitReport(
        split=split,
        episodes=len(rows),
        steps=steps,
        novelty=SPLITS[split].novelty,
        leaks=() if split == "train" else tuple(leaks.leaks(seen, rows)),
        repeated=tuple(leaks.repeated(rows)),
        instructions=len(instructions),
        counts={name: dict(sorted(values.items(), key=_order)) for name, values in counts.items()},
    )


def _order(item: tuple[str, int]) -> tuple[int, str]:
    """Numbers by size, names by the alphabet."""
    return (int(item[0]) if item[0].isdecimal() else -1), item[0]


def _counted(rows: list[Facts]) -> Iterator[tuple[str, list[Any]]]:
    yield "family", [row.family for row in rows]
    yield "layout", [row.layout for row in rows]
    yield "category", [kind for row in rows for kind in named(row.goal)[0]]
    yield "receptacle", [place for row in rows for place in named(row.goal)[1]]
    yield "words", [len(row.instruction.split()) for row in rows]


@lru_cache(maxsize=100_000)
def named(goal: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(categories, receptacles) that the text of a goal names, each once."""
    tree = parse(goal)
    return tuple(sorted(set(leaks.asked(tree)))), tuple(sorted(set(_places(tree))))


def _places(goal: Goal) -> Iterator[str]:
    for term in goal.terms:
        if isinstance(term, Goal):
            yield from _places(term)
        else:
            yield from _RECEPTACLES.intersection(term.args)
