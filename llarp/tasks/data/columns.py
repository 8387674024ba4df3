"""Episodes as typed columns: the schema of an episode file and both ways between it and `Episode`.

Positions are whole millimetres and headings whole milliradians; goals, atoms and skills are their text forms, which
Parquet keeps once each and refers to by number.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, islice
from typing import Any

import pyarrow as pa

from llarp.errors import UserError
from llarp.tasks import goals, skills
from llarp.tasks.episode import Episode, ObjectInstance, upright

SCHEMA_VERSION = 2
"""Raised whenever a column changes its name, type or meaning."""
VERSION_KEY = b"llarp.episodes.version"
CONTENT_BYTES = 16

_TEXTS = pa.list_(pa.string())
_OBJECT = pa.struct(
    {
        "asset": pa.string(),
        "number": pa.int16(),  # among the objects of the asset; with it the object's name
        "category": pa.string(),
        "variant": pa.int32(),
        "receptacle": pa.string(),
        "x_mm": pa.int32(),
        "y_mm": pa.int32(),
        "z_mm": pa.int32(),
        "heading_mrad": pa.int16(),
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
        "content": pa.binary(CONTENT_BYTES),
    },
    metadata={VERSION_KEY: str(SCHEMA_VERSION).encode()},
)
"""Columns of an episode file; fields as in `Episode` and `ObjectInstance`, and `content` as in the function."""

REPEATED = tuple(f"objects.list.element.{name}" for name in ("asset", "category", "receptacle")) + tuple(
    f"{name}.list.element" for name in ("start", "subgoals", "plan", "demonstration")
)
"""Parquet columns of few distinct texts, to be read as dictionaries."""

_PLAIN = ("episode_id", "split", "family", "template", "instruction", "layout")

_predicate = lru_cache(maxsize=100_000)(goals.parse_predicate)
_goal = lru_cache(maxsize=100_000)(goals.parse)


def content(episode: Episode) -> bytes:
    """16-byte digest of what makes two episodes the same task: instruction, layout, start and goal.

    Neither its name nor its split nor what the expert made of it. UserError as `to_table`.
    """
    return _digest(episode, _rows(episode))


def to_table(episodes: Sequence[Episode]) -> pa.Table:
    """Episodes as one table; UserError when an object's name or pose is none that the columns can say."""
    columns: dict[str, Any] = {name: [getattr(entry, name) for entry in episodes] for name in _PLAIN}
    rows = [_rows(episode) for episode in episodes]
    columns["objects"] = _object_column(rows)
    for name in ("start", "subgoals", "plan", "demonstration"):
        columns[name] = [[str(entry) for entry in getattr(episode, name)] for episode in episodes]
    columns["goal"] = [str(episode.goal) for episode in episodes]
    columns["recorded"] = [[[str(atom) for atom in step] for step in episode.recorded] for episode in episodes]
    columns["content"] = list(map(_digest, episodes, rows))
    return pa.Table.from_pydict(columns, schema=SCHEMA)


def to_episodes(table: pa.Table) -> Iterator[Episode]:
    """The inverse of `to_table`; ValueError or TypeError when the table holds what is no episode."""
    for batch in table.to_batches():
        columns: dict[str, Any] = {name: batch.column(name).to_pylist() for name in _PLAIN}
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


def _rows(episode: Episode) -> list[tuple[Any, ...]]:
    """The fields of _OBJECT for every object."""
    rows = []
    for entry in episode.objects:
        try:
            number, pose = _number(entry.name, entry.asset), _pose(entry)
        except ValueError as error:
            raise UserError(
                f"{entry.name} {error}", f"episode {episode.episode_id}", "see `llarp.tasks.episode.resting`"
            ) from None
        rows.append((entry.asset, number, entry.category, entry.variant, entry.receptacle, *pose))
    return rows


def _digest(episode: Episode, rows: list[tuple[Any, ...]]) -> bytes:
    text = repr((episode.instruction, episode.layout, rows, [str(atom) for atom in episode.start], str(episode.goal)))
    return hashlib.blake2b(text.encode(), digest_size=CONTENT_BYTES).digest()


def _object_column(rows: Sequence[Sequence[tuple[Any, ...]]]) -> pa.ListArray:
    """All objects of all episodes, field by field."""
    parts = list(zip(*(row for some in rows for row in some), strict=True)) or [()] * len(_OBJECT)
    arrays = [pa.array(part, field.type) for part, field in zip(parts, _OBJECT, strict=True)]
    offsets = pa.array([0, *accumulate(map(len, rows))], pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(arrays, fields=list(_OBJECT)))


@lru_cache(maxsize=10_000)
def _number(name: str, asset: str) -> int:
    number = name.removeprefix(f"{asset}:")
    if number == name or not number.isdecimal() or number != str(int(number)):
        raise ValueError(f"is not called {asset} and a number")
    return int(number)


@lru_cache(maxsize=10_000)
def _name(asset: str, number: int) -> str:
    return f"{asset}:{number}"


def _pose(entry: ObjectInstance) -> tuple[int, int, int, int]:
    """(x, y, z in millimetres, heading in milliradians); ValueError when that is not all there is to its pose."""
    x, y, z = entry.position
    x, y, z = round(x * 1000), round(y * 1000), round(z * 1000)
    if (x / 1000, y / 1000, z / 1000) != entry.position:
        raise ValueError("does not rest at whole millimetres")
    heading = _heading(entry.quaternion)
    if upright(heading) != entry.quaternion:
        raise ValueError("does not stand upright at a whole number of milliradians")
    return x, y, z, heading


@lru_cache(maxsize=16_384)
def _heading(quaternion: tuple[float, float, float, float]) -> int:
    return round(2000 * math.atan2(quaternion[3], quaternion[0]))


def _parsed(column: pa.ListArray, parse: Callable[[str], Any]) -> list[tuple[Any, ...]]:
    """Per row the parsed texts of a list; each distinct text is parsed once."""
    values = iter(_texts(column.flatten(), parse))
    return [tuple(islice(values, length)) for length in column.value_lengths().to_pylist()]


def _texts(values: pa.Array, parse: Callable[[str], Any] = str) -> list[Any]:
    if pa.types.is_dictionary(values.type):
        distinct = [parse(text) for text in values.dictionary.to_pylist()]
        return [distinct[index] for index in values.indices.to_pylist()]
    return [parse(text) for text in values.to_pylist()]


def _objects(column: pa.ListArray) -> list[tuple[ObjectInstance, ...]]:
    """Rows of objects. Columns of the flattened list are read one by one, ten times faster than struct by struct."""
    flat = column.flatten()
    assets = _texts(flat.field("asset"))
    x, y, z = ((flat.field(name).to_numpy() / 1000).tolist() for name in ("x_mm", "y_mm", "z_mm"))
    objects = map(
        ObjectInstance,
        map(_name, assets, flat.field("number").to_pylist()),
        _texts(flat.field("category")),
        assets,
        flat.field("variant").to_pylist(),
        _texts(flat.field("receptacle")),
        zip(x, y, z, strict=True),
        map(upright, flat.field("heading_mrad").to_pylist()),
    )
    return [tuple(islice(objects, length)) for length in column.value_lengths().to_pylist()]
