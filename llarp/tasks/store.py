"""Episodes in one Parquet file (zstd): typed columns, goals and skills as their text forms.

The schema's version is in the file's metadata; an empty file is valid. The same episodes give the same bytes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llarp.errors import UserError
from llarp.files import file_aside
from llarp.tasks import goals, skills
from llarp.tasks.episode import Episode, ObjectInstance

SCHEMA_VERSION = 1
"""Raised whenever a column changes its name, type or meaning."""
ROWS_PER_GROUP = 2000
"""Episodes that are in memory as columns at a time while writing."""
_VERSION_KEY = b"llarp.episodes.version"

_TEXTS = pa.list_(pa.string())
_OBJECT = pa.struct(
    {
        "name": pa.string(),
        "category": pa.string(),
        "asset": pa.string(),
        "variant": pa.int32(),
        "receptacle": pa.string(),
        "position": pa.list_(pa.float64(), 3),
        "quaternion": pa.list_(pa.float64(), 4),
    }
)
SCHEMA = pa.schema(
    {
        "episode_id": pa.string(),
        "split": pa.string(),
        "family": pa.string(),
        "template": pa.string(),
        "instruction": pa.string(),
        "layout": pa.string(),
        "objects": pa.list_(_OBJECT),
        "start": _TEXTS,
        "goal": pa.string(),
        "subgoals": _TEXTS,
        "plan": _TEXTS,
        "demonstration": _TEXTS,
        "recorded": pa.list_(_TEXTS),
    },
    metadata={_VERSION_KEY: str(SCHEMA_VERSION).encode()},
)
"""Columns of an episode file; fields as in `Episode` and `ObjectInstance`."""

_PLAIN = ("episode_id", "split", "family", "template", "instruction", "layout")
_PARTS = tuple(field.name for field in _OBJECT)

_predicate = lru_cache(maxsize=100_000)(goals.parse_predicate)
_goal = lru_cache(maxsize=100_000)(goals.parse)


def write(path: str | Path, episodes: Iterable[Episode]) -> int:
    """Writes all episodes to one file, whole or not at all; returns how many.

    Raises:
        UserError: the folder cannot be written to.

    """
    count = 0
    rest = iter(episodes)
    with file_aside(path) as aside, pq.ParquetWriter(aside, SCHEMA, compression="zstd") as writer:
        while group := tuple(islice(rest, ROWS_PER_GROUP)):
            writer.write_table(_table(group))
            count += len(group)
    return count


def read(path: str | Path) -> list[Episode]:
    """All episodes of a file, in order.

    Raises:
        UserError: the file is missing, damaged, foreign, of another schema version, or holds what cannot be parsed.

    """
    path = Path(path)
    try:
        table = pq.read_table(path, memory_map=False)
    except OSError as error:
        if not path.exists():
            raise UserError("is missing", path, "run the stage that writes it, or `llarp import`") from None
        raise UserError(f"cannot be read ({error})", path, "write it again") from None
    except pa.ArrowException as error:
        raise UserError(f"is no whole Parquet file ({error})", path, "write it again") from None
    version = (table.schema.metadata or {}).get(_VERSION_KEY)
    if version is None:
        raise UserError("holds no episodes", path, "name a file written by `llarp import` or the episodes stage")
    if version != str(SCHEMA_VERSION).encode():
        raise UserError(
            f"has schema version {version.decode(errors='replace')}, known here is {SCHEMA_VERSION}",
            path,
            "update llarp, or write the episodes again",
        )
    if not table.schema.equals(SCHEMA):
        raise UserError("has columns of other types than its version says", path, "write it again")
    try:
        return list(_episodes(table))
    except (ValueError, TypeError) as error:
        raise UserError(f"holds what is no episode: {error}", path, "write it again") from None


def _table(episodes: Sequence[Episode]) -> pa.Table:
    columns: dict[str, Any] = {name: [getattr(entry, name) for entry in episodes] for name in _PLAIN}
    columns["objects"] = [
        [{part: getattr(entry, part) for part in _PARTS} for entry in episode.objects] for episode in episodes
    ]
    for name in ("start", "subgoals", "plan", "demonstration"):
        columns[name] = [[str(entry) for entry in getattr(episode, name)] for episode in episodes]
    columns["goal"] = [str(episode.goal) for episode in episodes]
    columns["recorded"] = [[[str(atom) for atom in step] for step in episode.recorded] for episode in episodes]
    return pa.Table.from_pydict(columns, schema=SCHEMA)


def _episodes(table: pa.Table) -> Iterator[Episode]:
    for batch in table.to_batches(max_chunksize=ROWS_PER_GROUP):
        columns: dict[str, list] = {name: batch.column(name).to_pylist() for name in _PLAIN}
        columns["objects"] = _objects(batch.column("objects"))
        columns["start"] = _parsed(batch.column("start"), _predicate)
        columns["goal"] = [_goal(text) for text in batch.column("goal").to_pylist()]
        columns["subgoals"] = _parsed(batch.column("subgoals"), _goal)
        columns["plan"] = _parsed(batch.column("plan"), skills.parse)
        columns["demonstration"] = _parsed(batch.column("demonstration"), skills.parse)
        columns["recorded"] = [
            tuple(tuple(_predicate(atom) for atom in step) for step in steps)
            for steps in batch.column("recorded").to_pylist()
        ]
        for values in zip(*columns.values(), strict=True):
            yield Episode(**dict(zip(columns, values, strict=True)))


def _parsed(column: pa.ListArray, parse: Callable[[str], Any]) -> list[tuple[Any, ...]]:
    return [tuple(parse(text) for text in texts) for texts in column.to_pylist()]


def _objects(column: pa.ListArray) -> list[tuple[ObjectInstance, ...]]:
    """Rows of objects. Columns of the flattened list are read one by one, ten times faster than struct by struct."""
    flat = column.flatten()
    parts: list[Any] = []
    for name in _PARTS:
        values = flat.field(name)
        if pa.types.is_fixed_size_list(values.type):
            numbers = iter(values.flatten().to_pylist())
            parts.append(zip(*[numbers] * values.type.list_size, strict=True))
        else:
            parts.append(values.to_pylist())
    objects = (ObjectInstance(*values) for values in zip(*parts, strict=True))
    return [tuple(islice(objects, length)) for length in column.value_lengths().to_pylist()]
